"""A collection annotated by the command, killed on the way, gone on with, and read by others.

    python -m training draw -o drawn --count 500 --size 128
    python -m tests.annotate.whole_collection ARTIFACT drawn FOLDER

runs ``sam3-tvm annotate`` to the end; again, killed by SIGKILL after each quarter of the pictures;
compares the two datasets with ``diff -r``; and compares every mask that a format's reader reads
with the journal's. A line is printed for each; a difference ends it. Readers that aren't
installed are named.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from sam3_tvm.annotate import AnnotatedPicture

FORMATS = "coco,yolo,geojson,labelme,cvat,parquet"
TEXTS = ("--text", "hexagon", "--text", "star=stars")

Found = Iterator[tuple[str, str, Any]]
"""A picture's stem, a category, and a mask bool [H, W] or a box x0, y0, x1, y1."""


def by_pycocotools(folder: Path) -> Found:
    from pycocotools.coco import COCO

    with redirect_stdout(io.StringIO()):
        read = COCO(folder / "coco" / "annotations.json")
    names = {one["id"]: one["name"] for one in read.loadCats(read.getCatIds())}
    for one in read.loadAnns(read.getAnnIds()):
        (image,) = read.loadImgs(one["image_id"])
        yield Path(image["file_name"]).stem, names[one["category_id"]], read.annToMask(one) > 0


def _by_supervision(folder: Path) -> Iterator[tuple[str, list[str], Any]]:
    import supervision

    places = (f"{folder / name}" for name in ("images", "labels", "data.yaml"))
    read = supervision.DetectionDataset.from_yolo(*places)
    for path, found in read.annotations.items():
        yield Path(path).stem, [read.classes[number] for number in found.class_id], found


def masks_by_supervision(folder: Path) -> Found:
    for stem, names, found in _by_supervision(folder / "yolo-segment"):
        for name, mask in zip(names, found.mask if names else (), strict=True):
            yield stem, name, mask


def boxes_by_supervision(folder: Path) -> Found:
    for stem, names, found in _by_supervision(folder / "yolo-detect"):
        for name, box in zip(names, found.xyxy, strict=True):
            yield stem, name, box


def by_shapely(folder: Path) -> Found:
    import shapely

    for path in (folder / "geojson").glob("*.geojson"):
        document = json.loads(path.read_text())
        y, x = np.mgrid[: document["picture"]["height"], : document["picture"]["width"]] + 0.5
        for one in document["features"]:
            shape = shapely.from_geojson(json.dumps(one["geometry"]))
            yield path.stem, one["properties"]["category"], shapely.contains_xy(shape, x, y)


def by_labelme(folder: Path) -> Found:
    from labelme import LabelFile, utils
    from loguru import logger

    logger.disable("labelme")
    for path in (folder / "labelme").glob("*.json"):
        read = LabelFile(f"{path}")
        size = utils.img_data_to_arr(read.imageData).shape
        for one in read.shapes:
            label = {one["label"]: 1}
            mask, _ = utils.shapes_to_label(size, [one], label)
            yield path.stem, one["label"], mask > 0


def by_datumaro(folder: Path) -> Found:
    import datumaro

    with tempfile.TemporaryDirectory() as place:
        # It looks for the pictures beside the file.
        first = json.loads((folder / "journal.jsonl").read_bytes().splitlines()[1])
        (Path(place) / "images").symlink_to(Path(first["path"]).parent)
        (Path(place) / "annotations.xml").symlink_to((folder / "cvat/annotations.xml").resolve())
        read = datumaro.Dataset.import_from(place, "cvat")
        labels = read.categories()[datumaro.AnnotationType.label]
        for item in read:
            for one in item.annotations:
                yield Path(item.id).stem, labels[one.label].name, one.image > 0


