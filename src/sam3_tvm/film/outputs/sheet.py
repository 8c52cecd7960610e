"""A contact sheet of a film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.files import OutputFile
from sam3_tvm.film.outputs.base import Output, State
from sam3_tvm.runtime.pictures.sheet import Cells
from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["ContactSheet"]


class ContactSheet(Output):
    """Up to twelve frames with overlays on one picture, evenly spaced over what was passed.

    How many frames will come isn't known before, so every n-th is kept small, and n doubles when
    there are too many.
    """

    _COLUMNS, _CELLS = 4, 12
    _MOST = 4 * _CELLS
    _WIDTH = 360

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = OutputFile(path)
        self._seen = 0
        self._every = 1
        self._kept: list[tuple[int, NDArray[np.uint8]]] = []
        # The latest frame, made small when that is asked for.
        self._latest: FrameResult | tuple[int, NDArray[np.uint8]] | None = None

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        if not state:
            return
        self._seen, self._every = int(state["seen"]), int(state["every"])
        self._kept = list(zip(state["frames"].tolist(), state["thumbnails"], strict=True))
        *self._kept, self._latest = self._kept

    def write(self, frame: FrameResult) -> None:
        if self._seen % self._every == 0:
            self._kept.append(self._small(frame))
        if len(self._kept) > self._MOST:
            self._kept = self._kept[::2]
            self._every *= 2
        self._seen += 1
        self._latest = frame

    def state(self) -> State:
        kept = [*self._kept, *self._last()]
        return {
            "seen": np.array(self._seen),
            "every": np.array(self._every),
            "frames": np.array([index for index, _ in kept]),
            "thumbnails": np.stack([picture for _, picture in kept]),
        }

    def finish(self) -> None:
        kept = dict([*self._kept, *self._last()])
        frames = list(kept)
        if not frames:
            return
        chosen = np.unique(np.linspace(0, len(frames) - 1, self._CELLS).round().astype(int))
        sheet = _grid([(frames[i], kept[frames[i]]) for i in chosen], self._COLUMNS)
        self._file.write(lambda path: sheet.save(path, format="PNG"))

    def _last(self) -> list[tuple[int, NDArray[np.uint8]]]:
        if isinstance(self._latest, FrameResult):
            self._latest = self._small(self._latest)
        return [] if self._latest is None else [self._latest]

    def _small(self, frame: FrameResult) -> tuple[int, NDArray[np.uint8]]:
        image = frame.overlay()
        image.thumbnail((self._WIDTH, 2 * self._WIDTH))
        return frame.index, np.asarray(image)


def _grid(cells: Sequence[tuple[int, NDArray[np.uint8]]], columns: int) -> Image.Image:
    """Pictures of one size in rows, their frames' numbers below."""
    height, width = cells[0][1].shape[:2]
    text = max(11, width // 22)
    layout = Cells(columns, (width, height), 8, text, 1, 2 * text, text // 4, (40, 40, 40))
    return layout.draw([(Image.fromarray(of), [f"frame {index}"]) for index, of in cells])
