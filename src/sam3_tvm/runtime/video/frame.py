"""A frame of a session's film or live input, encoded when something is looked for on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.video.functions import Features, VideoFunctions

__all__ = ["SessionFrame"]


class SessionFrame:
    """A frame, which is encoded once, when an object is first looked for on it.

    Args:
        index: its number, from 0.
        rgb: uint8 [H, W, 3]; not to be written to.
    """

    def __init__(self, index: int, rgb: NDArray[np.uint8]) -> None:
        self.index = index
        self.rgb = rgb
        self._features: Features | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def features(self, functions: VideoFunctions) -> Features:
        """What all objects on it share."""
        if self._features is None or not functions.encoded(self._features):
            self._features = functions.encode(self.rgb)
        return self._features
