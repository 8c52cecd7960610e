"""Where outputs go: what is refused early, and what is left of what was there."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest
from PIL import Image

from sam3_tvm.errors import UsageError
from sam3_tvm.files import OutputFile, OutputFolder

TOO_LONG = "x" * 300


def test_a_pipe_gets_what_is_written_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    # Pictures are written to a file that can be gone back in.
    OutputFile(pipe, "-o").write(lambda path: Image.new("L", (4, 3)).save(path, format="PNG"))
    reader.join()
    assert got[0].startswith(b"\x89PNG")
    assert got[0].endswith(b"IEND\xaeB`\x82")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_device_stays_one_and_says_why_it_takes_nothing(tmp_path):
    link = tmp_path / "full"
    link.symlink_to("/dev/full")
    with pytest.raises(UsageError, match=r"full: cannot be written \(No space left on device\)"):
        OutputFile(link, "-o").write_text("report")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)
    assert list(tmp_path.iterdir()) == [link]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("older", "new"):
        link = tmp_path / name
        link.symlink_to(tmp_path / "there" / name)
    (tmp_path / "there" / "older").write_text("before")
    for name in ("older", "new"):
        OutputFile(tmp_path / name, "-o").write_text("now")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "there" / name).read_text() == "now"
    (tmp_path / "nowhere").symlink_to(tmp_path / "none" / "x")
    with pytest.raises(UsageError, match=r"nowhere \(a link to .*none/x\): its folder does not"):
        OutputFile(tmp_path / "nowhere", "-o")


def test_links_in_a_circle_are_replaced(tmp_path):
    (tmp_path / "round").symlink_to("round")
    OutputFile(tmp_path / "round", "-o").write_text("now")
    assert (tmp_path / "round").read_text() == "now"


def test_a_name_that_is_too_long_is_refused_before_the_work(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be written \(File name too long\); choose an"):
        OutputFile(tmp_path / TOO_LONG, "-o")


def test_the_name_of_a_link_that_is_an_input_is_not_given_away(tmp_path):
    (tmp_path / "store").mkdir()
    original = tmp_path / "store" / "1.png"
    original.write_bytes(b"mine")
    shown = tmp_path / "album"
    shown.mkdir()
    (shown / "a.png").symlink_to(original)
    output = OutputFolder(shown, [shown / "a.png"])
    path = output.name(Path("a.png"))
    output.write(Image.new("L", (4, 3)), path)
    assert path.name == "a-2.png"
    assert (shown / "a.png").is_symlink()
    assert original.read_bytes() == b"mine"
