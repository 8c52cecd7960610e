"""``--like`` and ``--tile`` of ``segment`` and ``annotate``: what is typed, written, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from sam3_tvm.cli.like import parse_likes

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools


@pytest.fixture
def shots(folder, picture) -> Path:
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        picture(folder / "shots" / name, (96, 64), seed)
    return Path("shots")


LIKE = "shots/a.png:10,10,60,50"


@pytest.fixture
def believed(monkeypatch):
    """What examples find is taken as it is: the toy's finds don't find back."""
    monkeypatch.setattr(
        "sam3_tvm.runtime.concepts.detector.confirmed",
        lambda asks, features, boxes, scores, like, threshold: scores,
    )


def test_a_path_may_hold_colons_and_equals_signs():
    (one,) = parse_likes(["a:1=b.jpg:1,2,3,4=red jar"], [])
    assert (f"{one.picture}", one.box, one.name, one.label) == (
        "a:1=b.jpg",
        (1, 2, 3, 4),
        "red jar",
        1,
    )


def test_examples_find_in_other_pictures(cli, shots, model, believed):
    ask = ("--like", f"{LIKE}=toy", "--text", "dog", "--like", f"{LIKE}=dog", "--threshold", "0")
    result = cli("segment", "artifact", shots, *ask, "--json", "--no-overlay")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [one["name"] for one in document["categories"]] == ["dog", "toy"]
    assert {one["category_id"] for one in document["annotations"]} == {1, 2}
    assert [name for name, _ in document["info"]["examples"]] == ["toy", "dog"]


def test_examples_make_a_dataset_and_another_example_is_another_run(cli, shots, model, believed):
    ask = ("annotate", "artifact", shots, "-o", "set", "--threshold", "0")
    result = cli(*ask, "--like", f"{LIKE}=toy", "--negative-like", "shots/b.png:1,1,20,20=toy")
    assert result.exit_code == 0, result.output
    document = json.loads(Path("set/coco/annotations.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["toy"]
    assert {one["phrase"] for one in document["annotations"]} == {"toy"}
    other = cli(*ask, "--like", "shots/b.png:10,10,60,50=toy")
    assert other.exit_code == 2
    assert "the examples" in other.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--like", "a.jpg"), "--like 'a.jpg': no picture and box"),
        (("--like", "a.jpg:1,2,3"), "3 numbers instead of four; --like takes PICTURE"),
        (("--like", f"{LIKE}="), "nothing after the equals sign"),
        (("--like", "none.jpg:1,2,3,4=x"), "--like none.jpg: no such file"),
        (("--like", "shots/a.png:500,500,600,600=x"), "lies outside the picture of 96 x 64"),
        (("--negative-like", f"{LIKE}=x"), "says only what is not meant"),
        (("--text", "dog", "--overlap", "0.1"), "--overlap goes with --tile"),
        (("--text", "dog", "--once"), "--once goes with --tile"),
        (("--text", "dog", "--tile", "8"), "--tile 8: a tile has at least 32"),
        (("--text", "dog", "--tile", "64", "--overlap", "1"), "--overlap 1: tiles have 0 to 0.9"),
    ],
)
@pytest.mark.parametrize("command", ["segment", "annotate"])
def test_what_can_not_be_is_refused_in_a_line(cli, shots, model, command, options, said):
    out = ("-o", "out")
    result = cli(command, "artifact", shots, *options, *out)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()[-1:]
    assert said in line
    assert not Path("out").exists()


def test_an_example_without_a_name_is_no_category(cli, shots, model):
    result = cli("annotate", "artifact", shots, "--like", LIKE, "-o", "out")
    assert result.exit_code == 2
    assert "has no category" in result.stderr


@pytest.mark.parametrize("name", ["out.geojson", "masks"])
def test_forms_that_tiles_have_or_have_not(cli, shots, model, name):
    tiles = ("--tile", "64") if name == "masks" else ()
    result = cli("segment", "artifact", "shots/a.png", "--text", "dog", *tiles, "-o", name)
    assert result.exit_code == 2
    assert "geojson" in result.stderr


def test_a_picture_in_tiles_is_written_in_every_form(cli, shots, model):
    out = ("-o", "found", "-o", "found.jsonl", "-o", "found.geojson", "-o", "found.png")
    ask = ("--text", "dog", "--box", "10,10,60,50", "--tile", "40", "--threshold", "0")
    result = cli("segment", "artifact", "shots/a.png", *ask, *out)
    assert result.exit_code == 0, result.output
    (line,) = Path("found.jsonl").read_text().splitlines()
    objects = json.loads(line)["objects"]
    assert objects
    assert len(json.loads(Path("found.geojson").read_text())["features"]) == len(objects)
    assert Image.open("found.png").size == Image.open("found/a.png").size == (96, 64)


def test_a_collection_in_tiles_becomes_a_dataset_and_tiles_are_settings(cli, shots, model):
    ask = ("annotate", "artifact", shots, "--text", "dog", "--threshold", "0", "-o", "set")
    result = cli(*ask, "--tile", "40", "--format", "coco,geojson,cvat,yolo,labelme")
    assert result.exit_code == 0, result.output
    assert json.loads(Path("set/coco/annotations.json").read_text())["annotations"]
    for other in (("--tile", "48"), ("--tile", "40", "--once")):
        again = cli(*ask, *other)
        assert again.exit_code == 2
        assert "the tiles" in again.output
    plan = cli(*ask, "--tile", "40", "--dry-run", "--json")
    assert json.loads(plan.stdout)["left"] == 0
