"""Pictures that are read by windows.

With rasterio, of the extra ``[geo]``, a file is read where it is looked at: TIFF with tiles or
strips anywhere, PNG and JPEG, which are streams, from top to bottom. Without it, and where a
picture has to be turned upright or has a palette, it is decoded whole, three bytes a pixel.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from sam3_tvm.runtime.pictures.image import ImageError, Picture, read_picture
from sam3_tvm.runtime.pictures.runs import MOST_PIXELS
from sam3_tvm.tiles.layout import Tile
from sam3_tvm.tiles.place import Place

__all__ = ["Windows", "open_windows"]

# What GDAL keeps of what it decoded, beside a row of tiles: a stream is decoded from its beginning
# again when a row is asked for that has gone.
_LEAST_CACHE = 32 << 20

# 16 bits are scaled to 8 as everywhere.
_DEPTHS = ("uint8", "uint16")


class Windows(ABC):
    """A picture to be read by windows; used as a context.

    Attributes:
        size: height and width, pixels.
        place: where it lies on the earth; None if that isn't known.
    """

    size: tuple[int, int]
    place: Place | None = None

    def __enter__(self) -> Windows:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def read(self, tile: Tile) -> NDArray[np.uint8]:
        """A part of it as RGB, uint8 [h, w, 3].

        Raises:
            ImageError: it cannot be read.
        """

    @abstractmethod
    def reduced(self, factor: int) -> NDArray[np.uint8]:
        """All of it, ``factor`` times smaller by averaging; sides are rounded up."""

    def close(self) -> None:
        """Let go of the file."""
        return

    def expect(self, rows: int) -> None:
        """Say how many rows are read again before they aren't any more."""
        return


class _Decoded(Windows):
    """One that is in memory."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self._rgb = rgb
        self.size = rgb.shape[0], rgb.shape[1]

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._rgb[tile.y0 : tile.y1, tile.x0 : tile.x1])

    def reduced(self, factor: int) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(self._rgb).reduce(factor))


class _Raster(Windows):
    """One that rasterio reads."""

    def __init__(self, path: str, opened: Any, bands: list[int], cache: int) -> None:
        self._path, self._opened, self._bands = path, opened, bands
        self._cache = cache
        self.size = opened.height, opened.width
        if opened.crs is not None:
            authority = opened.crs.to_authority()
            crs = ":".join(authority) if authority else opened.crs.to_wkt()
            self.place = Place(crs, tuple(opened.transform)[:6])

    def expect(self, rows: int) -> None:
        row = self.size[1] * self._opened.count * np.dtype(self._opened.dtypes[0]).itemsize
        self._cache = max(_LEAST_CACHE, rows * row)

    def read(self, tile: Tile) -> NDArray[np.uint8]:
        return self._read(window=((tile.y0, tile.y1), (tile.x0, tile.x1)))

    def reduced(self, factor: int) -> NDArray[np.uint8]:
        from rasterio.enums import Resampling

        height, width = (-(-side // factor) for side in self.size)
        shape = (len(self._bands), height, width)
        return self._read(out_shape=shape, resampling=Resampling.average)

    def _read(self, **how: Any) -> NDArray[np.uint8]:
        import rasterio

        try:
            # GDAL's own default is a share of the machine's memory.
            with rasterio.Env(GDAL_CACHEMAX=self._cache):
                values = self._opened.read(self._bands, **how)
        except rasterio.errors.RasterioError as error:
            raise ImageError(
                f"{self._path}: cannot be read ({' '.join(f'{error}'.split())})"
            ) from error
        if values.dtype == np.uint16:
            values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
        rgb = np.broadcast_to(values, (3, *values.shape[1:]))
        return np.ascontiguousarray(rgb.transpose(1, 2, 0))

    def close(self) -> None:
        self._opened.close()


def open_windows(picture: Picture) -> Windows:
    """Open a picture to be read by windows.

    Args:
        picture: as :func:`~sam3_tvm.runtime.pictures.image.read_picture` takes it; what is no path
            is decoded whole. A file of 16 bits is scaled to 8; alpha is dropped; of several bands
            those that say that they are red, green and blue are taken, else the first of three or
            four.

    Raises:
        ImageError: what cannot be read, or has more pixels than masks can be kept of.
    """
    opened = _raster(os.fsdecode(picture)) if isinstance(picture, str | os.PathLike) else None
    made = opened or _Decoded(read_picture(picture))
    if made.size[0] * made.size[1] > MOST_PIXELS:
        made.close()
        height, width = made.size
        raise ImageError(
            f"a picture of {width} x {height} px: at most {MOST_PIXELS:,} pixels are taken; cut it"
        )
    return made


def _raster(path: str) -> Windows | None:
    """A file as rasterio reads it; None where it doesn't, or would give other colours."""
    try:
        import rasterio
    except ModuleNotFoundError:
        return None
    if not os.path.isfile(path) or not _is_plain(path):
        return None
    try:
        with warnings.catch_warnings():
            # Most pictures lie nowhere on the earth.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            opened = rasterio.open(path)
    except rasterio.errors.RasterioError:
        return None  # which tells less than Pillow of what is wrong
    bands = _bands(opened)
    if bands is None or {opened.dtypes[band - 1] for band in bands} - {*_DEPTHS}:
        several = opened.count
        opened.close()
        if several > 4:
            raise ImageError(
                f"{path}: has {several} bands, and doesn't say which are red, green and blue"
            )
        return None
    return _Raster(path, opened, bands, _LEAST_CACHE)


def _bands(opened: Any) -> list[int] | None:
    """Which bands are red, green and blue, or grey, from 1; None where that isn't known."""
    colours = [one.name for one in opened.colorinterp]
    if {"red", "green", "blue"} <= {*colours}:
        return [1 + colours.index(name) for name in ("red", "green", "blue")]
    if "palette" in colours or "cyan" in colours:
        return None
    return {1: [1], 2: [1], 3: [1, 2, 3], 4: [1, 2, 3]}.get(opened.count)


def _is_plain(path: str) -> bool:
    """Whether a file's values are its colours, upright; what Pillow doesn't know may be."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Path(path).open("rb") as file, Image.open(file) as image:
                upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
                return upright and image.mode not in ("P", "CMYK", "YCbCr", "LAB", "HSV")
    except Exception:  # whatever a decoder raises; GDAL knows more formats than Pillow
        return True
