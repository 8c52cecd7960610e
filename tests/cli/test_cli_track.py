"""``sam3-tvm track`` on made films, with a model that follows colours."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import sam3_tvm
from sam3_tvm.cli import terminal, track_run
from sam3_tvm.runtime.frames import FramesError, open_frames
from tests import video_scenes
from tests.cli.fake_tracker import FakeModel

COUNT = 30
DISC, STAR = "18,34", "115,75"
SHOW = ["--point", f"{DISC}:1", "--point", f"{STAR}:2"]
ALL = ["-o", "x.mp4", "-o", "x.jsonl", "-o", "masks", "-o", "sheet.png"]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return video_scenes.write_video(tmp_path_factory.mktemp("film") / "film.mp4", COUNT)


@pytest.fixture
def model(toy_artifact, monkeypatch) -> FakeModel:
    made = FakeModel(toy_artifact)
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: made, raising=False)
    return made


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def masks(line: dict) -> dict[int, np.ndarray]:
    return {one["id"]: coco.decode(one["segmentation"]).astype(bool) for one in line["objects"]}


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def files(folder: Path) -> set[str]:
    return {f"{p.relative_to(folder)}" for p in folder.rglob("*") if p.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file but videos, which may be cut into parts elsewhere."""
    return {name: (folder / name).read_bytes() for name in files(folder) if ".mp4" not in name}


def frame_count(video: Path) -> int:
    with open_frames(video) as frames:
        index = 0
        try:
            while True:
                frames.read(index)
                index += 1
        except IndexError:
            return index


def test_every_output_holds_what_was_found_on_every_frame(cli, folder, model, film):
    result = cli("track", "artifact", film, *SHOW, *ALL)
    assert result.exit_code == 0, result.output
    found = lines(folder / "x.jsonl")
    assert [line["frame"] for line in found] == list(range(COUNT))
    assert found[5]["time"] == pytest.approx(0.2)
    for line, truth in zip(found, video_scenes.frames(COUNT), strict=True):
        for name, mask in masks(line).items():
            (one,) = [o for o in line["objects"] if o["id"] == name]
            assert one["area"] == mask.sum()
            assert one["bbox"] == coco.toBbox(one["segmentation"]).tolist()
            with Image.open(folder / "masks" / f"{line['frame']:06d}-{name}.png") as picture:
                assert np.array_equal(np.asarray(picture) == 255, mask)
            true = truth.masks[2 * (name - 1)]
            if true.sum() > 200:
                assert iou(mask, true) > 0.7
    assert len(files(folder / "masks")) == 2 * COUNT
    with open_frames(folder / "x.mp4") as video, open_frames(film) as before:
        assert (video.size, video.fps, frame_count(folder / "x.mp4")) == ((96, 128), 25, COUNT)
        drawn = np.abs(video.read(20).astype(int) - before.read(20)).max(-1) > 20
        inside = masks(found[20])[1] | masks(found[20])[2]
        assert drawn[inside].mean() > 0.8
        assert drawn[~inside].mean() < 0.1  # the labels
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 4 * 128
        assert sheet.height > 3 * 96
    assert files(folder) == {"x.mp4", "x.jsonl", "sheet.png"} | {
        f"masks/{name}" for name in files(folder / "masks")
    }
    assert f"{film} (128 x 96), {COUNT} frames" in result.stdout
    assert "wrote sheet.png" in result.stdout


