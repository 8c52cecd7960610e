from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from training.dataset import write_dataset
from training.samples import KINDS
from training.scenes import COLOURS, HELD_OUT, SHAPES

COUNT, SIZE = 40, 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dataset") / "new" / "shapes"
    write_dataset(path, COUNT, 3, SIZE)
    return path


@pytest.fixture(scope="module")
def document(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "annotations.json").read_text())
    return loaded


def test_pictures_are_there_and_nothing_else_is(folder: Path, document: dict[str, Any]) -> None:
    names = [image["file_name"] for image in document["images"]]
    assert len(names) == COUNT
    assert {p.name for p in folder.iterdir()} == {*names, "annotations.json"}
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    for image in document["images"]:
        with Image.open(folder / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (SIZE, SIZE)
            assert picture.mode == "RGB"


def test_cocos_own_reader_takes_it(folder: Path, document: dict[str, Any]) -> None:
    api = COCO(str(folder / "annotations.json"))
    assert len(api.getCatIds()) == len(COLOURS) * len(SHAPES)
    for annotation in document["annotations"]:
        assert coco.area(api.annToRLE(annotation)) == annotation["area"] > 0
        assert coco.toBbox(annotation["segmentation"]).tolist() == annotation["bbox"]
        assert annotation["iscrowd"] == 0


def test_categories_name_colour_and_shape_of_what_is_in_the_picture(
    folder: Path, document: dict[str, Any]
) -> None:
    names = {c["id"]: c["name"] for c in document["categories"]}
    files = {i["id"]: i["file_name"] for i in document["images"]}
    seen = 0
    for annotation in document["annotations"]:
        if names[annotation["category_id"]].startswith("red "):
            pixels = np.asarray(Image.open(folder / files[annotation["image_id"]]))
            mask = np.asarray(coco.decode([annotation["segmentation"]]))[..., 0] > 0
            r, g, b = np.median(pixels[mask], axis=0)
            assert r > 2 * g
            assert r > 2 * b
            seen += 1
    assert seen > 3


def test_prompts_ask_for_things_of_their_own_picture(document: dict[str, Any]) -> None:
    images = {a["id"]: a["image_id"] for a in document["annotations"]}
    kinds = Counter(p["kind"] for p in document["prompts"])
    assert kinds["text"] == 2 * COUNT
    assert kinds["absent"] == COUNT
    assert min(kinds["exemplar"], kinds["negative"]) > COUNT / 4
    assert set(kinds) <= set(KINDS)
    assert len({p["id"] for p in document["prompts"]}) == len(document["prompts"])
    for prompt in document["prompts"]:
        assert {images[a] for a in prompt["annotation_ids"]} <= {prompt["image_id"]}
        assert (prompt["annotation_ids"] == []) == (prompt["kind"] == "absent")
        assert len(prompt["boxes"]) == len(prompt["box_labels"])


def test_prompts_say_whether_they_ask_for_what_training_never_saw(document: dict[str, Any]) -> None:
    names = {c["id"]: tuple(c["name"].split()) for c in document["categories"]}
    kinds = {a["id"]: names[a["category_id"]] for a in document["annotations"]}
    for prompt in document["prompts"]:
        held_out = any(kinds[a] in HELD_OUT for a in prompt["annotation_ids"])
        assert prompt["held_out"] is held_out
    assert 0 < sum(p["held_out"] for p in document["prompts"]) < len(document["prompts"]) / 2


def test_a_seed_gives_the_same_first_scenes_however_many_follow(
    folder: Path, document: dict[str, Any], tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    write_dataset(tmp_path / "few", 2, 3, SIZE, lambda *step: steps.append(step))
    assert [done for _, done, total in steps if total == 2] == [0, 1, 2]
    few = json.loads((tmp_path / "few" / "annotations.json").read_text())
    for part in ("images", "annotations", "prompts"):
        assert few[part] == document[part][: len(few[part])]
    for image in few["images"]:
        name = image["file_name"]
        assert (tmp_path / "few" / name).read_bytes() == (folder / name).read_bytes()
    write_dataset(tmp_path / "other", 2, 4, SIZE)
    other = json.loads((tmp_path / "other" / "annotations.json").read_text())
    assert other["annotations"] != few["annotations"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="name a new folder"):
        write_dataset(tmp_path, 1, 0, SIZE)
    with pytest.raises(FileExistsError, match="name a new folder"):
        write_dataset(tmp_path / "mine.txt", 1, 0, SIZE)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("count", "seed", "size", "message"),
    [(0, 0, 96, "1 scene at least"), (1, -1, 96, "0 or more"), (1, 0, 10, "64 pixels wide")],
)
def test_bad_numbers_are_refused_and_nothing_is_left(
    tmp_path: Path, count: int, seed: int, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "new", count, seed, size)
    assert list(tmp_path.iterdir()) == []
