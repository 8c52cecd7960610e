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


def mask_outlines(mask: NDArray[np.bool_], extra: str) -> list[NDArray[np.float64]]:
    """The outer outlines of a mask's parts, straightened; holes are filled.

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

    made = []
    for part in mask_polygons(mask):
        ring = np.asarray(Polygon(part.outer).simplify(_TOLERANCE).exterior.coords)[:-1]
        made.append(ring if len(ring) >= 3 else part.outer.astype(np.float64))
    return made
