"""The whole way through the real command line: compile, segment, info, verify."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.abi import function_names
from sam3_tvm.assets import photographs


@pytest.fixture
def sam3(tmp_path):
    """Runs the installed ``sam3-tvm`` in a temporary folder; gives stdout."""

    def run(*arguments: object) -> str:
        script = Path(sys.executable).parent / "sam3-tvm"
        done = subprocess.run(
            [script, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_compile_makes_an_artifact_that_segments(sam3, tmp_path, tiny):
    printed = (tiny / "printed").read_text()
    assert "next: sam3-tvm segment tiny" in printed
    assert "million parameters" in printed
    assert list((tiny / "phases").glob("0_import*"))

    made = tiny / "tiny"
    info = json.loads(sam3("info", made, "--json"))
    assert info["source"]["checkpoint"] == "random:tiny"
    assert info["runs_here"] is True

    cat = photographs()[1]
    found = json.loads(
        sam3("segment", made, cat, "--text", "cat", "--threshold", "0", "--json", "-o", "out")
    )
    (image,) = found["images"]
    with Image.open(cat) as photo, Image.open(tmp_path / "out" / f"{cat.stem}.png") as overlay:
        assert photo.size == overlay.size == (image["width"], image["height"])
        assert np.asarray(photo).shape == np.asarray(overlay).shape
    assert len(found["annotations"]) == info["sizes"]["queries"]


def test_one_command_line_handles_phrases_boxes_and_folders(sam3, tiny_artifact, tmp_path):
    photos = photographs()
    prompts = ["--text", "cat", "--text", "a cup", "--box", "20,20,200,200"]
    prompts += ["--negative-box", "210,10,280,90", "--threshold", "0"]
    folder = photos[0].parent
    document = json.loads(sam3("segment", tiny_artifact, folder, *prompts, "--json"))
    assert [folder / i["file_name"] for i in document["images"]] == photos
    written = sorted(p.name for p in (tmp_path / "sam3-out").iterdir())
    assert written == sorted(f"{p.stem}-{t}.png" for p in photos for t in ("cat", "a-cup"))
    scores = [a["score"] for a in document["annotations"]]
    assert all(0 < s < 1 for s in scores)


def test_a_click_is_answered_with_masks_and_an_overlay(sam3, tiny_artifact, tmp_path):
    cat = photographs()[1]
    clicked = ["--point", "120,90", "--negative-point", "20,20", "--box", "40,25,200,180"]
    document = json.loads(sam3("click", tiny_artifact, cat, *clicked, "--json", "-o", "out"))
    assert document["info"]["points"] == [[120, 90], [20, 20]]
    assert document["info"]["point_labels"] == [1, 0]
    assert document["info"]["box"] == [40, 25, 200, 180]
    assert len(document["masks"]) == 3
    assert document["image"]["overlay"] == str(Path("out") / f"{cat.stem}.png")
    assert (tmp_path / "out" / f"{cat.stem}.png").is_file()
    printed = sam3("click", tiny_artifact, cat, "--point", "120,90", "--one-mask", "--no-overlay")
    assert "predicted IoU" in printed
    assert not (tmp_path / "sam3-out").exists()
    info = sam3("info", tiny_artifact)
    assert "concepts, clicks, video" in info


def test_verify_compares_every_function_and_a_picture(sam3, tiny_artifact, tmp_path):
    printed = sam3("verify", tiny_artifact, "--image", photographs()[0])
    assert "astronaut.jpg" in printed
    assert "every comparison is within its bound" in printed
    report = json.loads((tmp_path / "verify.json").read_text())
    assert report["ok"] is True
    assert {row["name"] for row in report["functions"]} == set(function_names())
    assert {row["picture"] for row in report["end_to_end"]} == {"astronaut.jpg"}
    assert max(row["kept"] for row in report["end_to_end"]) > 0
    assert {row["masks"] for row in report["clicks"]} == {1, 3}
    assert "clicks" in printed
