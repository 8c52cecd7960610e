"""``sam3-tvm click`` with a model that NumPy computes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import toy
from PIL import Image

import sam3_tvm


@pytest.fixture
def model(toy_artifact, monkeypatch):
    """What ``sam3_tvm.load`` gives: a toy model that is for clicks."""
    manifest = toy.with_clicks(toy_artifact.manifest)
    made = toy.make_model(toy_artifact, toy.ToyClickFunctions(), manifest)
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: made, raising=False)
    return made


def test_a_table_names_each_mask_and_the_best_is_drawn(cli, folder, model, picture):
    image = picture(folder / "x.png")
    result = cli("click", "artifact", image, "--point", "6,4", "-o", "out")
    assert result.exit_code == 0, result.output
    for score in ("0.600", "0.900", "0.700"):
        assert score in result.stdout
    assert result.stdout.count("best") == 1
    with Image.open(folder / "out" / "x.png") as drawn:
        assert drawn.size == (24, 16)


def test_json_has_the_masks_and_what_was_clicked(cli, folder, model, picture):
    image = picture(folder / "x.png")
    options = ["--point", "6,4", "--negative-point", "20,12", "--box", "1,2,12,9", "--one-mask"]
    result = cli("click", "artifact", image, *options, "--json", "--no-overlay")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["info"]["points"] == [[6, 4], [20, 12]]
    assert document["info"]["point_labels"] == [1, 0]
    assert document["info"]["box"] == [1, 2, 12, 9]
    assert document["image"]["overlay"] is None
    (mask,) = document["masks"]
    assert mask["score"] == pytest.approx(0.9)
    assert [p.name for p in folder.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "nothing was clicked: give --point x,y or --box x0,y0,x1,y1"),
        (["--point", "1"], "1 numbers instead of two"),
        (["--negative-point", "a,b"], "--negative-point 'a,b': not two numbers"),
        (["--box", "10,2,5,4"], "x1 must be greater than x0"),
        (["--point", "25,4"], "point (25, 4) lies outside the picture of 24 x 16 px"),
        (["--box", "30,2,35,4"], "lies outside the picture"),
    ],
)
def test_clicks_that_cannot_be_are_one_line(cli, folder, model, picture, options, says):
    image = picture(folder / "x.png")
    result = cli("click", "artifact", image, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert [p.name for p in folder.iterdir()] == ["x.png"]


def test_an_artifact_that_is_not_for_clicks_is_one_line(
    cli, folder, toy_artifact, monkeypatch, picture
):
    concepts = toy.make_model(toy_artifact, toy.ToyFunctions())
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: concepts, raising=False)
    result = cli("click", "artifact", picture(folder / "x.png"), "--point", "1,1")
    assert result.exit_code == 2
    assert "not for clicks" in result.stderr
    assert "--tasks concepts,clicks" in result.stderr


def test_a_task_that_cannot_be_is_one_line_and_leaves_nothing(cli, folder):
    for tasks, says in (("clicks", "concepts among them"), ("concepts,dreams", "no task is named")):
        result = cli("compile", "random:tiny", "-o", "out", "--tasks", tasks)
        assert result.exit_code == 2
        assert says in result.stderr
        assert not list(folder.iterdir())


def test_each_form_of_output_is_written(cli, folder, model, picture):
    image = picture(folder / "x.png")
    outputs = ["-o", "masks/", "-o", "found.jsonl", "-o", "dog.png"]
    result = cli("click", "artifact", image, "--point", "6,4", *outputs)
    assert result.exit_code == 0, result.output
    wanted = model.click(image, [[6, 4]])
    for number, mask in enumerate(wanted.masks):  # as the table numbers them
        with Image.open(folder / "masks" / f"x-{number}.png") as drawn:
            np.testing.assert_array_equal(np.asarray(drawn), mask * np.uint8(255))
    with Image.open(folder / "dog.png") as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), np.asarray(wanted.overlay()))
    (line,) = (folder / "found.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record["file_name"] == str(image)
    assert (record["best"], record["object_score"]) == (wanted.best, wanted.object_score)
    assert record["objects"] == wanted.to_coco()
    assert sorted(p.name for p in folder.iterdir()) == ["dog.png", "found.jsonl", "masks", "x.png"]
    assert result.stdout.count("wrote ") == 2


def test_an_output_that_cannot_be_is_refused_first(cli, folder, model, picture):
    image = picture(folder / "x.png")
    for output, says in (("x.png", "would write over a picture"), ("x.json", "NAME.jsonl for")):
        result = cli("click", "artifact", image, "--point", "6,4", "-o", output)
        assert result.exit_code == 2
        assert f"-o {output}" in result.stderr
        assert says in result.stderr
