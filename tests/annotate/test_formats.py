"""Every format, read by readers that are not ours, gives every mask back to the pixel.

Readers that bring torch or a window system aren't among the packages for developers; where they are
installed they are heard, too.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.annotate import (
    FORMATS,
    AnnotatedPicture,
    Dataset,
    Listed,
    Refused,
    chosen_formats,
    collect,
)
from sam3_tvm.annotate.formats.base import stems
from tests.annotate.conftest import installed
from tests.annotate.hard_masks import CATEGORIES, NAMES
from tests.annotate.test_rings import with_border

# numpy's arrays in pycocotools
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

ORDER = sorted(NAMES, key=lambda name: name.split("/"))


@pytest.fixture(scope="module")
def truth(written):
    """Category and mask of every object, by the picture's name."""
    lines = (written / "journal.jsonl").read_bytes().splitlines()[1:]
    found = [AnnotatedPicture.from_line(line) for line in lines]
    assert [one.name for one in found] == ORDER
    assert [len(one.objects) for one in found] == [4, 15, 1100, 0, 4, 4]
    return {p.name: [(o.category, o.mask(p.size)) for o in p.objects] for p in found}


def by_stem(flat):
    listed = [Listed(Path(name), name) for name in ORDER]
    return dict(zip(stems(listed, flat), ORDER, strict=True))


def same(found, wanted):
    assert len(found) == len(wanted)
    for (category, mask), (name, whole) in zip(found, wanted, strict=True):
        assert category == name
        np.testing.assert_array_equal(mask, whole)


def same_in_pieces(found, wanted):
    """Pieces of objects, those of one after those of another."""
    pieces = iter(found)
    for name, whole in wanted:
        union = np.zeros(whole.shape, bool)
        while union.sum() < whole.sum():
            category, mask = next(pieces)
            assert category == name
            assert not (mask & ~whole).any()
            union |= mask
    assert next(pieces, None) is None


def test_coco_by_pycocotools(written, truth):
    from pycocotools.coco import COCO

    with redirect_stdout(io.StringIO()):
        reader = COCO(written / "coco" / "annotations.json")
    assert [one["name"] for one in reader.loadCats(reader.getCatIds())] == [*CATEGORIES]
    images = reader.loadImgs(reader.getImgIds())
    assert [image["file_name"] for image in images] == ORDER
    for image in images:
        entries = reader.loadAnns(reader.getAnnIds(imgIds=image["id"]))
        found = [
            (CATEGORIES[one["category_id"] - 1], reader.annToMask(one).astype(bool))
            for one in entries
        ]
        same(found, truth[image["file_name"]])
        assert [one["area"] for one in entries] == [mask.sum() for _, mask in found]


def test_yolo_by_a_filler_of_polygons(written, truth):
    """Cut off or rounded, a coordinate is the same pixel."""
    folder = written / "yolo-segment"
    for stem, name in by_stem(flat=True).items():
        (image,) = (folder / "images").glob(f"{stem}.*")
        width, height = Image.open(image).size
        for whole in (np.trunc, np.round):
            found = []
            for line in (folder / "labels" / f"{stem}.txt").read_text().splitlines():
                number, *values = line.split()
                assert len(values) >= 6
                points = np.array(values, np.float32).reshape(-1, 2)
                ring = whole(points * np.array([width, height], np.float32)).astype(int).tolist()
                found.append((CATEGORIES[int(number)], with_border(ring, (height, width))))
            same_in_pieces(found, truth[name])


def test_yolo_by_supervision(written, truth):
    supervision = pytest.importorskip("supervision", reason="supervision isn't installed")
    folder = written / "yolo-segment"
    read = supervision.DetectionDataset.from_yolo(
        *(f"{folder / name}" for name in ("images", "labels", "data.yaml"))
    )
    assert read.classes == [*CATEGORIES]
    names = by_stem(flat=True)
    assert len(read.image_paths) == len(ORDER)
    for path in read.image_paths:
        one = read.annotations[path]
        masks = [] if one.mask is None else one.mask
        found = [(CATEGORIES[c], m) for c, m in zip(one.class_id, masks, strict=True)]
        same_in_pieces(found, truth[names[Path(path).stem]])


def test_yolos_boxes_are_those_of_the_objects(written, truth):
    folder = written / "yolo-detect"
    for stem, name in by_stem(flat=True).items():
        lines = (folder / "labels" / f"{stem}.txt").read_text().splitlines()
        for line, (category, mask) in zip(lines, truth[name], strict=True):
            number, x, y, w, h = map(float, line.split())
            assert CATEGORIES[int(number)] == category
            height, width = mask.shape
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [(x - w / 2) * width, (y - h / 2) * height]
            box += [(x + w / 2) * width, (y + h / 2) * height]
            wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
            np.testing.assert_allclose(box, wanted, atol=1e-4)