def by_pyarrow(folder: Path) -> Found:
    from pyarrow import parquet
    from pycocotools import mask as coco

    pictures = parquet.read_table(folder / "parquet" / "pictures.parquet").to_pylist()
    for one in parquet.read_table(folder / "parquet" / "objects.parquet").to_pylist():
        runs = {"size": [one["height"], one["width"]], "counts": one["counts"].encode()}
        name = pictures[one["picture"]]["file_name"]
        yield Path(name).stem, one["category"], coco.decode(runs) > 0


READERS = {
    "coco by pycocotools": by_pycocotools,
    "yolo-segment by supervision": masks_by_supervision,
    "yolo-detect by supervision": boxes_by_supervision,
    "geojson by shapely": by_shapely,
    "labelme by labelme": by_labelme,
    "cvat by datumaro": by_datumaro,
    "parquet by pyarrow": by_pyarrow,
}


def gathered(found: Found) -> dict[tuple[str, str], Any]:
    """What belongs to each picture and category: how often each pixel is in a mask, or boxes."""
    made: dict[tuple[str, str], Any] = {}
    for stem, category, one in found:
        if one.ndim == 2:
            made[stem, category] = made.get((stem, category), 0) + one.astype(int)
        else:
            made.setdefault((stem, category), []).append(one)
    return made


def check_readers(folder: Path) -> None:
    """Compare what each reader reads with the journal; say so."""
    lines = (folder / "journal.jsonl").read_bytes().splitlines()[1:]
    pictures = [AnnotatedPicture.from_line(line) for line in lines]
    objects = [(p, Path(p.name).stem, one) for p in pictures for one in p.objects]
    masks = gathered((stem, one.category, one.mask(p.size)) for p, stem, one in objects)
    boxes = gathered((stem, one.category, np.array(one.box)) for _, stem, one in objects)
    for name, reader in READERS.items():
        try:
            found = gathered(reader(folder))
        except ImportError as error:
            print(f"{name}: not read, as it isn't installed ({error})")
            continue
        wanted = boxes if reader is boxes_by_supervision else masks
        assert found.keys() == wanted.keys(), name
        for key, one in found.items():
            np.testing.assert_allclose(one, wanted[key], atol=0.01, err_msg=f"{name}: {key}")
        print(f"{name}: {len(objects)} objects of {len(pictures)} pictures are as they were found")


# The command, killed when it has added so many pictures to the journal; others are at hand then.
# From outside it could come too late.
KILLED = """
import os, signal, sys
from sam3_tvm.annotate.journal import Journal
from sam3_tvm.cli import main

left, add = int(sys.argv.pop(1)), Journal.add

def add_and_die(self, picture):
    global left
    add(self, picture)
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.add = add_and_die
main()
"""


def command(artifact: Path, pictures: Path, folder: Path) -> list[str]:
    about = ["annotate", f"{artifact}", f"{pictures}", *TEXTS, "--format", FORMATS]
    return [*about, "-o", f"{folder}"]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "sam3_tvm"]
    return subprocess.run([*start, *arguments], capture_output=True, text=True, check=True)


def run_killed(arguments: list[str], pictures: int) -> None:
    """Run a command that is killed when it has done so many pictures."""
    start = [sys.executable, "-c", KILLED, f"{pictures}"]
    done = subprocess.run([*start, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def check(artifact: Path, pictures: Path, folder: Path) -> None:
    """All of it; prints a line for each thing that is so."""
    whole, killed = folder / "whole", folder / "killed"
    done = run(command(artifact, pictures, whole))
    print(done.stdout.strip().partition("\n")[0], done.stderr.strip().splitlines()[-1], sep="\n")
    total = json.loads((whole / "summary.json").read_text())["pictures"]
    arguments = command(artifact, pictures, killed)
    for _ in range(3):
        run_killed(arguments, total // 4)
        lines = (killed / "journal.jsonl").read_bytes().count(b"\n") - 1
        print(f"killed with {lines} of {total} pictures in the journal")
    run(arguments)
    subprocess.run(["diff", "-r", whole, killed], check=True)
    print("gone on with: diff -r finds no difference")
    check_readers(killed)


if __name__ == "__main__":
    check(*map(Path, sys.argv[1:]))
