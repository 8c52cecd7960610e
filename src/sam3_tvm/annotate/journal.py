"""What was found so far, on the disk: a header, then a line of JSON for each picture.

A process may be killed at any moment. A line that isn't whole, and whatever follows it, is dropped
when the journal is opened again; everything before it is as it was written.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sam3_tvm.annotate.collect import Listed
from sam3_tvm.annotate.faults import OtherRun
from sam3_tvm.annotate.records import AnnotatedPicture
from sam3_tvm.errors import one_line
from sam3_tvm.files import unwritable
from sam3_tvm.json_file import parse_json
from sam3_tvm.unfinished import in_the_making, lock_alone

__all__ = ["Journal", "same_file"]

_FORM = 1

# Lines reach the disk itself so often: what a power cut may take.
_SYNC_SECONDS = 2.0


class Journal:
    """The pictures that are done, to be added to and read again. Used as a context.

    One process at a time may have it open.

    Args:
        path: the file; begun where it isn't there.
        settings: what decides what is found, as plain data; what a journal was begun with must
            be the same.
        pictures: the collection.
        categories: those that objects may have.
        read_only: leave the file as it is, even the rest of a line at its end; it has to be there.

    Raises:
        OtherRun: the file is of other settings or pictures, is no journal, or is open elsewhere.
        UsageError: it cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        pictures: Sequence[Listed],
        categories: Collection[str],
        read_only: bool = False,
    ) -> None:
        self.path = path
        self._categories = frozenset(categories)
        self._read_only = read_only
        self._places: dict[str, tuple[int, int]] = {}
        header = _header(settings, pictures)
        try:
            if not read_only and not path.exists():
                _begin(path, header)
            self._file: BinaryIO = path.open("rb" if read_only else "r+b")
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            if not lock_alone(self._file.fileno(), path):
                raise OtherRun(path, "another process is at work on it", "in use")
            self._check(settings, pictures, self._file.readline())
            self._read({one.name: one for one in pictures})
        except OSError as error:
            self._file.close()
            raise unwritable(path, error) from error
        except BaseException:
            self._file.close()
            raise
        self._synced = time.monotonic()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            os.fsync(self._file.fileno())
        with suppress(OSError):
            self._file.close()

    def __contains__(self, name: str) -> bool:
        """Whether a picture of this name is done, and is as it was then."""
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    def add(self, picture: AnnotatedPicture) -> None:
        """Take a picture's line.

        Raises:
            UsageError: the disk is full, or the file has become unwritable.
        """
        line = picture.to_line().encode("ascii") + b"\n"
        try:
            place = self._file.seek(0, os.SEEK_END)
            try:
                self._file.write(line)
                self._file.flush()
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file.fileno(), place)
                raise
            if time.monotonic() - self._synced > _SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._places[picture.name] = (place, len(line))

    def sync(self) -> None:
        """Bring what was taken so far to the disk itself.

        Raises:
            OSError: the disk is full or broken.
        """
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()

    def put_in_order(self, names: Iterable[str]) -> None:
        """Have the lines in this order and no others, as a run that nothing held up leaves them.

        What was found by several processes, or again, lies as it came. Where an open file can't
        be replaced (on Windows) it stays so.

        Args:
            names: of the collection's pictures.

        Raises:
            UsageError: the disk is full, or the folder has become unwritable.
        """
        kept = [name for name in names if name in self._places]
        self._file.seek(0)
        end = begun = len(self._file.readline())
        for name in kept:
            place, length = self._places[name]
            if place != end:
                break
            end += length
        else:
            if end == os.fstat(self._file.fileno()).st_size:
                return
        with suppress(PermissionError):
            self._replace(kept, begun)

    def _replace(self, names: Sequence[str], begun: int) -> None:
        """Write the header, ``begun`` bytes, and these lines anew. The new file is locked before it
        has the journal's name, so that nobody else has it in between."""
        partial = self.path.with_name(f".{secrets.token_hex(8)}.part")
        places: dict[str, tuple[int, int]] = {}
        try:
            with in_the_making(partial), ExitStack() as stack:
                file = stack.enter_context(partial.open("x+b"))
                lock_alone(file.fileno(), partial)
                self._file.seek(0)
                file.write(self._file.read(begun))
                for name in names:
                    place, length = self._places[name]
                    self._file.seek(place)
                    places[name] = (file.tell(), file.write(self._file.read(length)))
                file.flush()
                os.fsync(file.fileno())
                partial.replace(self.path)
                stack.pop_all()
        except PermissionError:
            raise
        except OSError as error:
            raise unwritable(self.path, error) from error
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
        self._file.close()
        self._file, self._places = file, places

    def read(self, name: str) -> AnnotatedPicture:
        """What was found in the picture of this name.

        Raises:
            OtherRun: the file cannot be read any more.
        """
        place, length = self._places[name]
        try:
            self._file.seek(place)
            return AnnotatedPicture.from_line(self._file.read(length))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise OtherRun(self.path, f"cannot be read any more ({error})", "damaged") from error

    def _check(self, settings: Mapping[str, Any], pictures: Sequence[Listed], line: bytes) -> None:
        try:
            before = parse_json(line)
            form, old, names = before["form"], before["settings"], before["pictures"]
            if not (isinstance(old, dict) and isinstance(names, list)):
                raise ValueError("another header")
        except (ValueError, TypeError, KeyError) as error:
            reason = "is no journal of annotations, or a damaged one"
            raise OtherRun(self.path, reason, "damaged") from error
        if form != _FORM:
            raise OtherRun(self.path, "is of another version of sam3-tvm", "damaged")
        differing = [
            f"{name} ({_brief(old.get(name))} then)"
            for name in {**old, **settings}
            if old.get(name) != _plain(settings.get(name))
        ]
        if names != (now := [one.name for one in pictures]):
            count = f"{len(names)} then, {len(now)} now" if len(names) != len(now) else "others"
            differing.append(f"the pictures ({count})")
        if differing:
            reason = f"was begun with other settings: {', '.join(differing)}"
            raise OtherRun(self.path, reason, "other")

    def _read(self, pictures: Mapping[str, Listed]) -> None:
        """Find the lines, and drop what isn't whole at the end."""
        place = self._file.tell()
        number = 1
        while line := self._file.readline():
            number += 1
            try:
                data = parse_json(line)
                if not line.endswith(b"\n"):
                    raise ValueError("half a line")
            except ValueError:
                if not self._read_only:
                    self._file.truncate(place)
                break
            picture = self._picture(data, number)
            # A picture that has changed since is looked at again.
            if picture.name in pictures and same_file(picture, pictures[picture.name].path):
                self._places[picture.name] = (place, len(line))
            place += len(line)

    def _picture(self, data: Any, number: int) -> AnnotatedPicture:
        """What a whole line says. One that says something else was not cut short: nothing is
        dropped then."""
        try:
            picture = AnnotatedPicture.from_data(data)
            for one in picture.objects:
                if one.category not in self._categories:
                    raise ValueError(f"{one.category!r} is none of the categories")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            reason = f"line {number} is damaged ({one_line(f'{error}')})"
            raise OtherRun(self.path, reason, "damaged") from error
        return picture


