"""What a test runs in another process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sam3_tvm.runtime.pictures.result import PictureResult


def look_at(results: Sequence[PictureResult]) -> list[tuple[PictureResult, np.ndarray, np.ndarray]]:
    """Each result with its masks and its overlay, as this process has them."""
    return [(one, one.masks, np.asarray(one.overlay())) for one in results]
