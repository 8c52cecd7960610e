"""The lines of what the films' library refuses, with what to type."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3_tvm.cli.advice import what_to_type
from sam3_tvm.errors import UsageError
from sam3_tvm.files import OutputFile, PlaceError
from sam3_tvm.film.faults import CannotGoOn, NothingSaved, OtherRun, Refused, Unfinished
from sam3_tvm.film.outputs.opening import open_outputs

AGAIN = "run the command without --resume"


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Refused("output", "x.avi: is no form"), "-o x.avi: is no form"),
        (Refused("fps", "0: is none"), "--fps 0: is none"),
        (Refused("mask", "x.png: is all black"), "--mask x.png: is all black"),
        (PlaceError("x: is full; choose another"), "x: is full; choose another with -o"),
        (PlaceError("x: is full; choose another", "-o"), "x: is full; choose another with -o"),
        (CannotGoOn("part.mp4: is gone"), f"part.mp4: is gone; {AGAIN}"),
        (NothingSaved("x: is damaged"), f"x: is damaged; {AGAIN} to begin anew"),
        (
            OtherRun("x: differs in fps"),
            f"x: differs in fps; give the same options and --resume, or {AGAIN} to begin anew",
        ),
        (
            Unfinished(UsageError("x: cannot be written (full)")),
            "x: cannot be written (full); when that is mended, the same command with --resume "
            "goes on",
        ),
        (
            Unfinished(Refused("mask", "x.png: is all black")),
            "--mask x.png: is all black; when that is mended, the same command with --resume goes "
            "on",
        ),
        (UsageError("--box 1: is no box"), "--box 1: is no box"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_faults_of_the_library_say_what_to_type(fault: UsageError, line: str) -> None:
    with pytest.raises(UsageError) as caught, what_to_type():
        raise fault
    assert str(caught.value) == line


def test_what_is_said_of_outputs_names_the_option_once(folder: Path) -> None:
    (folder / "file").touch()
    for output, line in {
        "x.avi": "-o x.avi: not a form that is written; give NAME.mp4 for a video, NAME.jsonl for "
        "run-length encoded masks, NAME.png for a contact sheet, or a folder for masks as PNG",
        "file": "-o file: is a file; name a new folder, or NAME.mp4, NAME.jsonl",
        "no/x.mp4": "no/x.mp4: its folder does not exist; make it, or choose another with -o",
        "no/x.png": "no/x.png: its folder does not exist; make it, or choose another with -o",
        "no/x.jsonl": "no/x.jsonl: its folder does not exist; make it, or choose another with -o",
    }.items():
        with pytest.raises(UsageError) as caught, what_to_type():
            open_outputs([Path(output)], Path("film.mp4"), None, False)
        assert str(caught.value) == line


def test_a_place_is_spoken_of_without_an_option_where_none_named_it(folder: Path) -> None:
    with pytest.raises(PlaceError, match=r"make it, or choose another$"):
        OutputFile(folder / "no" / "x.png")
