"""Masks at a picture's size, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.values import same

__all__ = ["LazyMasks", "Resize", "coco_entry", "mask_box", "run_lengths"]

#: Mask logits float32 [M, h, w] and a height and width H, W to masks bool [M, H, W].
Resize = Callable[[NDArray[np.float32], tuple[int, int]], NDArray[np.bool_]]

# Masks are resized in groups of about this many output pixels, since the resize computes in
# floating point: a few hundred megabytes of memory, whatever the size and number of masks.
_GROUP_PIXELS = 1 << 24


class LazyMasks:
    """Masks bool [N, H, W], kept as the logits that they are made of until all are asked for.

    What makes them is a compiled function, which stays in its process. A pickled (or deeply
    copied) one has the masks with it, a bit a pixel, and unpacks them when they are asked for;
    the one that is pickled keeps nothing more for it.

    Two are equal if they have the same size and logits; without logits, the same masks.

    Args:
        size: height and width of the picture, pixels.
        logits: float32 [N, h, w]; None where only the masks are known.
        resize: makes masks of logits; None where ``made`` has them.
        made: the masks themselves, bool [N, H, W].

    Attributes:
        size, logits: as given.
    """

    def __init__(
        self,
        size: tuple[int, int],
        logits: NDArray[np.float32] | None,
        resize: Resize | None = None,
        made: NDArray[np.bool_] | None = None,
    ) -> None:
        assert made is not None or (logits is not None and resize is not None)
        self.size = size
        self.logits = logits
        self._resize = resize
        self._made = made
        self._packed: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        of = next(x for x in (self._made, self.logits, self._packed) if x is not None)
        return len(of)

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        """Mask after mask, bool [H, W], without keeping them."""
        height, width = self.size
        if self._made is not None:
            yield from self._made
        elif self._packed is not None:
            for bits in self._packed:
                flat = np.unpackbits(bits, count=height * width)
                yield flat.reshape(height, width).view(np.bool_)
        else:
            assert self.logits is not None
            assert self._resize is not None
            step = max(1, _GROUP_PIXELS // (height * width))
            for start in range(0, len(self), step):
                group = np.ascontiguousarray(self.logits[start : start + step])
                yield from self._resize(group, self.size)

    def all(self) -> NDArray[np.bool_]:
        """All masks, bool [N, H, W]; computed once."""
        if self._made is None:
            made = np.empty((len(self), *self.size), np.bool_)
            for row, mask in enumerate(self):
                made[row] = mask
            self._made = made
            self._packed = None
        return self._made

    def chosen(self, rows: slice | NDArray[np.intp]) -> LazyMasks:
        """Those of these rows; what is made of them stays so."""
        taken = LazyMasks.__new__(LazyMasks)
        taken.size, taken._resize = self.size, self._resize
        taken.logits = None if self.logits is None else self.logits[rows]
        taken._made = None if self._made is None else self._made[rows]
        taken._packed = None if self._packed is None else self._packed[rows]
        return taken

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LazyMasks):
            return NotImplemented
        if self.size != other.size or len(self) != len(other):
            return False
        if self.logits is not None or other.logits is not None:
            return same(self.logits, other.logits)
        return all(map(np.array_equal, self, other))

    def __getstate__(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "logits": self.logits,
            "_resize": None,
            "_made": None,
            "_packed": self._packed if self._packed is not None else self._pack(),
        }

    def _pack(self) -> NDArray[np.uint8]:
        packed = np.empty((len(self), -(-self.size[0] * self.size[1] // 8)), np.uint8)
        for row, mask in enumerate(self):
            packed[row] = np.packbits(mask)
        return packed


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask bool [H, W] as pycocotools encodes it: ``size``, and ``counts`` as bytes."""
    from pycocotools import mask as coco

    runs: dict[str, Any] = coco.encode(np.asfortranarray(mask, np.uint8))
    return runs


def mask_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """The box around a mask, x0, y0, x1, y1 in pixels; of an empty one all 0."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return (0.0, 0.0, 0.0, 0.0)
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def coco_entry(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask in COCO's results format.

    Args:
        mask: bool [H, W].

    Returns:
        ``segmentation`` (compressed run-length encoding with ``size`` [height, width] and
        ``counts`` as a string), ``bbox`` (x, y, width, height in pixels) and ``area`` (pixels).
    """
    from pycocotools import mask as coco

    runs = run_lengths(mask)
    return {
        "segmentation": {
            "size": [int(n) for n in runs["size"]],
            "counts": runs["counts"].decode("ascii"),
        },
        "bbox": coco.toBbox(runs).tolist(),
        "area": int(mask.sum()),
    }
