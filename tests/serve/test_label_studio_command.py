"""What ``sam3-tvm serve`` refuses of Label Studio's options, before it loads anything."""

from __future__ import annotations

import sys

import pytest

from sam3_tvm.cli import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--label-studio", "localhost:8080"), "takes the address of a Label Studio"),
        (("--label-studio-files", "nowhere"), "no such folder"),
    ],
)
def test_what_cannot_be_used_is_one_line(options, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sam3-tvm", "serve", "no-artifact", *options])
    with pytest.raises(SystemExit) as raised:
        main()
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert said in error.replace("\n", " ")
    assert "Traceback" not in error
