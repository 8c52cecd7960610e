"""An example's picture as it might be seen otherwise: mirrored, and closer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["VIEWS", "View", "views"]

VIEWS = 2
"""How many there are at most."""

View = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""A picture, uint8 [H, W, 3], and boxes on it, float32 [N, 4]: centre x, centre y, width, height as
fractions of it."""

# Of a picture's sides: what is seen closer is seen 1.5 times as large, and has some of its
# surroundings yet.
_CLOSER = 2 / 3
_ROOM = 1.25


def views(rgb: NDArray[np.uint8], boxes: NDArray[np.float32]) -> list[View]:
    """The picture mirrored, and, unless the boxes fill it, a part of it with them in the middle.

    Args:
        rgb: uint8 [H, W, 3].
        boxes: as of :data:`View`, at least one.
    """
    mirrored = boxes.copy()
    mirrored[:, 0] = 1 - mirrored[:, 0]
    made = [(np.ascontiguousarray(rgb[:, ::-1]), mirrored)]
    low, high = (boxes[:, :2] - boxes[:, 2:] / 2).min(0), (boxes[:, :2] + boxes[:, 2:] / 2).max(0)
    share = max(_CLOSER, _ROOM * float((high - low).max()))
    size = np.array([rgb.shape[1], rgb.shape[0]])
    # Whole pixels, of which a tiny picture has few: the boxes stay within.
    begin, end = np.floor(low * size).astype(int), np.ceil(high * size).astype(int)
    side = np.maximum(np.round(share * size).astype(int), end - begin)
    if share < 1 and (side < size).all():
        first = np.round((low + high) / 2 * size - side / 2).astype(int)
        first = np.minimum(np.maximum(first, end - side), begin).clip(0, size - side)
        (x, y), (width, height) = first, side
        part = np.ascontiguousarray(rgb[y : y + height, x : x + width])
        closer = boxes * np.concatenate([size, size])
        closer[:, :2] -= first
        made.append((part, (closer / np.concatenate([side, side])).astype(np.float32)))
    return made
