"""``sam3-tvm track`` on made films, with a model that follows colours: what is written."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.cli import terminal
from sam3_tvm.runtime.video.open import open_frames
from tests import video_scenes
from tests.cli.track_helpers import (
    ALL,
    COUNT,
    DISC,
    SHOW,
    files,
    frame_count,
    iou,
    lines,
    masks,
)


def test_every_output_holds_what_was_found_on_every_frame(cli, folder, tracker, film):
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


def test_json_says_where_each_object_was_seen(cli, folder, tracker, film):
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


def test_a_folder_is_followed_and_the_default_is_a_video(cli, folder, tracker):
    source = video_scenes.write_folder(folder / "frames", 4)
    result = cli("track", "artifact", source, "--box", "10,24,28,44", "--fps", "12.5")
    assert result.exit_code == 0, result.output
    with open_frames(folder / "sam3-out" / "frames.mp4") as video:
        assert (video.fps, frame_count(folder / "sam3-out" / "frames.mp4")) == (12.5, 4)


def test_the_videos_colours_are_the_films(cli, folder, tracker):
    source = folder / "frames"
    source.mkdir()
    image = Image.new("RGB", (96, 64), (30, 200, 60))
    image.paste((230, 20, 30), (60, 20, 80, 40))
    image.save(source / "1.png")
    result = cli("track", "artifact", source, "--point", "70,30", "-o", "x.mp4")
    assert result.exit_code == 0, result.output
    with open_frames(folder / "x.mp4") as video:
        assert np.abs(video.read(0)[:40, :40].astype(int) - (30, 200, 60)).max() < 8


def test_odd_sizes_are_written_with_an_edge_repeated(cli, folder, tracker):
    source = video_scenes.write_folder(folder / "frames", 2, (63, 85))
    result = cli("track", "artifact", source, "--point", "5,5", "-o", "x.mp4")
    assert result.exit_code == 0, result.output
    with open_frames(folder / "x.mp4") as video:
        assert video.size == (64, 86)


def test_names_with_a_colon_are_files(cli, folder, tracker, film):
    shutil.copyfile(film, "file:1.mp4")
    result = cli("track", "artifact", "file:1.mp4", *SHOW, "--frames", "2", "-o", "x:y.mp4")
    assert result.exit_code == 0, result.output
    assert files(folder) == {"file:1.mp4", "x:y.mp4"}
    assert frame_count(folder / "x:y.mp4") == 2


def test_a_mask_shows_an_object(cli, folder, tracker, film):
    Image.fromarray(video_scenes.frame(3).masks[0].astype(np.uint8) * 255).save("disc.png")
    result = cli("track", "artifact", film, "--mask", "disc.png@3", "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    found = lines(folder / "x.jsonl")
    assert found[0]["frame"] == 3
    assert iou(masks(found[1])[1], video_scenes.frame(4).masks[0]) > 0.7


def test_prompts_are_heard_when_their_frame_comes(cli, folder, tracker, film):
    # Object 1 is corrected to the square on frame 6; object 2 is new on frame 4.
    options = ["--point", f"{DISC}:1", "--point", "64,34@6:1", "--box", "54,24,74,44@4:2"]
    result = cli("track", "artifact", film, *options, "--frames", "9", "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    log = tracker.sessions[0].log
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
    cli, folder, tracker, film, options, passed, written
):
    result = cli(
        *("track", "artifact", film, "--point", "64,34@12", *options),
        *("-o", "x.jsonl", "-o", "x.mp4"),
    )
    assert result.exit_code == 0, result.output
    log = tracker.sessions[0].log
    assert [entry[1] for entry in log if entry[0] == "frame"] == list(passed)
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(written)
    assert frame_count(folder / "x.mp4") == len(written)


@pytest.mark.parametrize("output", [".", ".."])
def test_masks_may_go_where_the_command_is_run(cli, folder, tracker, film, output, monkeypatch):
    (folder / "a").mkdir()
    (folder / "a" / "b").mkdir()
    monkeypatch.chdir(folder / "a" / "b")
    result = cli("track", "artifact", film, "--point", "64,34", "--frames", "2", "-o", output)
    assert result.exit_code == 0, result.output
    place = "a/b" if output == "." else "a"
    assert files(folder) == {f"{place}/000000-1.png", f"{place}/000001-1.png"}
    assert {p.name for p in folder.iterdir()} == {"a"}


def test_progress_says_how_fast_and_how_long_still(monkeypatch, capsys):
    monkeypatch.setattr(terminal, "_BETWEEN_LINES", -1.0)
    with terminal.counting("frames", 10) as tell:
        tell(4)
    assert re.search(r"4 of 10 frames, \d+\.\d\d frames/s, \d+:\d\d left", capsys.readouterr().err)
    with terminal.counting("frames", None) as tell:
        tell(4)
    assert re.search(r"^4 frames, \d+\.\d\d frames/s$", capsys.readouterr().err.strip())
