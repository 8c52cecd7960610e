"""Large pictures from files, and their outlines in coordinate systems."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.image import ImageError, read_picture
from sam3_tvm.runtime.pictures.polygons import mask_polygons
from sam3_tvm.runtime.pictures.runs import Window
from sam3_tvm.tiles import Place, TiledResult, Tiling, open_windows, segment_tiled
from sam3_tvm.tiles.layout import Tile
from sam3_tvm.tiles.pieces import piece

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

SIZE = (90, 120)


@pytest.fixture
def rgb():
    return np.random.default_rng(2).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def geotiff(tmp_path, rgb):
    rasterio = pytest.importorskip("rasterio", reason="rasterio isn't installed")
    about = {"driver": "GTiff", "width": SIZE[1], "height": SIZE[0], "count": 4, "dtype": "uint8"}
    where = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(500, 900, 2, 2)}
    with rasterio.open(tmp_path / "a.tif", "w", **about, **where) as file:
        file.write(np.concatenate([rgb.transpose(2, 0, 1), np.full((1, *SIZE), 9, np.uint8)]))
    return tmp_path / "a.tif"


def result(place=None):
    mask = np.ones((20, 30), bool)
    mask[5:10, 5:10] = False
    whole = Tile(0, 0, SIZE[1], SIZE[0])
    one = piece(Window(40, 50, mask), 0.75, (40, 50, 70, 70), whole, 0, SIZE, 2)
    return TiledResult("dog", "dog", SIZE, [one], place)


def test_windows_of_a_geotiff_are_its_colours_and_its_place(geotiff, rgb):
    with open_windows(geotiff) as opened:
        assert opened.size == SIZE
        assert opened.place == Place("EPSG:32633", (2, 0, 500, 0, -2, 900))
        np.testing.assert_array_equal(opened.read(Tile(10, 20, 50, 70)), rgb[20:70, 10:50])
        assert opened.reduced(4).shape == (23, 30, 3)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "grey.png", "turned.jpg", "palette.png"])
def test_windows_of_other_files_are_what_is_read_of_them_whole(tmp_path, rgb, name):
    path = tmp_path / name
    image = Image.fromarray(rgb)
    if name == "grey.png":
        image = image.convert("L")
    if name == "palette.png":
        image = image.convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(path, **({"exif": exif} if name == "turned.jpg" else {}))
    whole = read_picture(path)
    with open_windows(path) as opened:
        assert opened.size == whole.shape[:2]
        assert opened.place is None
        np.testing.assert_array_equal(opened.read(Tile(3, 5, 60, 70)), whole[5:70, 3:60])


def test_what_is_no_picture_is_refused_as_elsewhere(tmp_path):
    (tmp_path / "broken.tif").write_bytes(b"II*\0broken")
    for name in ("broken.tif", "none.tif"):
        with pytest.raises(ImageError, match=name):
            open_windows(tmp_path / name)


def test_outlines_in_pixels_and_in_a_coordinate_system(tmp_path):
    shapely = pytest.importorskip("shapely", reason="shapely isn't installed")
    path = tmp_path / "a.geojson"
    for place, bounds in (
        (None, (40, 50, 70, 70)),
        (Place("EPSG:32633", (2, 0, 500, 0, -2, 900)), (580, 760, 640, 800)),
    ):
        result(place).save(path)
        document = json.loads(path.read_text())
        (feature,) = document["features"]
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.bounds == bounds
        assert shape.is_valid
        scale = 1 if place is None else 4
        assert shape.area == scale * feature["properties"]["area"] == scale * 575
        named = document.get("crs", {}).get("properties", {}).get("name")
        assert named == (place and "urn:ogc:def:crs:EPSG::32633")
    assert shape.exterior.is_ccw


def test_a_geopackage_comes_back_by_gdal(tmp_path):
    pyogrio = pytest.importorskip("pyogrio", reason="pyogrio isn't installed")
    shapely = pytest.importorskip("shapely", reason="shapely isn't installed")
    result(Place("EPSG:32633", (2, 0, 500, 0, -2, 900))).save(tmp_path / "a.gpkg")
    about, _, shapes, columns = pyogrio.raw.read(tmp_path / "a.gpkg")
    assert about["crs"] == "EPSG:32633"
    assert shapely.from_wkb(shapes[0]).bounds == (580, 760, 640, 800)
    assert dict(zip(about["fields"], (c[0] for c in columns), strict=True)) == {
        "text": "dog",
        "score": 0.75,
        "area": 575,
    }
    TiledResult("dog", "dog", SIZE, [], None).save(tmp_path / "none.gpkg")
    assert pyogrio.read_info(tmp_path / "none.gpkg")["features"] == 0


def test_a_result_is_plain_data(rgb):
    one = result()
    assert pickle.loads(pickle.dumps(one)) == one
    (window,) = one.windows()
    assert (window.x, window.y, window.mask.sum()) == (40, 50, 575)
    (outlines,) = one.to_polygons()
    whole = np.zeros(SIZE, bool)
    whole[50:70, 40:70] = window.mask
    for ours, wanted in zip(outlines, mask_polygons(whole), strict=True):
        np.testing.assert_array_equal(ours.outer, wanted.outer)
    with pytest.raises(ImageError, match="pass it to overlay"):
        one.overlay()
    assert one.overlay(rgb).size == (120, 90)
    assert one.to_coco(3)[0]["area"] == 575


@pytest.mark.parametrize(
    ("text", "like", "says"),
    [
        ("dog", 5, "like takes what model.exemplar"),
        (["dog", "cat"], [None], "like has 1 entries for 2 phrases"),
        (None, None, "nothing to look for"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_before_a_tile_is_read(rgb, text, like, says):
    model = SimpleNamespace(fingerprint="1")
    with pytest.raises(PromptError, match=says):
        segment_tiled(model, rgb, text, like=like)


class Squares:
    """A model that finds the white part of a picture where that looks like a square."""

    fingerprint = "1"
    manifest = SimpleNamespace(sizes=SimpleNamespace(grid=16, image=128))

    def __init__(self):
        self.asked = []

    def segment(self, rgb, text, threshold, nms, like):
        self.asked.append((rgb.shape[:2], text, threshold))
        white = rgb[..., 0] > 128
        rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
        square = len(rows) > 0 and len(rows) == len(columns)
        box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if square else [0] * 4
        one = SimpleNamespace(masks=white[None], boxes=np.array([box]), scores=np.array([0.95]))
        return [Found(name, [one] if square and name == "square" else []) for name in text]


class Found(list):
    def __init__(self, text, objects):
        super().__init__(objects)
        self.text = self.text_read = text


def test_what_an_edge_makes_a_thing_is_looked_at_again_and_gone():
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[40:60, 80:140] = 255  # of which the first tile sees a square
    model = Squares()
    texts = ["dog", "square"]
    once = segment_tiled(model, rgb, texts, tiling=Tiling(100, 0, again=False))
    assert [len(one) for one in once] == [0, 1]
    assert model.asked == [*[((100, 100), texts, 0.5)] * 2, ((100, 200), texts, 0.5)]
    model = Squares()
    told: list[tuple[str, int, int]] = []
    again = segment_tiled(
        model, rgb, texts, tiling=Tiling(100, 0), progress=lambda *step: told.append(step)
    )
    assert told == [
        *[("tiles", 0, 3), ("tiles", 1, 3), ("again", 2, 3), ("again", 3, 4)],
        *[("whole", 4, 5), ("tiles", 5, 5)],
    ]
    assert [len(one) for one in again] == [0, 0]
    assert model.asked[2:4] == [((80, 80), ["square"], 0.2), ((100, 100), ["square"], 0.2)]
