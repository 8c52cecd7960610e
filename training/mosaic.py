"""A picture of many scenes, as large as pictures from the air are, and what tiles make of it."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.errors import Sam3Error, UsageError
from sam3_tvm.evaluate.metrics import Counts, Figures, count, figures, match
from sam3_tvm.files import OutputFile
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.pictures.runs import Window, runs_of_window
from training.dataset import STREAM
from training.scenes import Scene, draw_scene

if TYPE_CHECKING:
    from sam3_tvm import Model
    from sam3_tvm.tiles import Tiling

__all__ = [
    "PHRASES",
    "Mosaic",
    "measure_centred",
    "measure_scenes",
    "measure_tiles",
    "peak_megabytes",
]

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

# A scene's side, and that of the cell in which it lies: between scenes their backgrounds run into
# each other. A hard edge would make a thing of a background.
_SCENE = 500
_CELL = (900, 600)
_ABOVE, _LEFT = (_CELL[0] - _SCENE) // 2, (_CELL[1] - _SCENE) // 2
_SMOOTHED = 41


def _matches(phrase: str, colour: str, shape: str) -> bool:
    return phrase.removesuffix(" shapes") in (colour, shape)


@dataclass(frozen=True)
class Mosaic:
    """Scenes of 500 pixels, whose backgrounds run into each other.

    Attributes:
        columns, rows: of scenes, one in 600 pixels across and 900 down.
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
            scene = draw_scene(rng, _SCENE, held_out=True)
            yield column * _CELL[1] + _LEFT, row * _CELL[0] + _ABOVE, scene

    def _bands(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The rows of scenes, each with its first row of pixels, uint8 [500, W, 3]."""
        width = self.size[1]
        band = np.zeros((_SCENE, width, 3), np.uint8)
        for number, (x, y, scene) in enumerate(self.scenes()):
            band[:, x : x + _SCENE] = scene.image
            begin, left = max(0, x - 2 * _LEFT), x == _LEFT
            first = _smooth(band[:, x if left else begin - 1])
            band[:, 0 if left else begin : x] = _between(
                first, _smooth(scene.image[:, 0]), x - (0 if left else begin)
            )
            if (number + 1) % self.columns == 0:
                band[:, x + _SCENE :] = _smooth(scene.image[:, -1])[:, None].round()
                yield y, band

    def write(self, path: Path, progress: Progress = silent) -> None:
        """Write a tiled GeoTIFF, a metre a pixel somewhere in UTM's zone 33, or a PNG.

        Args:
            path: ``NAME.tif``, which is written scene by scene, or ``NAME.png``, which takes the
                memory of the picture.
            progress: told of each row of scenes.

        Raises:
            UsageError: another ending, or the file can't be written.
        """
        if path.suffix.lower() not in (".tif", ".png"):
            raise UsageError(f"{path}: name a .tif or a .png to write")
        file = OutputFile(path, "-o")
        if path.suffix.lower() == ".tif":
            file.write(lambda place: self._write_tif(place, progress))
        else:
            file.write(lambda place: self._write_png(place, progress))

    def _write_png(self, path: Path, progress: Progress) -> None:
        picture = np.zeros((*self.size, 3), np.uint8)
        for top, strip in self._strips(progress):
            picture[top : top + len(strip)] = strip
        Image.fromarray(picture).save(path, format="PNG")

    def _write_tif(self, path: Path, progress: Progress) -> None:
        try:
            import rasterio
            from rasterio.transform import from_origin
        except ModuleNotFoundError as error:
            raise Sam3Error(
                "writing a .tif needs rasterio: pip install 'sam3-tvm[geo]'; or name a .png"
            ) from error
        height, width = self.size
        with rasterio.open(
            path,
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
            for top, strip in self._strips(progress):
                window = ((top, top + len(strip)), (0, width))
                file.write(np.ascontiguousarray(strip.transpose(2, 0, 1)), window=window)

    def _strips(self, progress: Progress) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """The picture from top to bottom, rows of scenes and what lies between them, each with its
        first row of pixels; uint8 [h, W, 3]."""
        done, last = 0, None
        for number, (y, band) in enumerate(self._bands()):
            progress("rows of scenes", number, self.rows)
            top = _smooth(band[0])
            yield done, _between(top if last is None else last, top, y - done).swapaxes(0, 1)
            yield y, band
            done, last = y + _SCENE, _smooth(band[-1])
        assert last is not None
        yield done, _between(last, last, self.size[0] - done).swapaxes(0, 1)

    def targets(self) -> dict[str, list[dict[str, Any]]]:
        """By each of ``PHRASES`` runs of the masks that it asks for, over the whole picture."""
        found: dict[str, list[dict[str, Any]]] = {phrase: [] for phrase in PHRASES}
        for x, y, scene in self.scenes():
            for thing in scene.things:
                rows = np.flatnonzero(thing.mask.any(1))
                columns = np.flatnonzero(thing.mask.any(0))
                top, left = int(rows[0]), int(columns[0])
                inside = thing.mask[top : rows[-1] + 1, left : columns[-1] + 1]
                runs = runs_of_window(Window(x + left, y + top, inside), self.size)
                for phrase, wanted in found.items():
                    if _matches(phrase, thing.colour, thing.shape):
                        wanted.append(runs)
        return found


def _smooth(edge: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An edge of a scene, [N, 3], without its noise."""
    around = _SMOOTHED // 2
    padded = np.pad(edge.astype(np.float32), ((around, around), (0, 0)), mode="edge")
    total = np.cumsum(np.concatenate([np.zeros((1, 3), np.float32), padded]), 0)
    return (total[_SMOOTHED:] - total[:-_SMOOTHED]) / _SMOOTHED


def _between(a: NDArray[np.float32], b: NDArray[np.float32], length: int) -> NDArray[np.uint8]:
    """From one edge to the other, uint8 [N, length, 3]."""
    share = ((np.arange(length, dtype=np.float32) + 0.5) / length)[None, :, None]
    return (a[:, None] * (1 - share) + b[:, None] * share).round().astype(np.uint8)


def measure_scenes(model: Model, mosaic: Mosaic, progress: Progress = silent) -> Figures:
    """What phrases find in the scenes, one by one."""
    outcomes = []
    for number, (_, _, scene) in enumerate(mosaic.scenes()):
        progress("scenes", number, mosaic.columns * mosaic.rows)
        for phrase, result in zip(PHRASES, model.segment(scene.image, [*PHRASES]), strict=True):
            wanted = [t.mask for t in scene.things if _matches(phrase, t.colour, t.shape)]
            outcomes.append(_outcome([_runs(m) for m in result.masks], [_runs(m) for m in wanted]))
    return figures(outcomes)


def measure_centred(
    model: Model, path: Path, mosaic: Mosaic, side: int, progress: Progress = silent
) -> Figures:
    """What phrases find in windows of a written mosaic, each with a scene in its middle: as tiles
    would be of which none cuts anything.

    Args:
        model: to be asked.
        path: of the mosaic.
        mosaic: what was written.
        side: of the windows in pixels; no less than a scene's 500, no more than 600, which is what
            a scene has for itself.
        progress: told of each scene.
    """
    from sam3_tvm.tiles import open_windows
    from sam3_tvm.tiles.layout import Tile

    edge = (side - _SCENE) // 2
    outcomes = []
    with open_windows(path) as windows:
        for number, (x, y, scene) in enumerate(mosaic.scenes()):
            progress("scenes", number, mosaic.columns * mosaic.rows)
            x0, y0 = x - edge, y - edge
            rgb = windows.read(Tile(x0, y0, x0 + side, y0 + side))
            for phrase, result in zip(PHRASES, model.segment(rgb, [*PHRASES]), strict=True):
                things = [t.mask for t in scene.things if _matches(phrase, t.colour, t.shape)]
                wanted = [_runs(np.pad(mask, (edge, side - _SCENE - edge))) for mask in things]
                outcomes.append(_outcome([_runs(m) for m in result.masks], wanted))
    return figures(outcomes)


def measure_tiles(
    model: Model, path: Path, mosaic: Mosaic, tiling: Tiling, progress: Progress = silent
) -> Figures:
    """What phrases find in a written mosaic, tile by tile.

    Raises:
        Sam3Error: the picture isn't of the mosaic's size, or can't be read.
    """
    from sam3_tvm.tiles import segment_tiled

    results = segment_tiled(model, path, [*PHRASES], progress=progress, tiling=tiling)
    if results[0].size != mosaic.size:
        height, width = mosaic.size
        raise Sam3Error(
            f"{path} is no mosaic of {mosaic.columns} x {mosaic.rows} scenes, which has {width} x "
            f"{height} pixels; give the --columns and --rows it was drawn with"
        )
    targets, outcomes = mosaic.targets(), []
    for phrase, result in zip(PHRASES, results, strict=True):
        found = [{"size": [*mosaic.size], "counts": counts} for counts in result.counts]
        outcomes.append(_outcome(found, targets[phrase]))
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
