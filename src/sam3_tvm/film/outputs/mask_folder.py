"""A folder with a picture of each mask."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.files import OutputFolder
from sam3_tvm.film.faults import Refused
from sam3_tvm.film.outputs.base import Output, State
from sam3_tvm.runtime.video.result import FrameResult

__all__ = ["MaskFolder"]


class MaskFolder(Output):
    """A PNG for each object on each frame, ``000012-1.png``: white where the object is."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self._folder: OutputFolder | None = None
        if path.exists() and not path.is_dir():
            raise Refused(
                "output", f"{path}: is a file; name a new folder, or NAME.mp4, NAME.jsonl"
            )
        pattern = re.compile(r"[0-9]{6,}-[0-9]+\.png")
        place = path.absolute()
        while not place.exists():
            place = place.parent
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise Refused("output", f"{path}: may not be written to; choose another folder")
        try:
            before = [p.name for p in path.iterdir()] if path.is_dir() else []
        except OSError as error:
            raise Refused("output", f"{path}: cannot be read ({error.strerror})") from error
        if not resume and any(pattern.fullmatch(name) for name in before):
            raise Refused(
                "output",
                f"{path}: holds masks of another run, which would get mixed up with new ones; "
                "choose another folder",
            )

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._folder = OutputFolder(self.path, [])

    def write(self, frame: FrameResult) -> None:
        assert self._folder is not None, "started"
        for name, mask in zip(frame.objects, frame.masks, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            self._folder.write(picture, self.path / f"{frame.index:06d}-{name}.png")

    def state(self) -> State:
        return {"started": np.array(True)}
