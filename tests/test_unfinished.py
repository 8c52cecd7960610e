"""Folders that appear whole or not at all, and what is left where their writers were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from sam3_tvm.unfinished import unfinished_folder


def test_a_folder_that_was_renamed_stays_and_any_other_goes(tmp_path):
    final = tmp_path / "new" / "made"
    with unfinished_folder(final) as folder:
        (folder / "file").write_text("whole")
        assert not final.exists()
        folder.rename(final)
    with unfinished_folder(final) as folder:
        (folder / "file").write_text("half")
    assert [p.name for p in final.parent.iterdir()] == ["made"]
    assert (final / "file").read_text() == "whole"


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be locked")
def test_what_a_killed_writer_left_goes_and_what_another_writes_stays(tmp_path):
    code = (
        "import os, pathlib, signal, sys\n"
        "from sam3_tvm.unfinished import unfinished_folder\n"
        "with unfinished_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'model.so').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    place = tmp_path / "made"
    killed = subprocess.run([sys.executable, "-c", code, str(place)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert (left / "model.so").read_bytes() == b"half"
    other = tmp_path / ".made-2.01234567.part"  # for another name
    other.mkdir()
    with unfinished_folder(place) as one:
        assert not left.exists()
        with unfinished_folder(place) as two:
            assert {*tmp_path.iterdir()} == {one, two, other}
    assert list(tmp_path.iterdir()) == [other]
