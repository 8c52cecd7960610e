"""A mosaic of scenes, and what it is written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.errors import UsageError
from training.mosaic import PHRASES, Mosaic

MOSAIC = Mosaic(2, 2, 3)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("mosaic")
    (folder / "one.tif").write_text("somebody's")
    MOSAIC.write(folder / "one.png")
    assert sorted(p.name for p in folder.iterdir()) == ["one.png", "one.tif"]
    assert (folder / "one.tif").read_text() == "somebody's"
    with Image.open(folder / "one.png") as image:
        return np.asarray(image)


def test_scenes_lie_where_they_are_said_to(picture: np.ndarray) -> None:
    assert picture.shape == (*MOSAIC.size, 3)
    for x, y, scene in MOSAIC.scenes():
        assert np.array_equal(picture[y : y + 500, x : x + 500], scene.image)


def test_between_scenes_is_no_edge(picture: np.ndarray) -> None:
    covered = np.zeros(MOSAIC.size, bool)
    for x, y, _ in MOSAIC.scenes():
        covered[y : y + 500, x : x + 500] = True
    across = np.abs(np.diff(picture.astype(int), axis=1)).max(2)
    assert across[~covered[:, 1:] & ~covered[:, :-1]].max() <= 12


def test_targets_are_the_things_of_the_scenes() -> None:
    areas = [
        int(thing.mask.sum())
        for _, _, scene in MOSAIC.scenes()
        for thing in scene.things
        if thing.shape == "circle"
    ]
    found = MOSAIC.targets()
    assert list(found) == list(PHRASES)
    assert [int(coco.area(one)) for one in found["circle"]] == areas
    assert sum(map(len, found.values())) > 0


def test_a_geotiff_holds_the_same(picture: np.ndarray, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    MOSAIC.write(tmp_path / "one.tif")
    with rasterio.open(tmp_path / "one.tif") as file:
        assert file.crs.to_epsg() == 32633
        assert np.array_equal(file.read().transpose(1, 2, 0), picture)


@pytest.mark.parametrize("name", ["one.jpg", "one", "none/one.png"])
def test_what_it_can_not_be_written_to_is_said_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one"):
        MOSAIC.write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