def test_yolos_pictures_are_there(written):
    for name in ("yolo-segment", "yolo-detect"):
        for image in (written / name / "images").iterdir():
            Image.open(image).load()
            assert (written / name / "labels" / f"{image.stem}.txt").is_file()


def test_geojson_by_shapely(written, truth):
    shapely = pytest.importorskip("shapely", reason="shapely isn't installed")
    for stem, name in by_stem(flat=False).items():
        document = json.loads((written / "geojson" / f"{stem}.geojson").read_text())
        assert document["picture"]["file_name"] == name
        found = []
        for feature, (_, mask) in zip(document["features"], truth[name], strict=True):
            shape = shapely.from_geojson(json.dumps(feature["geometry"]))
            assert shape.is_valid
            y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
            category = feature["properties"]["category"]
            found.append((category, shapely.contains_xy(shape, x + 0.5, y + 0.5)))
        same(found, truth[name])


# It takes every GeoJSON for degrees.
@pytest.mark.filterwarnings("ignore:Geometry is in a geographic CRS")
def test_geojson_by_geopandas(written, truth):
    geopandas = pytest.importorskip("geopandas", reason="geopandas isn't installed")
    for stem, name in by_stem(flat=False).items():
        table = geopandas.read_file(written / "geojson" / f"{stem}.geojson")
        assert len(table) == len(truth[name])
        if len(table):
            assert table.geometry.area.tolist() == [mask.sum() for _, mask in truth[name]]
            assert table["category"].tolist() == [category for category, _ in truth[name]]


def test_labelme_as_its_shapes_are_read(written, truth):
    """A mask's two corners are both pixels of it (labelme's ``shapes_to_label``)."""
    for stem, name in by_stem(flat=False).items():
        path = written / "labelme" / f"{stem}.json"
        document = json.loads(path.read_text())
        picture = Image.open(path.parent / document["imagePath"])
        assert picture.size == (document["imageWidth"], document["imageHeight"])
        found = []
        for shape in document["shapes"]:
            assert shape["shape_type"] == "mask"
            (x0, y0), (x1, y1) = shape["points"]
            mask = np.zeros(picture.size[::-1], bool)
            png = Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
            mask[y0 : y1 + 1, x0 : x1 + 1] = np.array(png).astype(bool)
            found.append((shape["label"], mask))
        same(found, truth[name])


