"""``sam3-tvm track`` that is interrupted or killed, and goes on."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image

from sam3_tvm.film import run as track_run
from tests import video_scenes
from tests.cli.track_helpers import (
    ALL,
    COUNT,
    SHOW,
    contents,
    files,
    frame_count,
    lines,
)


def interrupt_at(index: int, number: int = signal.SIGINT):
    """What asks for an end while frame ``index`` is looked at, once."""
    done = []

    def watch(at: int) -> None:
        if at == index and not done:
            done.append(at)
            os.kill(os.getpid(), number)

    return watch


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_requests_to_end_are_heard_as_ctrl_c_is(cli, folder, tracker, film, number):
    before = signal.getsignal(number)
    tracker.watch = interrupt_at(3, number)
    result = cli("track", "artifact", film, *SHOW, "-o", "x.jsonl")
    assert result.exit_code == 128 + number
    assert "interrupted after frame 3" in result.stderr
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == [0, 1, 2, 3]
    assert signal.getsignal(number) == before
    assert cli("track", "artifact", film, *SHOW, "-o", "x.jsonl", "--resume").exit_code == 0
    assert len(lines(folder / "x.jsonl")) == COUNT


def test_an_interrupted_run_is_whole_and_goes_on(cli, folder, tracker, film, monkeypatch):
    monkeypatch.setattr(track_run, "_CHECKPOINT_FRAMES", 8)
    command = ["track", "artifact", film, *SHOW, "--point", "64,34@20:3", *ALL]
    assert cli(*command).exit_code == 0
    expected = contents(folder)
    shutil.move("x.mp4", folder.parent / "whole.mp4")
    shutil.rmtree("masks")
    for at, rc in ((11, 130), (21, 130), (COUNT, 0)):
        tracker.watch = interrupt_at(at)
        result = cli(*command, *(["--resume"] if at > 11 else []))
        assert result.exit_code == rc, result.output
        if rc == 0:
            continue
        assert f"interrupted after frame {at}" in result.stderr
        assert "--resume" in result.stderr
        assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(range(at + 1))
        assert frame_count(folder / "x.mp4") == at + 1
        with Image.open("sheet.png") as sheet:
            sheet.load()
    assert contents(folder) == expected
    assert frame_count(folder / "x.mp4") == COUNT
    passed = [entry[1] for s in tracker.sessions[1:] for entry in s.log if entry[0] == "frame"]
    assert passed == list(range(COUNT))


def test_a_film_of_unknown_length_that_is_interrupted_on_its_last_frame_is_done(
    cli, folder, tracker
):
    source = video_scenes.write_video(folder / "film.mkv", 6)
    command = ["track", "artifact", source, *SHOW, *ALL]
    tracker.watch = interrupt_at(5)
    result = cli(*command)
    assert result.exit_code == 130, result.output
    assert "interrupted after frame 5" in result.stderr
    expected = contents(folder)
    result = cli(*command, "--resume")
    assert result.exit_code == 0, result.output
    assert not (folder / "x.mp4.resume").exists()
    assert frame_count(folder / "x.mp4") == 6
    assert contents(folder) == {n: data for n, data in expected.items() if "resume" not in n}


def test_a_run_that_was_killed_goes_on_from_its_last_checkpoint(
    cli, folder, tracker, film, monkeypatch
):
    monkeypatch.setattr(track_run, "_CHECKPOINT_FRAMES", 8)
    command = ["track", "artifact", film, *SHOW, *ALL]
    assert cli(*command).exit_code == 0
    expected = contents(folder)
    for name in ("x.mp4", "x.jsonl", "sheet.png"):
        Path(name).unlink()
    shutil.rmtree("masks")

    def power_cut(index: int) -> None:
        if index == 19:
            raise RuntimeError("power cut")

    tracker.watch = power_cut
    assert isinstance(cli(*command).exception, RuntimeError)
    assert len(lines(folder / "x.jsonl")) == 19
    assert not Path("x.mp4").exists()
    tracker.watch = lambda index: None
    result = cli(*command, "--resume")
    assert result.exit_code == 0, result.output
    assert tracker.sessions[-1].log[0] == ("frame", 16)
    assert contents(folder) == expected
    assert frame_count(folder / "x.mp4") == COUNT


def test_what_cannot_be_resumed_is_one_line(cli, folder, tracker, film):
    command = ["track", "artifact", film, *SHOW, "-o", "x.jsonl"]

    def refused(*options: str) -> str:
        before = contents(folder)
        result = cli(*command, *options, "--resume")
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert contents(folder) == before
        return line

    assert "nothing to resume: there is no x.jsonl.resume" in refused()
    tracker.watch = interrupt_at(4)
    assert cli(*command).exit_code == 130
    differs = "checkpoint.npz: the interrupted run differs in"
    assert f"{differs} what is shown of object 3 on frame 0" in refused("--point", "64,34:3")
    fewer = "the number of frames (not given then); give the same options and --resume"
    assert f"{differs} {fewer}" in refused("--frames", "20")
    checkpoint = folder / "x.jsonl.resume" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-40])
    assert "is damaged, or no checkpoint" in refused()
    # Begun anew, nothing of the old run is left.
    assert cli(*command).exit_code == 0
    assert files(folder) == {"x.jsonl"}
    assert len(lines(folder / "x.jsonl")) == COUNT


def test_a_picture_that_was_replaced_meanwhile_is_noticed(cli, folder, tracker):
    video_scenes.write_folder(folder / "frames", 6)
    command = ["track", "artifact", "frames", *SHOW, "-o", "x.jsonl"]
    tracker.watch = interrupt_at(2)
    assert cli(*command).exit_code == 130
    before = contents(folder)
    picture = folder / "frames" / "4.png"
    kept = picture.stat()
    Image.new("RGB", (128, 96)).save(picture)
    result = cli(*command, "--resume")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "differs in the film (its pictures have changed since)" in line
    picture.write_bytes(before["frames/4.png"])
    os.utime(picture, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert contents(folder) == before
    assert cli(*command, "--resume").exit_code == 0
    assert len(lines(folder / "x.jsonl")) == 6


# In an entry of a ZIP archive's directory: where a field lies, and what damage makes of it.
DAMAGED_FIELDS = {
    "a later version": (6, 99),
    "encrypted": (8, 1),
    "deflated": (10, 8),
    "lzma": (10, 14),
    "an unknown compression": (10, 99),
    "members hidden in a comment": (32, None),
}


@pytest.mark.parametrize("field", DAMAGED_FIELDS)
def test_a_checkpoint_whose_directory_is_damaged_is_one_line(cli, folder, tracker, film, field):
    command = ["track", "artifact", film, *SHOW, "-o", "x.jsonl"]
    tracker.watch = interrupt_at(2)
    assert cli(*command).exit_code == 130
    checkpoint = folder / "x.jsonl.resume" / "checkpoint.npz"
    data = bytearray(checkpoint.read_bytes())
    first = data.index(b"PK\x01\x02")
    offset, value = DAMAGED_FIELDS[field]
    if value is None:
        value = data.index(b"PK\x01\x02", first + 1) - first
        second = first + value
        # As long as the next entry, which it swallows.
        value = data.index(b"PK\x01\x02", second + 1) - second
    assert data[first + offset] != value < 256
    data[first + offset] = value
    checkpoint.write_bytes(data)
    before = contents(folder)
    result = cli(*command, "--resume")
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert "checkpoint.npz: is damaged" in line
    assert "run the command without --resume to begin anew" in line
    assert contents(folder) == before


def test_an_interrupted_backward_pass_is_written_and_says_that_it_cannot_go_on(
    cli, folder, tracker, film
):
    tracker.watch = interrupt_at(7)
    command = ["track", "artifact", film, "--point", "64,34@12", "--both", "-o", "x.jsonl"]
    result = cli(*command)
    assert result.exit_code == 130
    assert "a backward pass cannot be resumed" in result.stderr
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(range(7, 12))
    assert files(folder) == {"x.jsonl"}
    tracker.watch = interrupt_at(15)
    assert cli(*command).exit_code == 130
    assert cli(*command, "--resume").exit_code == 0
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(range(COUNT))


def test_what_is_interrupted_before_anything_was_found_leaves_an_older_output(
    cli, folder, tracker, film
):
    (folder / "x.jsonl").write_text("older")
    tracker.watch = interrupt_at(12)  # the forward pass gives it
    result = cli("track", "artifact", film, "--point", "64,34@12", "--both", "-o", "x.jsonl")
    assert result.exit_code == 130
    assert "interrupted before the first frame was found: nothing is written" in result.stderr
    assert (folder / "x.jsonl").read_text() == "older"
    assert files(folder) == {"x.jsonl"}


def test_a_second_interrupt_ends_at_once(cli, folder, tracker, film):
    def impatient(index: int) -> None:
        if index == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    tracker.watch = impatient
    before = signal.getsignal(signal.SIGINT)
    result = cli("track", "artifact", film, *SHOW, "-o", "x.mp4", "-o", "x.jsonl")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before
    assert files(folder) == {"x.jsonl"}
    assert len(lines(folder / "x.jsonl")) == 3