def test_json_says_where_each_object_was_seen(cli, folder, model, film):
    result = cli("track", "artifact", film, *SHOW, "-o", "x.jsonl", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    disc, star = document["objects"]
    assert (disc["id"], star["id"]) == (1, 2)
    assert (disc["first"], disc["last"]) == (0, COUNT - 1)
    assert disc["frames"] < COUNT  # it is hidden for some
    assert document["frames"] == COUNT
    assert document["complete"] is True
    assert document["info"]["shown"][0]["points"] == [[18.0, 34.0]]


def test_a_folder_is_followed_and_the_default_is_a_video(cli, folder, model):
    source = video_scenes.write_folder(folder / "frames", 4)
    result = cli("track", "artifact", source, "--box", "10,24,28,44", "--fps", "12.5")
    assert result.exit_code == 0, result.output
    with open_frames(folder / "sam3-out" / "frames.mp4") as video:
        assert (video.fps, frame_count(folder / "sam3-out" / "frames.mp4")) == (12.5, 4)


def test_the_videos_colours_are_the_films(cli, folder, model):
    source = folder / "frames"
    source.mkdir()
    image = Image.new("RGB", (96, 64), (30, 200, 60))
    image.paste((230, 20, 30), (60, 20, 80, 40))
    image.save(source / "1.png")
    result = cli("track", "artifact", source, "--point", "70,30", "-o", "x.mp4")
    assert result.exit_code == 0, result.output
    with open_frames(folder / "x.mp4") as video:
        assert np.abs(video.read(0)[:40, :40].astype(int) - (30, 200, 60)).max() < 8


def test_odd_sizes_are_written_with_an_edge_repeated(cli, folder, model):
    source = video_scenes.write_folder(folder / "frames", 2, (63, 85))
    result = cli("track", "artifact", source, "--point", "5,5", "-o", "x.mp4")
    assert result.exit_code == 0, result.output
    with open_frames(folder / "x.mp4") as video:
        assert video.size == (64, 86)


def test_names_with_a_colon_are_files(cli, folder, model, film):
    shutil.copyfile(film, "file:1.mp4")
    result = cli("track", "artifact", "file:1.mp4", *SHOW, "--frames", "2", "-o", "x:y.mp4")
    assert result.exit_code == 0, result.output
    assert files(folder) == {"file:1.mp4", "x:y.mp4"}
    assert frame_count(folder / "x:y.mp4") == 2


def test_a_mask_shows_an_object(cli, folder, model, film):
    Image.fromarray(video_scenes.frame(3).masks[0].astype(np.uint8) * 255).save("disc.png")
    result = cli("track", "artifact", film, "--mask", "disc.png@3", "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    found = lines(folder / "x.jsonl")
    assert found[0]["frame"] == 3
    assert iou(masks(found[1])[1], video_scenes.frame(4).masks[0]) > 0.7


def test_prompts_are_heard_when_their_frame_comes(cli, folder, model, film):
    # Object 1 is corrected to the square on frame 6; object 2 is new on frame 4.
    options = ["--point", f"{DISC}:1", "--point", "64,34@6:1", "--box", "54,24,74,44@4:2"]
    result = cli("track", "artifact", film, *options, "--frames", "9", "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    log = model.sessions[0].log
    assert log[0] == ("add", 1, 0)
    assert log.index(("add", 2, 4)) == log.index(("frame", 4)) - 1
    assert log.index(("add", 1, 6)) == log.index(("frame", 6)) + 1
    found = [masks(line) for line in lines(folder / "x.jsonl")]
    assert [list(one) for one in found] == [[1]] * 4 + [[1, 2]] * 5
    square = video_scenes.frame(6).masks[1]
    assert iou(found[5][1], square) == 0
    assert min(iou(found[6][1], square), iou(found[7][1], square), iou(found[4][2], square)) > 0.7


@pytest.mark.parametrize(
    ("options", "passed", "written"),
    [
        (["--backward"], range(12, -1, -1), range(13)),
        (["--reverse", "--frames", "5"], range(12, 7, -1), range(8, 13)),
        (["--start", "20", "--frames", "5"], range(20, 25), range(20, 25)),
        (["--both"], [*range(12, -1, -1), *range(12, COUNT)], range(COUNT)),
        (["--both", "--frames", "3"], [12, 11, 10, 9, 12, 13, 14], range(9, 15)),
    ],
    ids=["backward", "some backward", "from a start", "both", "some of both"],
)
def test_frames_are_passed_as_asked_and_written_in_order(
    cli, folder, model, film, options, passed, written
):
    result = cli(
        *("track", "artifact", film, "--point", "64,34@12", *options),
        *("-o", "x.jsonl", "-o", "x.mp4"),
    )
    assert result.exit_code == 0, result.output
    log = model.sessions[0].log
    assert [entry[1] for entry in log if entry[0] == "frame"] == list(passed)
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(written)
    assert frame_count(folder / "x.mp4") == len(written)


def interrupt_at(index: int):
    """What asks for an end while frame ``index`` is looked at, once."""
    done = []

    def watch(at: int) -> None:
        if at == index and not done:
            done.append(at)
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def test_an_interrupted_run_is_whole_and_goes_on(cli, folder, model, film, monkeypatch):
    monkeypatch.setattr(track_run, "_CHECKPOINT_FRAMES", 8)
    command = ["track", "artifact", film, *SHOW, "--point", "64,34@20:3", *ALL]
    assert cli(*command).exit_code == 0
    expected = contents(folder)
    shutil.move("x.mp4", folder.parent / "whole.mp4")
    shutil.rmtree("masks")
    for at, rc in ((11, 130), (21, 130), (COUNT, 0)):
        model.watch = interrupt_at(at)
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
    passed = [entry[1] for s in model.sessions[1:] for entry in s.log if entry[0] == "frame"]
    assert passed == list(range(COUNT))


def test_a_film_of_unknown_length_that_is_interrupted_on_its_last_frame_is_done(cli, folder, model):
    source = video_scenes.write_video(folder / "film.mkv", 6)
    command = ["track", "artifact", source, *SHOW, *ALL]
    model.watch = interrupt_at(5)
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
    cli, folder, model, film, monkeypatch
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

    model.watch = power_cut
    assert isinstance(cli(*command).exception, RuntimeError)
    assert len(lines(folder / "x.jsonl")) == 19
    assert not Path("x.mp4").exists()
    model.watch = lambda index: None
    result = cli(*command, "--resume")
    assert result.exit_code == 0, result.output
    assert model.sessions[-1].log[0] == ("frame", 16)
    assert contents(folder) == expected
    assert frame_count(folder / "x.mp4") == COUNT


def test_what_cannot_be_resumed_is_one_line(cli, folder, model, film):
    command = ["track", "artifact", film, *SHOW, "-o", "x.jsonl"]

    def refused(*options: str) -> str:
        before = contents(folder)
        result = cli(*command, *options, "--resume")
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert contents(folder) == before
        return line

    assert "nothing to resume: there is no x.jsonl.resume" in refused()
    model.watch = interrupt_at(4)
    assert cli(*command).exit_code == 130
    assert "the interrupted run differs in objects" in refused("--point", "64,34:3")
    assert "the interrupted run differs in frames" in refused("--frames", "20")
    checkpoint = folder / "x.jsonl.resume" / "checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-40])
    assert "is damaged, or no checkpoint" in refused()
    # Begun anew, nothing of the old run is left.
    assert cli(*command).exit_code == 0
    assert files(folder) == {"x.jsonl"}
    assert len(lines(folder / "x.jsonl")) == COUNT


def test_an_interrupted_backward_pass_is_written_and_says_that_it_cannot_go_on(
    cli, folder, model, film
):
    model.watch = interrupt_at(7)
    command = ["track", "artifact", film, "--point", "64,34@12", "--both", "-o", "x.jsonl"]
    result = cli(*command)
    assert result.exit_code == 130
    assert "a backward pass cannot be resumed" in result.stderr
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(range(7, 12))
    assert files(folder) == {"x.jsonl"}
    model.watch = interrupt_at(15)
    assert cli(*command).exit_code == 130
    assert cli(*command, "--resume").exit_code == 0
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(range(COUNT))


def test_a_second_interrupt_ends_at_once(cli, folder, model, film):
    def impatient(index: int) -> None:
        if index == 3:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    model.watch = impatient
    before = signal.getsignal(signal.SIGINT)
    result = cli("track", "artifact", film, *SHOW, "-o", "x.mp4", "-o", "x.jsonl")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted"
    assert signal.getsignal(signal.SIGINT) is before
    assert files(folder) == {"x.jsonl"}
    assert len(lines(folder / "x.jsonl")) == 3


def test_a_broken_film_leaves_what_was_found_before_whole(cli, folder, model):
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


def test_a_prompt_behind_the_end_of_a_film_of_unknown_length_is_said_at_the_end(cli, folder, model):
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
    cli, folder, model, film, options, says
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


def test_neither_the_film_nor_other_masks_are_written_over(cli, folder, model, film):
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


@pytest.mark.parametrize("output", [".", ".."])
def test_masks_may_go_where_the_command_is_run(cli, folder, model, film, output, monkeypatch):
    (folder / "a").mkdir()
    (folder / "a" / "b").mkdir()
    monkeypatch.chdir(folder / "a" / "b")
    result = cli("track", "artifact", film, "--point", "64,34", "--frames", "2", "-o", output)
    assert result.exit_code == 0, result.output
    place = "a/b" if output == "." else "a"
    assert files(folder) == {f"{place}/000000-1.png", f"{place}/000001-1.png"}
    assert {p.name for p in folder.iterdir()} == {"a"}


def test_a_folder_of_someone_elses_stays(cli, folder, model, film):
    (folder / "x.jsonl.resume").mkdir()
    (folder / "x.jsonl.resume" / "mine.txt").write_text("mine")
    (folder / "x.jsonl").write_text("older")
    result = cli("track", "artifact", film, "--point", "64,34", "-o", "x.jsonl")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "x.jsonl.resume: is needed for unfinished work, and holds something else" in line
    assert files(folder) == {"x.jsonl", "x.jsonl.resume/mine.txt"}
    assert (folder / "x.jsonl").read_text() == "older"


def test_an_output_that_cannot_be_made_whole_does_not_keep_others_from_it(cli, folder, model, film):
    def block(index: int) -> None:
        if index == 1:
            (folder / "x.mp4").mkdir()

    model.watch = block
    command = ["track", "artifact", film, "--point", "64,34", "--frames", "3"]
    result = cli(*command, "-o", "x.mp4", "-o", "sheet.png", "-o", "x.jsonl")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "x.mp4: cannot be written" in line
    assert files(folder) == {"sheet.png", "x.jsonl"}
    assert len(lines(folder / "x.jsonl")) == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_one_line_and_the_other_outputs_stay_readable(cli, folder, model, film):
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


def test_a_still_picture_is_no_video(cli, folder, model, picture):
    result = cli("track", "artifact", picture(folder / "x.png"), "--point", "1,1")
    assert result.exit_code == 2
    assert "x.png: is a still picture" in result.stderr


def test_progress_says_how_fast_and_how_long_still(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_BETWEEN_LINES", -1.0)
    with terminal.counting("frames", 10) as tell:
        tell(4)
    assert re.search(r"4 of 10 frames, \d+\.\d\d frames/s, \d+:\d\d left", capsys.readouterr().err)
    with terminal.counting("frames", None) as tell:
        tell(4)
    assert re.search(r"^4 frames, \d+\.\d\d frames/s$", capsys.readouterr().err.strip())


def test_a_film_that_is_cut_off_in_the_middle_is_written_to_there(cli, folder, model):
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
