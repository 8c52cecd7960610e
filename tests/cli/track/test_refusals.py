"""What ``sam3-tvm track`` refuses, and what it leaves where it fails."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from sam3_tvm.film import run as track_run
from sam3_tvm.runtime.video.frames import FramesError
from sam3_tvm.runtime.video.open import open_frames
from tests import video_scenes
from tests.cli.track_helpers import (
    COUNT,
    SHOW,
    contents,
    files,
    frame_count,
    lines,
)


def test_a_broken_film_leaves_what_was_found_before_whole(cli, folder, tracker):
    source = video_scenes.write_folder(folder / "frames", 6)
    (source / "4.png").write_bytes((source / "4.png").read_bytes()[:300])
    for option, kept in (([], range(4)), (["--backward"], range(5, 6))):
        frame = 5 if option else 0
        result = cli(
            *("track", "artifact", source, "--point", f"64,34@{frame}", *option),
            *("-o", "x.mp4", "-o", "x.jsonl"),
        )
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert "frames: frame 4: " in line
        count = f"{len(kept)} frame{'s' if len(kept) > 1 else ''}"
        assert line.endswith(f"what was found before is written: {count}")
        assert [one["frame"] for one in lines(folder / "x.jsonl")] == list(kept)
        assert frame_count(folder / "x.mp4") == len(kept)
        assert {p.name for p in folder.iterdir()} == {"frames", "x.mp4", "x.jsonl"}


def test_a_prompt_behind_the_end_of_a_film_of_unknown_length_is_said_at_the_end(
    cli, folder, tracker
):
    source = video_scenes.write_video(folder / "film.mkv", 5)
    result = cli(
        *("track", "artifact", source, "--point", "64,34:1", "--point", "64,34@9:2"),
        *("-o", "x.jsonl"),
    )
    assert result.exit_code == 1, result.output
    assert "object 2 is shown on frame 9" in result.stderr
    assert "it ended after frame 4" in result.stderr
    assert len(lines(folder / "x.jsonl")) == 5


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing to follow: give --box x0,y0,x1,y1"),
        (["--negative-point", "3,4"], "nothing to follow"),
        (["--box", "5,5,1,9"], "x1 must be greater than x0"),
        (["--point", "1,2,3"], "3 numbers instead of two"),
        (["--point", "1,2@x"], "'x' is no frame number"),
        (["--point", "1,2@3:0"], "'0' is no object number"),
        (["--point", "200,4"], "point 200,4 lies outside the frames of 128 x 96 px"),
        (["--box", "200,4,210,9"], "box 200,4,210,9 lies outside the frames"),
        (["--point", "1,2@99"], "has 30 frames, counted from 0"),
        (["--point", "1,2@9", "--start", "4"], "--start 4: no object is shown by then"),
        (["--point", "1,2", "--point", "1,2@9", "--frames", "5"], "--frames 5 from frame 0"),
        (["--point", "1,2", "--backward", "--both"], "give one of them"),
        (["--point", "1,2", "--both", "--start", "2"], "leave --start out"),
        (["--point", "1,2", "--fps", "0"], "--fps 0: frames per second lie between 0.01 and"),
        (["--point", "1,2", "--fps", "0.0004"], "--fps 0.0004: frames per second lie between"),
        (["--point", "1,2", "-o", "x.avi"], "-o x.avi: not a form that is written"),
        (["--point", "1,2", "-o", "/"], "-o /: is the root of the file system"),
        (["--point", "1,2", "-o", "no/x.mp4"], "its folder does not exist"),
        (["--point", "1,2", "-o", "x.jsonl", "-o", "./x.jsonl"], "is named twice"),
        (["--mask", "none.png"], "none.png: no such file"),
        (["--mask", "black.png"], "is all black"),
        (["--mask", "small.png"], "is 9 x 9 px, the frames are 128 x 96 px"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(
    cli, folder, tracker, film, options, says
):
    Image.new("L", (128, 96)).save("black.png")
    Image.new("L", (9, 9), 255).save("small.png")
    if "-o" not in options:
        options = [*options, "-o", "x.mp4", "-o", "x.jsonl"]
    result = cli("track", "artifact", film, *options)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert files(folder) == {"black.png", "small.png"}
    assert not (folder / "x.mp4.resume").exists()


@pytest.mark.parametrize("name", ["x.mp4", "x.jsonl", "x.png", "x"])
@pytest.mark.parametrize("length", [253, 300])
def test_names_that_are_too_long_are_one_line(cli, folder, tracker, film, name, length):
    # The shorter ones are good themselves, but leave no room for what is kept beside them.
    path = name.replace("x", "x" * (length - len(name)))
    result = cli("track", "artifact", film, "--point", "64,34", "-o", path)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    # What is looked at first differs from Python 3.14 on.
    assert re.search(r"\(File name too long\)(; choose another with -o)?$", line)
    assert files(folder) == set()


def test_a_film_of_too_long_a_name_is_one_line(cli, folder, tracker):
    result = cli("track", "artifact", "x" * 300, "--point", "64,34", "-o", "x.mp4")
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.endswith("cannot be read (File name too long)")


def test_neither_the_film_nor_other_masks_are_written_over(cli, folder, tracker, film):
    mine = folder / "film.mp4"
    shutil.copyfile(film, mine)
    source = video_scenes.write_folder(folder / "frames", 3)
    for video, output in ((mine, "film.mp4"), (source, "frames"), (source, "frames/sheet.png")):
        result = cli("track", "artifact", video, "--point", "64,34", "-o", output)
        assert result.exit_code == 2
        assert "would write over or into" in result.stderr
    assert mine.read_bytes() == film.read_bytes()
    assert len(files(source)) == 3
    again = ["track", "artifact", source, "--point", "64,34", "-o", "masks"]
    assert cli(*again).exit_code == 0
    before = contents(folder)
    result = cli(*again)
    assert result.exit_code == 2
    assert "holds masks of another run" in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("output", ["x.mp4.resume", "x.mp4.resume/masks"])
def test_nothing_is_written_to_where_unfinished_work_lies(cli, folder, tracker, film, output):
    (folder / "x.mp4.resume").mkdir()
    result = cli("track", "artifact", film, "--point", "64,34", "-o", "x.mp4", "-o", output)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert f"-o {output}: x.mp4.resume is for unfinished work" in line
    assert files(folder) == set()


def test_a_folder_of_someone_elses_stays(cli, folder, tracker, film):
    (folder / "x.jsonl.resume").mkdir()
    (folder / "x.jsonl.resume" / "mine.txt").write_text("mine")
    (folder / "x.jsonl").write_text("older")
    result = cli("track", "artifact", film, "--point", "64,34", "-o", "x.jsonl")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "x.jsonl.resume: is needed for unfinished work, and holds something else" in line
    assert files(folder) == {"x.jsonl", "x.jsonl.resume/mine.txt"}
    assert (folder / "x.jsonl").read_text() == "older"


def test_an_output_that_cannot_be_made_whole_does_not_keep_others_from_it(
    cli, folder, tracker, film
):
    def block(index: int) -> None:
        if index == 1:
            (folder / "x.mp4").mkdir()

    tracker.watch = block
    command = ["track", "artifact", film, "--point", "64,34", "--frames", "3"]
    result = cli(*command, "-o", "x.mp4", "-o", "sheet.png", "-o", "x.jsonl")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "x.mp4: cannot be written" in line
    assert files(folder) == {"sheet.png", "x.jsonl"}
    assert len(lines(folder / "x.jsonl")) == 3


def test_an_output_that_cannot_be_made_whole_after_a_broken_film_is_told_with_it(
    cli, folder, tracker
):
    source = video_scenes.write_folder(folder / "frames", 6)
    (source / "4.png").write_bytes((source / "4.png").read_bytes()[:300])

    def block(index: int) -> None:
        if index == 1:
            (folder / "x.mp4").mkdir()

    tracker.watch = block
    result = cli(
        *("track", "artifact", source, "--point", "64,34"),
        *("-o", "x.mp4", "-o", "sheet.png", "-o", "x.jsonl"),
    )
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "frames: frame 4: " in line
    assert "; x.mp4: cannot be written (" in line
    assert [one["frame"] for one in lines(folder / "x.jsonl")] == list(range(4))
    with Image.open("sheet.png") as sheet:
        sheet.load()
    assert {p.name for p in folder.iterdir()} == {"frames", "x.mp4", "sheet.png", "x.jsonl"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_the_other_outputs_stay_readable(cli, folder, tracker, film):
    (folder / "full.jsonl").symlink_to("/dev/full")
    result = cli(
        *("track", "artifact", film, "--point", "64,34"),
        *("-o", "x.jsonl", "-o", "full.jsonl", "-o", "x.mp4"),
    )
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "full.jsonl: cannot be written (No space left on device)" in line
    assert len(lines(folder / "x.jsonl")) == 1
    assert {p.name for p in folder.iterdir()} == {"x.jsonl", "full.jsonl"}


def test_a_still_picture_is_no_video(cli, folder, tracker, picture):
    result = cli("track", "artifact", picture(folder / "x.png"), "--point", "1,1")
    assert result.exit_code == 2
    assert "x.png: is a still picture" in result.stderr


def test_a_film_that_is_cut_off_in_the_middle_is_written_to_there(cli, folder, tracker):
    whole = video_scenes.write_video(folder / "whole.mkv", COUNT, codec="ffv1")
    data = whole.read_bytes()
    (folder / "film.mkv").write_bytes(data[: len(data) // 2])
    result = cli("track", "artifact", "film.mkv", "--point", "64,34", "-o", "x.jsonl")
    assert result.exit_code == 2
    assert "film.mkv: is cut off" in result.stderr
    written = len(lines(folder / "x.jsonl"))
    with open_frames(folder / "film.mkv") as frames, pytest.raises(FramesError):
        frames.read(written)
    assert 5 < written < COUNT


def test_a_refused_film_leaves_no_folder_for_what_nobody_named(cli, folder, tracker, film):
    for arguments in (
        (film, "--point", "999,9"),
        (film, *SHOW, "--mask", "none.png:9"),
        (film, *SHOW, "--fps", "9999"),
        (film, *SHOW, "--resume"),
        ("none.mp4", *SHOW),
    ):
        result = cli("track", "artifact", *arguments)
        assert result.exit_code == 2, result.output
        assert not list(folder.iterdir())


@pytest.mark.parametrize("inner", ["masks/000001-1.png", "masks/x.jsonl", "masks/x.png/"])
def test_no_output_lies_in_another(cli, folder, tracker, film, inner):
    (folder / "masks" / "x.png").mkdir(parents=True)
    before = files(folder)
    result = cli("track", "artifact", film, *SHOW, "-o", "masks", "-o", inner)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    path = Path(inner)
    assert line == f"error: -o {path}: lies in masks, which is written, too; choose another"
    assert files(folder) == before


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_one_process_at_a_time_works_on_an_output(cli, folder, tracker, film, monkeypatch, resume):
    monkeypatch.setattr(track_run, "_CHECKPOINT_FRAMES", 2)
    command = ("track", "artifact", film, *SHOW, "-o", "x.jsonl")
    others = []

    def meanwhile(index: int) -> None:
        if index == 5 and not others:
            before = contents(folder)
            others.append(cli(*command, *resume))
            assert contents(folder) == before

    tracker.watch = meanwhile
    result = cli(*command)
    assert result.exit_code == 0, result.output
    assert len(lines(folder / "x.jsonl")) == COUNT
    assert files(folder) == {"x.jsonl"}
    (other,) = others
    assert other.exit_code == 2
    (line,) = other.stderr.splitlines()
    assert line == (
        "error: x.jsonl.resume: another process is at work on it; wait for its end, or choose "
        "another name with -o"
    )
