"""Which pictures are done, beside the first output, for a run that is interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sam3_tvm.batch.outcome import Outcome, Question
from sam3_tvm.errors import UsageError
from sam3_tvm.files import real_path, unwritable
from sam3_tvm.film.faults import CannotGoOn, NothingSaved, OtherRun
from sam3_tvm.film.outputs.places import at_work, holds_something_else, unfinished_work
from sam3_tvm.unfinished import lock_alone

__all__ = ["Journal", "settings"]

_FORM = 1

_SAID = {
    "artifact": "the artifact, which is another or compiled anew",
    "pictures": "the pictures that were given",
    "outputs": "the outputs",
    "texts": "the phrases",
    "boxes": "the boxes",
    "box_labels": "what the boxes stand for",
    "points": "the points",
    "point_labels": "what the points stand for",
    "threshold": "the threshold",
    "nms": "what is suppressed",
    "tiling": "the tiles",
    "examples": "the examples on other pictures",
}


def settings(
    artifact: str, pictures: Sequence[Path], outputs: Sequence[Path], question: Question
) -> dict[str, Any]:
    """What must be the same for a run to be gone on with, as plain data.

    Args:
        artifact: the model's fingerprint.
        pictures: in their order.
        outputs: where results go.
        question: what is asked.
    """
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(os.fsencode(real_path(picture)) + b"\0")
    return {
        "artifact": artifact,
        "pictures": [len(pictures), digest.hexdigest()],
        "outputs": [f"{real_path(path)}" for path in outputs],
        **question.described(),
    }


def _known_by(picture: str) -> list[int]:
    """What tells whether a file is still what it was: its size, and its time in nanoseconds."""
    about = os.stat(picture)
    return [about.st_size, about.st_mtime_ns]


class Journal:
    """A folder ``NAME.resume`` with a line for every picture that is done; gone when all are.

    A picture's line is written after everything else of it, so what a killed run left half done
    has none, and is done again. One process at a time works on it.

    Args:
        beside: the first output's path.
    """

    def __init__(self, beside: Path) -> None:
        self.path = unfinished_work(beside)
        self._lines = self.path / "pictures.jsonl"
        self._file: Any = None
        self._older: Any = None

    def load(self, now: dict[str, Any]) -> list[tuple[Outcome, list[Any]]]:
        """The pictures that an interrupted run has done, each with the outputs' states after it.

        Args:
            now: what :func:`settings` gives.

        Raises:
            NothingSaved: there is none.
            OtherRun: it was asked for something else.
            CannotGoOn: a picture has changed since it was done.
            PlaceError: another process is at work on it.
        """
        self._hold()
        try:
            whole, _, _ = self._lines.read_bytes().rpartition(b"\n")  # not a line that was cut
            head, *lines = map(json.loads, whole.splitlines())
            known = head["form"] == _FORM
            done = [(Outcome(**line["outcome"]), line) for line in lines] if known else []
            differing = [said for key, said in _SAID.items() if head["settings"][key] != now[key]]
            changed = [o.picture for o, line in done if _known_by(o.picture) != line["known_by"]]
        except FileNotFoundError as error:
            gone = error.filename if error.filename != f"{self._lines}" else None
            if gone is not None:
                raise CannotGoOn(f"{gone}: was done, and is gone") from error
            raise NothingSaved(f"nothing to resume: there is no {self._lines}") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NothingSaved(f"{self._lines}: is damaged, or no journal") from error
        if not known:
            raise NothingSaved(f"{self._lines}: is of another version of sam3-tvm")
        if differing:
            raise OtherRun(
                f"{self._lines}: the interrupted run differs in {' and '.join(differing)}"
            )
        if changed:
            raise CannotGoOn(f"{changed[0]}: has changed since it was done")
        return [(outcome, line["states"]) for outcome, line in done]

    def check(self) -> None:
        """Refuse a place that holds something else, or that may not be written to.

        Raises:
            PlaceError: it does, or another process is at work on it.
            UsageError: it may not.
        """
        self._hold()
        try:
            if self.path.exists() and any(self.path.iterdir()) and not self._lines.exists():
                raise holds_something_else(self.path)
        except OSError as error:
            raise unwritable(self.path, error) from error
        folder = self.path.absolute()
        while not folder.exists():
            folder = folder.parent
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise UsageError(f"{folder}: may not be written to")

    def begin(self, now: dict[str, Any], again: bool) -> None:
        """Make the folder, or go on with the one that is there.

        Raises:
            PlaceError: another process is at work on it.
            UsageError: it cannot be written.
        """
        self._hold()
        try:
            if again:
                # A line that was cut goes.
                whole, end, _ = self._lines.read_bytes().rpartition(b"\n")
                self._file, self._older = self._older or self._locked("r+b"), None
                self._file.truncate(len(whole) + len(end))
                self._file.seek(0, os.SEEK_END)
                return
            if self._older is not None:
                shutil.rmtree(self.path, ignore_errors=True)
            with suppress(OSError):  # an empty one; another process may just have filled it
                self.path.rmdir()
            self.path.mkdir(parents=True, exist_ok=True)
            self._file = self._locked("xb")
            self._write({"form": _FORM, "settings": now})
        except FileExistsError as error:  # begun by another since
            raise at_work(self.path) from error
        except OSError as error:
            raise unwritable(self._lines, error) from error

    def add(self, outcome: Outcome, states: Sequence[Any]) -> None:
        """Say that a picture is done.

        Raises:
            UsageError: it cannot be written.
        """
        known = _known_by(outcome.picture)
        try:
            self._write({"outcome": asdict(outcome), "known_by": known, "states": list(states)})
        except OSError as error:
            raise unwritable(self._lines, error) from error

    def close(self) -> None:
        """Keep it for another run."""
        for file in (self._file, self._older):
            if file is not None:
                file.close()

    def remove(self) -> None:
        """Remove it: all is done."""
        with suppress(OSError):
            shutil.rmtree(self.path)
        self.close()  # and not before, lest another process begins one there

    @property
    def begun(self) -> bool:
        """Whether there is something to go on from."""
        return self._file is not None

    def _hold(self) -> None:
        """Keep other processes from what an interrupted run has left, if there is anything."""
        if self._older is None:
            # What can't be opened is told by who reads it.
            with suppress(OSError):
                self._older = self._locked("r+b")

    def _locked(self, mode: str) -> Any:
        """The file, which others can't open here until it is closed, or this process ends.

        Raises:
            PlaceError: another process has it.
        """
        file = open(self._lines, mode, buffering=0)  # noqa: SIM115 - open as long as locked
        try:
            if not lock_alone(file.fileno(), self._lines):
                raise at_work(self.path)
        except BaseException:
            file.close()
            raise
        return file

    def _write(self, record: dict[str, Any]) -> None:
        rest = memoryview(json.dumps(record).encode() + b"\n")
        while rest:
            rest = rest[self._file.write(rest) :]
