"""Small holes and sprinkles of masks, by connected components."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.extras import needed

__all__ = ["fill_and_clean", "import_ndimage"]

# Logits of what is filled and what is removed: just on one side of a mask's outline.
_FILLED, _REMOVED = np.float32(0.1), np.float32(-0.1)

# Pixels touch along edges and at corners.
_NEIGHBOURS = np.ones((3, 3), np.bool_)


def import_ndimage() -> Any:
    """``scipy.ndimage``.

    Raises:
        MissingExtraError: SciPy isn't installed.
    """
    with needed("video", "a film by phrase"):
        import scipy.ndimage
    return scipy.ndimage


def fill_and_clean(logits: NDArray[np.float32], most_area: int) -> NDArray[np.float32]:
    """Masks without small holes, then without small sprinkles.

    A hole is a connected component of the background of at most ``most_area`` pixels. A sprinkle
    is one of the mask of at most as many, and of at most half of the whole mask, so that a tiny
    object stays.

    Args:
        logits: of masks, float32 [N, h, w].
        most_area: pixels; 0 leaves all as it is.

    Returns:
        float32 [N, h, w], another array.

    Raises:
        MissingExtraError: SciPy isn't installed.
    """
    cleaned = logits.copy()
    if most_area <= 0:
        return cleaned
    for mask in cleaned:
        mask[_small(mask <= 0, most_area)] = _FILLED
        inside = mask > 0
        mask[_small(inside, min(most_area, int(inside.sum()) // 2))] = _REMOVED
    return cleaned


def _small(region: NDArray[np.bool_], most_area: int) -> NDArray[np.bool_]:
    """The components of a region that have at most so many pixels, bool [h, w]."""
    labels, _ = import_ndimage().label(region, _NEIGHBOURS)
    areas = np.bincount(labels.ravel())
    small = areas <= most_area
    small[0] = False  # what isn't in the region
    found: NDArray[np.bool_] = small[labels]
    return found
