"""A line of JSON per frame, masks run-length encoded."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import UsageError
from sam3_tvm.files import OutputFile
from sam3_tvm.film.frame import TrackedFrame
from sam3_tvm.film.outputs.base import Output, State, unwritable

__all__ = ["JsonLines"]


class JsonLines(Output):
    """A line of JSON for each frame, on the disk as soon as the frame is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        OutputFile(path, "-o")
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(f"-o {path}: may not be written to; choose another file")
        self._file: Any = None
        self._fps: float | None = None
        self._length = 0

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._fps = fps
        try:
            # Unbuffered, so that nothing is left to be written when a line couldn't be.
            self._file = open(self.path, "r+b" if state else "wb", buffering=0)  # noqa: SIM115
            if state:
                # Lines after the checkpoint are of frames that are done again.
                self._length = int(state["length"])
                if self._file.seek(0, os.SEEK_END) < self._length:
                    raise UsageError(
                        f"{self.path}: is shorter than the interrupted run left it; run the "
                        "command without --resume"
                    )
                self._file.truncate(self._length)
                self._file.seek(0, os.SEEK_END)
        except FileNotFoundError as error:
            if not state:
                raise unwritable(self.path, error) from error
            raise UsageError(f"{self.path}: is gone; run the command without --resume") from error
        except OSError as error:
            raise unwritable(self.path, error) from error

    def write(self, frame: TrackedFrame) -> None:
        line = frame.line(self._fps).encode() + b"\n"
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._length)  # half a line would spoil the others
            raise unwritable(self.path, error) from error
        self._length += len(line)

    def state(self) -> State:
        return {"length": np.array(self._length)}

    def finish(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()
