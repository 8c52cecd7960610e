"""Films that clients sent: files in a folder of the server's, gone with their ids or with it."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sam3_tvm.errors import Sam3Error
from sam3_tvm.runtime.video.open import open_frames
from sam3_tvm.serve.limits import Limits
from sam3_tvm.serve.problems import Problem, as_problem

__all__ = ["Film", "Films", "unplaced"]

# Seconds without use after which a film makes room for another.
_IDLE = 600.0


@dataclass
class Film:
    """A film that is kept.

    Attributes:
        name: its id.
        path: its file.
        size: height and width of its frames, pixels.
        count: how many frames the file says that it has.
        fps: frames per second, where it says so.
        users: requests that read its file now.
        used: when one last did, by the monotonic clock.
    """

    name: str
    path: Path
    size: tuple[int, int]
    count: int | None
    fps: float | None
    users: int = 0
    used: float = field(default_factory=time.monotonic)


class Films:
    """Keeps films on the disk.

    Args:
        limits: how many, and how large.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="sam3-tvm-films-")
        self._kept: dict[str, Film] = {}
        self._coming = 0

    @contextmanager
    def room(self) -> Iterator[None]:
        """Room for one more film; one that nobody has used for long makes it.

        Raises:
            Problem: there is none (429).
        """
        if len(self._kept) + self._coming >= self._limits.films:
            idle = [one for one in self._kept.values() if not one.users]
            oldest = min(idle, key=lambda one: one.used, default=None)
            if oldest is None or time.monotonic() - oldest.used < _IDLE:
                raise Problem(
                    429,
                    f"{self._limits.films} films are kept, as many as are taken: delete one, or "
                    "try again later",
                    retry_after=60,
                )
            self.remove(oldest.name)
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A place for a film that comes in; removed unless :meth:`add` takes it."""
        path = Path(self._folder.name) / secrets.token_hex(16)
        try:
            yield path
        finally:
            if path.name not in self._kept:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def look(self, path: Path) -> Film:
        """What kind of film a file is.

        Raises:
            FramesError: it is none.
            MissingExtraError: PyAV isn't installed.
            Problem: its frames are too large (413).
        """
        with unplaced(path), open_frames(path) as frames:
            height, width = frames.size
            if height * width > self._limits.pixels:
                raise Problem(
                    413,
                    f"frames of {width} x {height} px have more than the {self._limits.pixels:,} "
                    "pixels that are taken",
                )
            return Film(path.name, path, (height, width), frames.count, frames.fps)

    def work_folder(self) -> tempfile.TemporaryDirectory[str]:
        """An empty folder for what following a film needs."""
        return tempfile.TemporaryDirectory(dir=self._folder.name)

    def add(self, film: Film) -> None:
        """Keep a film."""
        self._kept[film.name] = film

    def get(self, name: str) -> Film:
        """The film of this id.

        Raises:
            Problem: it isn't there (404).
        """
        found = self._kept.get(name)
        if found is None:
            raise Problem(
                404, "no film of this id is kept here (any more): send it to /v1/videos again"
            )
        return found

    @contextmanager
    def held(self, name: str) -> Iterator[Film]:
        """The film of this id, whose file stays for the block, whoever forgets the film.

        Raises:
            Problem: it isn't there (404).
        """
        film = self.get(name)
        film.users += 1
        try:
            yield film
        finally:
            film.users -= 1
            film.used = time.monotonic()
            self._clean(film)

    def remove(self, name: str) -> bool:
        """Forget a film; whether it was there. Who follows it goes on."""
        gone = self._kept.pop(name, None)
        if gone is not None:
            self._clean(gone)
        return gone is not None

    def _clean(self, film: Film) -> None:
        """Remove the file of a forgotten film, which going back through it opens anew."""
        if film.name not in self._kept and not film.users:
            with suppress(OSError):
                film.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all of them."""
        self._kept.clear()
        self._folder.cleanup()


@contextmanager
def unplaced(path: Path) -> Iterator[None]:
    """Tell clients of "the film", and not where it lies here.

    Raises:
        Problem: in the place of an error that names the path.
    """
    try:
        yield
    except Sam3Error as error:
        problem = as_problem(error)
        problem.detail = problem.detail.replace(f"{path}", "the film")
        raise problem from error
