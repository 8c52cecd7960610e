"""What every output of a film does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["Output", "State"]

State = dict[str, NDArray[Any]]
"""What an output needs to go on, as arrays by name; kept in checkpoints."""


class Output(ABC):
    """One of the things that are written. Frames come in ascending order.

    Made before anything is loaded, so that a path that cannot be written is refused early; files
    appear from :meth:`start` on.
    """

    path: Path

    @abstractmethod
    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        """Begin, or go on.

        Args:
            fps: frames per second of the film, where it is known.
            parts: a folder for what isn't finished, which the caller removes.
            state: empty to begin anew, else what :meth:`state` gave in an earlier process.
        """

    @abstractmethod
    def write(self, frame: FrameResult) -> None:
        """Take the next frame."""

    def state(self) -> State:
        """Bring what was taken to the disk, and give what is needed to go on from here."""
        return {}

    def finish(self) -> None:
        """Make it whole with what was taken; called once, also when the command is cut short."""
        return  # for what is whole after every frame

    def abandon(self) -> None:
        """Close files after a failure, without writing more."""
        return  # for what holds none
