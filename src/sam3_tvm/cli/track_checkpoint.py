"""Where an interrupted ``track`` goes on: what was remembered and written, beside the output."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.cli.prompts import UsageError
from sam3_tvm.cli.track_outputs import Output, State

__all__ = ["Checkpoint", "WorkFolder"]

_FORM = 1


class Checkpoint:
    """A moment between two frames.

    Attributes:
        following: the number of the frame that comes next.
        session: the session's state.
        outputs: each output's state.
        counts: what the summary has counted.
    """

    def __init__(
        self,
        following: int,
        session: Mapping[str, NDArray[Any]],
        outputs: Sequence[State],
        counts: dict[str, Any],
    ) -> None:
        self.following = following
        self.session = session
        self.outputs = outputs
        self.counts = counts


class WorkFolder:
    """A folder beside the first output with what is needed to go on; gone when all is done.

    Args:
        beside: the first output's path.
        settings: what must be the same to go on, as plain data.
    """

    def __init__(self, beside: Path, settings: dict[str, Any]) -> None:
        self.path = beside.with_name(f"{beside.name}.resume")
        self._settings = settings

    def parts(self, number: int) -> Path:
        """A folder for the unfinished parts of the output of this number.

        Raises:
            UsageError: it cannot be made.
        """
        path = self.path / f"{number}"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path}: cannot be made a folder ({error.strerror})") from error
        return path

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in place of the one before, whole or not at all.

        Raises:
            UsageError: the disk is full, or the folder has become unwritable.
        """
        about = {
            "form": _FORM,
            "settings": self._settings,
            "following": checkpoint.following,
            "counts": checkpoint.counts,
        }
        arrays = {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}
        arrays |= {f"session/{name}": array for name, array in checkpoint.session.items()}
        for number, state in enumerate(checkpoint.outputs):
            arrays |= {f"{number}/{name}": array for name, array in state.items()}
        partial = self.path / f".{secrets.token_hex(8)}.part"
        try:
            with partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
            partial.replace(self._file)
        except OSError as error:
            raise UsageError(f"{self._file}: cannot be written ({error.strerror})") from error
        finally:
            partial.unlink(missing_ok=True)

    def load(self, outputs: Sequence[Output]) -> Checkpoint:
        """The checkpoint of an interrupted run.

        Raises:
            UsageError: there is none, it is damaged, or its run was asked for something else.
        """
        again = "run the command without --resume to begin anew"
        if not self._file.is_file():
            raise UsageError(f"nothing to resume: there is no {self._file}; {again}")
        try:
            with np.load(self._file, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(arrays.pop("about").tobytes())
            form, settings = about["form"], about["settings"]
            following, counts = int(about["following"]), about["counts"]
        except (OSError, EOFError, BadZipFile, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{self._file}: is damaged, or no checkpoint; {again}") from error
        if form != _FORM:
            raise UsageError(f"{self._file}: is of another version of sam3-tvm; {again}")
        differing = [k for k, v in self._settings.items() if settings.get(k) != v]
        if differing:
            raise UsageError(
                f"{self._file}: the interrupted run differs in {', '.join(differing)}; give the "
                f"same options and --resume, or {again}"
            )
        states = [
            {
                name.partition("/")[2]: array
                for name, array in arrays.items()
                if name.startswith(f"{number}/")
            }
            for number in range(len(outputs))
        ]
        session = {
            name.removeprefix("session/"): array
            for name, array in arrays.items()
            if name.startswith("session/")
        }
        return Checkpoint(following, session, states, counts)

    def remove(self) -> None:
        """Remove the folder, if it is there."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return self._file.is_file()

    @property
    def _file(self) -> Path:
        return self.path / "checkpoint.npz"
