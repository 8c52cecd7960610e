"""The picture that was encoded, kept to be drawn on later."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.image import ImageError, Picture, own_picture, read_picture
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["KeptPicture", "keep_picture"]


@dataclass(frozen=True, repr=False, eq=False)
class KeptPicture(PlainValue):
    """What was encoded: its values, or for a file where it lies and what was in it.

    Plain data, which can go to another process. A file is not kept in memory: results of
    thousands of photographs would fill it.

    Attributes:
        rgb: uint8 [H, W, 3], not to be written to; None for a file.
        path: of a file, absolute.
        checksum: CRC-32 of the values that were read from a file.
    """

    rgb: NDArray[np.uint8] | None
    path: str | None = None
    checksum: int = 0

    def read(self) -> NDArray[np.uint8]:
        """The values that were encoded, uint8 [H, W, 3].

        Raises:
            ImageError: the file has gone or holds another picture now.
        """
        if self.rgb is not None:
            return self.rgb
        assert self.path is not None
        try:
            rgb = read_picture(self.path)
        except ImageError as error:
            raise ImageError(f"{error}; or pass the picture to overlay()") from error
        if zlib.crc32(rgb.data) != self.checksum:
            raise ImageError(
                f"{self.path}: has changed since it was encoded; pass the picture to overlay()"
            )
        return rgb


def keep_picture(picture: Picture) -> tuple[NDArray[np.uint8], KeptPicture]:
    """Read a picture; see :func:`~sam3_tvm.runtime.image.read_picture`.

    Returns:
        uint8 [H, W, 3], and what brings it back.

    Raises:
        ImageError: what cannot be read or is no picture.
    """
    rgb = own_picture(picture)
    if isinstance(picture, (str, os.PathLike)):
        path = f"{Path(os.fsdecode(picture)).absolute()}"
        return rgb, KeptPicture(None, path, zlib.crc32(rgb.data))
    rgb.flags.writeable = False
    return rgb, KeptPicture(rgb)
