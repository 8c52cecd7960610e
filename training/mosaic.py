"""A picture of many scenes, as large as pictures from the air are, and what tiles make of it."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam3_tvm.evaluate.metrics import Counts, Figures, count, figures, match
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.pictures.runs import Window, runs_of_window
from training.dataset import STREAM
from training.scenes import Scene, draw_scene

if TYPE_CHECKING:
    from sam3_tvm import Model
    from sam3_tvm.tiles import Tiling

__all__ = ["PHRASES", "Mosaic", "measure_scenes", "measure_tiles", "peak_megabytes"]

PHRASES = (
    "red shapes",
    "blue shapes",
    "green shapes",
    "circle",
    "star",
    "triangle",
    "heart",
    "ring",
)
"""What a mosaic is searched for: colours and shapes, each many times there."""

_CELL = (900, 600)


def _matches(phrase: str, colour: str, shape: str) -> bool:
    return phrase.removesuffix(" shapes") in (colour, shape)


@dataclass(frozen=True)
class Mosaic:
    """Scenes side by side, each continued above and below by its background.

    Attributes:
        columns, rows: of scenes, 600 pixels wide and 900 high.
        seed: of the scenes.
    """

    columns: int = 20
    rows: int = 10
    seed: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rows * _CELL[0], self.columns * _CELL[1]

    def scenes(self) -> Iterable[tuple[int, int, Scene]]:
        """Scenes with the x and y of their upper left pixel."""
        for number in range(self.columns * self.rows):
            row, column = divmod(number, self.columns)
            rng = np.random.default_rng([STREAM, self.seed, 1 << 20, number])
            above = (_CELL[0] - _CELL[1]) // 2
            scene = draw_scene(rng, _CELL[1], held_out=True)
            yield column * _CELL[1], row * _CELL[0] + above, scene

    def write(self, path: Path, progress: Progress = silent) -> None:
        """Write a tiled GeoTIFF, a metre a pixel somewhere in UTM's zone 33, or a PNG.

        Args:
            path: ``NAME.tif``, which is written scene by scene, or ``NAME.png``, which takes the
                memory of the picture.
            progress: told of each scene.
        """
        import rasterio
        from rasterio.transform import from_origin

        height, width = self.size
        above = (_CELL[0] - _CELL[1]) // 2
        tif = path.with_suffix(".tif")
        with rasterio.open(
            tif,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=3,
            dtype="uint8",
            crs="EPSG:32633",
            transform=from_origin(500_000, 5_400_000, 1, 1),
            tiled=True,
            blockxsize=256,
            blockysize=256,
            photometric="RGB",
            compress="deflate",
        ) as file:
            for number, (x, y, scene) in enumerate(self.scenes()):
                progress("scenes", number, self.columns * self.rows)
                # A scene's edges are its background.
                cell = np.pad(scene.image, ((above, above), (0, 0), (0, 0)), mode="edge")
                window = ((y - above, y + _CELL[1] + above), (x, x + _CELL[1]))
                file.write(cell.transpose(2, 0, 1), window=window)
        if path != tif:
            with rasterio.open(tif) as file:
                profile = {**file.profile, "driver": "PNG"}
                kept = {k: profile[k] for k in ("driver", "width", "height", "count", "dtype")}
                with rasterio.open(path, "w", **kept) as made:
                    made.write(file.read())
            tif.unlink()

    def targets(self, phrase: str) -> list[dict[str, Any]]:
        """Runs of the masks that a phrase asks for, over the whole picture."""
        found = []
        for x, y, scene in self.scenes():
            for thing in scene.things:
                if _matches(phrase, thing.colour, thing.shape):
                    rows = np.flatnonzero(thing.mask.any(1))
                    columns = np.flatnonzero(thing.mask.any(0))
                    top, left = int(rows[0]), int(columns[0])
                    inside = thing.mask[top : rows[-1] + 1, left : columns[-1] + 1]
                    found.append(runs_of_window(Window(x + left, y + top, inside), self.size))
        return found


def measure_scenes(model: Model, mosaic: Mosaic, progress: Progress = silent) -> Figures:
    """What phrases find in the scenes, one by one."""
    outcomes = []
    for number, (_, _, scene) in enumerate(mosaic.scenes()):
        progress("scenes", number, mosaic.columns * mosaic.rows)
        for phrase, result in zip(PHRASES, model.segment(scene.image, [*PHRASES]), strict=True):
            wanted = [t.mask for t in scene.things if _matches(phrase, t.colour, t.shape)]
            outcomes.append(_outcome([_runs(m) for m in result.masks], [_runs(m) for m in wanted]))
    return figures(outcomes)


def measure_tiles(
    model: Model, path: Path, mosaic: Mosaic, tiling: Tiling, progress: Progress = silent
) -> Figures:
    """What phrases find in a written mosaic, tile by tile."""
    from sam3_tvm.tiles import segment_tiled

    results = segment_tiled(model, path, [*PHRASES], progress=progress, tiling=tiling)
    outcomes = []
    for phrase, result in zip(PHRASES, results, strict=True):
        found = [{"size": [*mosaic.size], "counts": counts} for counts in result.counts]
        outcomes.append(_outcome(found, mosaic.targets(phrase)))
    return figures(outcomes)


def peak_megabytes() -> float:
    """The most memory that this process has had so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _runs(mask: NDArray[np.bool_]) -> dict[str, Any]:
    runs: dict[str, Any] = coco.encode(np.asfortranarray(mask, np.uint8))
    return runs


def _outcome(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> Counts:
    iou = np.zeros((len(found), len(wanted)))
    if found and wanted:
        iou = coco.iou(found, wanted, [0] * len(wanted))
    return count(iou, match(iou), np.zeros(len(found)))