def test_cvat_by_its_definition(written, truth):
    root = ElementTree.parse(written / "cvat" / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1"
    assert [one.text for one in root.findall("meta/task/labels/label/name")] == [*CATEGORIES]
    images = root.findall("image")
    assert [image.get("name") for image in images] == ORDER
    for image in images:
        size = (int(image.get("height")), int(image.get("width")))
        found = []
        for one in image.findall("mask"):
            left, top, width, height = (
                int(one.get(name)) for name in ("left", "top", "width", "height")
            )
            lengths = [int(text) for text in one.get("rle").split(",")]
            runs = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
            mask = np.zeros(size, bool)
            mask[top : top + height, left : left + width] = runs.reshape(height, width)
            found.append((one.get("label"), mask))
        same(found, truth[image.get("name")])


def test_cvat_by_datumaro(written, truth, tmp_path):
    datumaro = pytest.importorskip("datumaro", reason="datumaro isn't installed")
    text = (written / "cvat" / "annotations.xml").read_text(encoding="utf-8")
    # It looks for the pictures beside the file, and knows them by their names without suffix.
    renamed = {name: name.replace("a b.bmp", "another.bmp") for name in ORDER}
    (tmp_path / "annotations.xml").write_text(text.replace("a b.bmp", "another.bmp"), "utf-8")
    for name, new in renamed.items():
        path = tmp_path / "images" / new
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((written.parent / "pictures" / name).read_bytes())
    read = datumaro.Dataset.import_from(f"{tmp_path}", "cvat")
    labels = read.categories()[datumaro.AnnotationType.label]
    names = {Path(new).with_suffix("").as_posix(): name for name, new in renamed.items()}
    assert len(read) == len(ORDER)
    for item in read:
        found = [(labels[one.label].name, one.image.astype(bool)) for one in item.annotations]
        same(found, truth[names[item.id]])


def test_parquet_by_pyarrow(written, truth):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow isn't installed")
    import hashlib

    from pycocotools import mask as coco

    pictures = parquet.read_table(written / "parquet" / "pictures.parquet").to_pylist()
    objects = parquet.read_table(written / "parquet" / "objects.parquet").to_pylist()
    assert [one["file_name"] for one in pictures] == ORDER
    for picture in pictures:
        raw = (written.parent / "pictures" / picture["file_name"]).read_bytes()
        assert picture["sha256"] == hashlib.sha256(raw).hexdigest()
        assert picture["file_size"] == len(raw)
        rows = [one for one in objects if one["picture"] == picture["picture"]]
        found = []
        for row in rows:
            runs = {"size": [row["height"], row["width"]], "counts": row["counts"].encode()}
            found.append((row["category"], coco.decode(runs).astype(bool)))
            assert len(row["box"]) == 4
        same(found, truth[picture["file_name"]])
        assert picture["objects"] == len(rows)


def test_names_without_suffix_stay_unlike_on_any_file_system():
    listed = [Listed(Path(name), name) for name in ("A.jpg", "a.png", "b/a.png", "a-2.png", "b__a")]
    assert [*stems(listed, flat=False)] == ["A", "a-2", "b/a", "a-2-2", "b__a"]
    assert [*stems(listed, flat=True)] == ["A", "a-2", "b__a", "a-2-2", "b__a-2"]


def test_formats_are_chosen_by_name():
    assert [one.name for one in chosen_formats(["yolo", "coco", "yolo-detect"])] == [
        *("coco", "yolo-segment", "yolo-detect")
    ]
    with pytest.raises(Refused, match="'voc': is no format; there are coco, yolo, yolo-segment"):
        chosen_formats(["voc"])
    with pytest.raises(Refused, match="no format"):
        chosen_formats([])


def test_a_missing_package_is_named_before_the_work(monkeypatch):
    from sam3_tvm import MissingExtraError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow.*pip install 'sam3-tvm\[annotate\]'"):
        chosen_formats(["coco", "parquet"])
    assert [one.name for one in chosen_formats(["coco"])] == ["coco"]
    assert len(FORMATS) == 8


def listed(*names):
    return [Listed(Path(name), name) for name in names]


def test_names_are_unlike_each_others_and_folders():
    pictures = listed("x.png", "x.json/y.png", "X.bmp", "x-2.png", "y.tif")
    found = list(stems(pictures, False, ".json"))
    assert found == ["x-2", "x.json/y", "X-3", "x-2-2", "y"]
    assert list(stems(pictures, False, ".geojson"))[:2] == ["x", "x.json/y"]


def test_long_names_are_cut_and_numbered():
    long = "ä" * 120
    pictures = listed(f"{long}1.png", f"{long}2.png", f"{long}/{long}3.png")
    found = list(stems(pictures, False, ".json"))
    assert found == ["ä" * 100, "ä" * 100 + "-2", "ä" * 100 + "/" + "ä" * 100]
    deep = "/".join(["f" * 52] * 5)
    flat = list(stems(listed(f"{deep}/a.png", f"{deep}/b.png"), True))
    assert [len(one) for one in flat] == [200, 200]
    assert [one[-5:] for one in flat] == ["f" * 2 + "__a", "f" * 2 + "__b"]


def test_awkward_names_in_every_format(tmp_path, find):
    pixels = Image.fromarray(np.full((24, 31, 3), 2, np.uint8))
    deep = "/".join(["f" * 52] * 5)
    names = ["x.png", "x.json/x.png", "x.geojson/x.png", "s" * 251 + ".png", f"{deep}/a.png"]
    for name in names:
        path = tmp_path / "awkward" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels.save(path, format="PNG")
    with Dataset(tmp_path / "set", find, collect([tmp_path / "awkward"])) as dataset:
        list(dataset.run())
        dataset.write(installed())
        assert dataset.unwritten == []
    for name in ("labelme/**/*.json", "geojson/**/*.geojson", "yolo-detect/labels/*.txt"):
        assert len([one for one in (tmp_path / "set").glob(name) if one.is_file()]) == 5


def test_a_format_without_its_picture_is_named_and_the_others_written(tmp_path, find, pictures):
    with Dataset(tmp_path / "set", find, pictures) as dataset:
        list(dataset.run())
        pictures[0].path.unlink()
        written = dataset.write(chosen_formats(["yolo-detect", "geojson"]), copy=True)
    (why,) = dataset.unwritten
    assert f"yolo-detect: cannot be written ({pictures[0].path}: cannot be copied (No such" in why
    assert [path.name for path in written] == ["geojson", "summary.json"]
    assert not (tmp_path / "set" / "yolo-detect").exists()


def test_a_file_that_cannot_be_is_named_with_its_format(tmp_path, find, pictures, monkeypatch):
    def fails(source, target):
        raise OSError(1, "Operation not permitted", source, None, target)

    monkeypatch.setattr("os.symlink", fails)
    with Dataset(tmp_path / "set", find, pictures) as dataset:
        list(dataset.run())
        dataset.write(chosen_formats(["yolo-detect", "geojson"]))
    (why,) = dataset.unwritten
    assert why.endswith("yolo-detect: cannot be written (a b.bmp: Operation not permitted)")
    assert (tmp_path / "set" / "geojson").is_dir()