def _begin(path: Path, header: bytes) -> None:
    """Make the file, whole or not at all: without a header it would be nobody's.

    Another process may do so at the same moment: whose file comes second is dropped. It must not
    take the place of the first, which is locked by then.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with in_the_making(partial):
            partial.write_bytes(header)
            # Gone is what the other process, with its lock, has tidied up.
            with suppress(FileExistsError, FileNotFoundError):
                os.link(partial, path)
    except OSError:
        if partial.is_file() and partial.stat().st_size == len(header):
            # A file system without hard links.
            partial.replace(path)
            return
        raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def same_file(picture: AnnotatedPicture, path: Path) -> bool:
    """Whether a picture's file is as it was, or gone: what was found in it stays then."""
    try:
        about = path.stat()
    except OSError:
        return True
    return (about.st_size, about.st_mtime_ns) == (picture.file_size, picture.modified)


def _header(settings: Mapping[str, Any], pictures: Sequence[Listed]) -> bytes:
    header = {
        "form": _FORM,
        "settings": settings,
        "pictures": [one.name for one in pictures],
    }
    return json.dumps(header, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def _plain(value: Any) -> Any:
    """A value as it comes back from JSON: tuples are lists there."""
    return json.loads(json.dumps(value))


def _brief(value: Any) -> str:
    text = "not given" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
