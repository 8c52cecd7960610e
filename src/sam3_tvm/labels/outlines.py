"""Masks as outlines with few enough corners to be edited by hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.extras import needed
from sam3_tvm.runtime.pictures.polygons import mask_polygons

__all__ = ["mask_outlines"]

# Pixels by which an outline may leave a mask's edge: more than the half diagonal of a pixel, by
# which the steps of a slanted edge leave a straight line, and less than a line one pixel wide.
_TOLERANCE = 0.75

# Parts with less of the whole area are specks, which nobody wants to remove by hand.
_LEAST = 0.01


def mask_outlines(mask: NDArray[np.bool_], extra: str) -> list[NDArray[np.float64]]:
    """The outer outlines of a mask's parts, straightened.

    Holes are filled, and parts of less than a hundredth of the area are left out.

    Args:
        mask: bool [H, W].
        extra: which installs what this needs, for the error.

    Returns:
        For each part its corners x, y in pixels, float64 [K, 2], K >= 3; the last joins the first.

    Raises:
        MissingExtraError: shapely isn't installed.
    """
    with needed(extra, "an outline"):
        from shapely import Polygon

    parts = [Polygon(part.outer) for part in mask_polygons(mask)]
    least = _LEAST * sum(part.area for part in parts)
    made = []
    for part in parts:
        if part.area >= least:
            straight = np.asarray(part.simplify(_TOLERANCE).exterior.coords)[:-1]
            whole = np.asarray(part.exterior.coords)[:-1]
            made.append(straight if len(straight) >= 3 else whole)
    return made
