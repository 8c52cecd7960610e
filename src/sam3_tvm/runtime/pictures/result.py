"""What all results share: masks on a picture, as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import ResultError
from sam3_tvm.runtime.pictures.image import ImageError, Picture, read_picture
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.masks import LazyMasks
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["PictureResult"]


class PictureResult(PlainValue):
    """Masks on a picture, made when they are first asked for.

    A result can be pickled, and so go to another process, where it needs no model: it has its
    masks with it then, packed, and the picture to draw on, an array whole and a file by its
    path. Results are equal if they hold the same, the picture to draw on included; hash() refuses
    them as it refuses lists.

    Args:
        masks: at the picture's size.
        picture: what to draw on; None if it isn't known.

    Attributes:
        size: height and width of the picture, pixels.
    """

    def __init__(self, masks: LazyMasks, picture: KeptPicture | None) -> None:
        self.size = masks.size
        self._masks = masks
        self._picture = picture

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The masks at the picture's own size, bool [N, H, W]; computed once."""
        return self._masks.all()

    @property
    def logits(self) -> NDArray[np.float32]:
        """The masks as the model gives them, float32 [N, 4S, 4S].

        Raises:
            ResultError: what was read from a file that holds masks alone.
        """
        if self._masks.logits is None:
            raise ResultError("no logits: this was read from a file that holds masks alone")
        return self._masks.logits

    def to_dict(self) -> dict[str, Any]:
        """What was found as plain data: arrays, numbers and strings by the attributes' names.

        The arrays are the result's own. Masks are made for it; of a result that was read from
        masks alone, ``logits`` is None. The picture is no part of it.
        """
        return {"size": self.size, "logits": self._masks.logits, "masks": self.masks}

    def _canvas(self, picture: Picture | None) -> NDArray[np.uint8]:
        """What the result is drawn on, uint8 [H, W, 3].

        Args:
            picture: what was asked for; None for the picture that was kept.

        Raises:
            ImageError: nothing is known to draw on, or it cannot be read, or has another size.
        """
        if picture is not None:
            rgb = read_picture(picture)
        elif self._picture is not None:
            rgb = self._picture.read()
        else:
            raise ImageError("the picture isn't part of a loaded encoding: pass it to overlay()")
        height, width = self.size
        if rgb.shape[:2] != self.size:
            raise ImageError(
                f"the picture to draw on is {rgb.shape[1]}x{rgb.shape[0]}, the one that was "
                f"encoded {width}x{height}"
            )
        return rgb
