"""The frames of a session's film or live input, encoded when something is looked for on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.video.frames import Frames, FramesError, beyond
from sam3_tvm.runtime.video.functions import Features, VideoFunctions

__all__ = ["FrameReader", "SessionFrame"]


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

    def check_size(self, before: SessionFrame) -> None:
        """Refuse a frame of another size than those before it.

        Raises:
            FramesError: it has another.
        """
        if self.size != before.size:
            (height, width), (h, w) = self.size, before.size
            raise FramesError(
                f"frame {self.index} is {width}x{height}, those before it {w}x{h}: frames of one "
                "session have one size"
            )

    def features(self, functions: VideoFunctions) -> Features:
        """What all objects on it share."""
        if self._features is None or not functions.encoded(self._features):
            self._features = functions.encode(self.rgb)
        return self._features


class FrameReader:
    """Frames of a film or of live input, of which the latest is kept with its features.

    Args:
        frames: the film; None for live input.

    Attributes:
        current: the latest frame.
        following: the number of the next frame of live input.
    """

    def __init__(self, frames: Frames | None) -> None:
        self._frames = frames
        self.current: SessionFrame | None = None
        self.following = 0

    @property
    def has_film(self) -> bool:
        """Whether frames are a film's, which can be read by their numbers."""
        return self._frames is not None

    def read(self, index: int) -> SessionFrame:
        """A frame of the film.

        Raises:
            IndexError: the film is over.
            FramesError: it cannot be read.
        """
        if self.current is None or self.current.index != index:
            assert self._frames is not None, "live input gives its frames to step()"
            # The features of the frame before go before the next one's come.
            self.current = None
            self.current = SessionFrame(index, self._frames.read(index))
        return self.current

    def take(self, rgb: NDArray[np.uint8]) -> SessionFrame:
        """The next frame of live input.

        Raises:
            FramesError: it has another size than those before.
        """
        taken = SessionFrame(self.following, rgb)
        if self.current is not None:
            taken.check_size(self.current)
        self.current = taken
        self.following += 1
        return taken

    def to_show(self, index: int | None) -> SessionFrame:
        """The frame on which an object is shown.

        Args:
            index: its number; of live input the latest's, or None.

        Raises:
            PromptError: there is none of this number.
            FramesError: it cannot be read.
        """
        if self._frames is None:
            if self.current is None:
                raise PromptError("no frame yet: give the first to step(), then show objects on it")
            if index is not None and index != self.current.index:
                raise PromptError(
                    f"frame {index} is gone: of live input only the latest, "
                    f"{self.current.index}, can be shown on"
                )
            return self.current
        if index is None:
            raise PromptError("on which frame? give its number, from 0")
        if index < 0:
            raise PromptError(beyond(index, self._frames))
        try:
            return self.read(index)
        except IndexError as error:
            raise PromptError(beyond(index, self._frames)) from error
