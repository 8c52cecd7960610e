"""Where an interrupted run goes on: what was remembered and written, beside the output."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZIP_STORED, BadZipFile

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import UsageError
from sam3_tvm.files import unwritable, write_whole
from sam3_tvm.film.faults import NothingSaved, OtherRun
from sam3_tvm.film.frame import to_line
from sam3_tvm.film.outputs.base import Output, State
from sam3_tvm.film.outputs.places import at_work, holds_something_else, unfinished_work
from sam3_tvm.film.settings import differences
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.unfinished import lock_alone

__all__ = ["SavedRun", "Spool", "WorkFolder"]

_FORM = 4

# What reading a damaged archive raises. A RuntimeError is zipfile's for a member that seems
# encrypted, or its NotImplementedError for one that seems to be of a later version.
_UNREADABLE = (
    *(OSError, EOFError, BadZipFile, RuntimeError),
    *(AttributeError, KeyError, MemoryError, TypeError, ValueError),
)

# Tells a folder that was made here from another of that name; locked while one works on it.
_MARKER = "sam3-tvm-track"


class SavedRun:
    """A run as it stood between two frames, from where it can be gone on with.

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


class Spool:
    """Frames that are passed from the last to the first, on the disk until all are there.

    Args:
        path: the file; gone when this is closed.

    Raises:
        UsageError: it cannot be made, written or read, now or in any method.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: list[tuple[int, int]] = []
        with self._told():
            self._file = path.open("w+b")

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        # What couldn't be written was told by add().
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def add(self, frame: FrameResult) -> None:
        """Take a frame."""
        with self._told():
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(to_line(frame, None).encode() + b"\n")
            self._file.flush()
        self._places.append((frame.index, place))

    def __reversed__(self) -> Iterator[tuple[int, str]]:
        """Numbers and lines of the frames, the latest first."""
        for index, place in reversed(self._places):
            with self._told():
                self._file.seek(place)
                line = self._file.readline()
            yield index, line.decode()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UsageError(
                f"{self._path}: cannot be written ({error.strerror or error})"
            ) from error


class WorkFolder:
    """A folder beside the first output with what is needed to go on; gone when all is done.

    Args:
        beside: the first output's path.
        settings: what must be the same to go on, as plain data.
    """

    def __init__(self, beside: Path, settings: dict[str, Any]) -> None:
        self.path = unfinished_work(beside)
        self._settings = settings
        self._lock: BinaryIO | None = None

    def clear(self) -> None:
        """Remove what an earlier run has left, which isn't gone on with.

        Raises:
            PlaceError: another process is at work on it.
            UsageError: it cannot be locked.
        """
        if self._is_ours:
            self._hold()
            self.remove()
            self.close()

    def parts(self, number: int) -> Path:
        """A folder for the unfinished parts of the output of this number.

        Raises:
            UsageError: it cannot be made.
            PlaceError: a folder of this name holds something else, or another process is at work.
        """
        path = self.path / f"{number}"
        try:
            if not self._is_ours and self.path.exists() and any(self.path.iterdir()):
                raise holds_something_else(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._hold()
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path}: cannot be made a folder ({error.strerror})") from error
        return path

    def spool(self) -> Spool:
        """A place for frames until they can be written."""
        return Spool(self.path / "spool.jsonl")

    def save(self, saved: SavedRun) -> None:
        """Write a checkpoint in place of the one before, whole or not at all.

        Raises:
            UsageError: the disk is full, or the folder has become unwritable.
        """
        arrays = {f"session/{name}": array for name, array in saved.session.items()}
        for number, state in enumerate(saved.outputs):
            arrays |= {f"{number}/{name}": array for name, array in state.items()}
        about = {
            "form": _FORM,
            "settings": self._settings,
            "following": saved.following,
            "counts": saved.counts,
            # Damage to an archive's directory can hide members without a fault.
            "arrays": sorted(arrays),
        }
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)

        def save(partial: Path) -> None:
            with partial.open("wb") as file:  # savez would add to a name
                np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]

        write_whole(self._file, save)

    def load(self, outputs: Sequence[Output]) -> SavedRun:
        """The checkpoint of an interrupted run.

        Raises:
            NothingSaved: there is none, or it is damaged.
            OtherRun: its run was asked for something else.
            PlaceError: another process is at work on it.
            UsageError: it cannot be locked.
        """
        if not self.has_checkpoint:
            raise NothingSaved(f"nothing to resume: there is no {self._file}")
        self._hold()
        try:
            return self._load(outputs)
        except BaseException:
            self.close()
            raise

    def _load(self, outputs: Sequence[Output]) -> SavedRun:
        try:
            with np.load(self._file, allow_pickle=False) as file:
                if any(member.compress_type != ZIP_STORED for member in file.zip.infolist()):
                    # Each kind of compression has errors of its own.
                    raise BadZipFile("members are compressed, which no checkpoint's are")
                arrays = {name: file[name] for name in file.files}
            about = json.loads(arrays.pop("about").tobytes())
            form, settings = about["form"], about["settings"]
            following, counts = int(about["following"]), about["counts"]
            whole = form != _FORM or sorted(arrays) == about["arrays"]
            differing = differences(settings, self._settings) if form == _FORM else []
        except _UNREADABLE as error:
            raise NothingSaved(f"{self._file}: is damaged, or no checkpoint") from error
        if not whole:
            raise NothingSaved(f"{self._file}: is damaged: parts are missing")
        if form != _FORM:
            raise NothingSaved(f"{self._file}: is of another version of sam3-tvm")
        if differing:
            raise OtherRun(
                f"{self._file}: the interrupted run differs in {' and '.join(differing)}"
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
        return SavedRun(following, session, states, counts)

    def remove(self) -> None:
        """Remove the folder, if it is ours alone; one that holds something else stays."""
        if self._lock is not None:
            shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Let other processes work on it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _hold(self) -> None:
        """Keep other processes out until :meth:`close`, or until this one ends, however it does.

        Raises:
            PlaceError: another process is at work on it.
            UsageError: it cannot be locked.
        """
        if self._lock is not None:
            return
        path = self.path / _MARKER
        try:
            lock = path.open("ab")
        except OSError as error:
            raise unwritable(path, error) from error
        if not lock_alone(lock.fileno(), path):
            lock.close()
            raise at_work(self.path)
        self._lock = lock

    @property
    def _is_ours(self) -> bool:
        return self.has_checkpoint or os.path.isfile(self.path / _MARKER)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return os.path.isfile(self._file)  # also where its name is too long for a file

    @property
    def _file(self) -> Path:
        return self.path / "checkpoint.npz"
