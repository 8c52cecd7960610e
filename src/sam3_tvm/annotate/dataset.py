"""A dataset's folder: what was found so far, and the formats that are made of it at the end."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam3_tvm.annotate.collect import JOURNAL, Listed
from sam3_tvm.annotate.faults import OtherRun, PictureGone, Refused, Unfinished
from sam3_tvm.annotate.finding import Finder
from sam3_tvm.annotate.formats import FORMATS, Contents, Format
from sam3_tvm.annotate.formats.base import json_text
from sam3_tvm.annotate.journal import Journal, same_file
from sam3_tvm.annotate.records import AnnotatedPicture, PictureFailure
from sam3_tvm.annotate.run import AT_ONCE, annotate, annotate_one
from sam3_tvm.annotate.shards import make_folder, read_shards, remove_folder
from sam3_tvm.annotate.sheet import lowest_scores, score_sheet
from sam3_tvm.errors import UsageError, one_line
from sam3_tvm.files import real_path, unwritable, write_whole
from sam3_tvm.unfinished import remove_left_over, unfinished_folder

if TYPE_CHECKING:
    from sam3_tvm.annotate.cluster import Cluster, LoadFinder

__all__ = ["Dataset", "check_place", "done_before", "seconds_per_picture"]

_SHEET = "lowest-scores.png"
_SUMMARY = "summary.json"

# As sam3_tvm.files.write_whole() names what isn't whole yet.
_LEFT_OVER = re.compile(r"\.[0-9a-f]{16}\.part")

# What other formats would fail of, too.
_OF_THE_DISK = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES")
    if hasattr(errno, name)
)


def check_place(folder: Path, pictures: Sequence[Listed] = ()) -> None:
    """Refuse a folder that no dataset can be in. Nothing is made.

    Args:
        folder: where the dataset is to be; new, empty, or with a dataset of ours in it.
        pictures: those of the collection, which may not lie in it.

    Raises:
        Refused: it holds something else, or pictures of the collection, or may not be written to.
    """
    if "\0" in f"{folder}":
        raise Refused("dataset", f"{f'{folder}'!r}: no path holds a NUL character")
    try:
        if os.path.lexists(folder) and not folder.is_dir():
            raise Refused("dataset", f"{folder}: is no folder; choose another place")
        ours = (folder / JOURNAL).is_file()
        if folder.is_dir() and not ours and _others(folder):
            raise Refused(
                "dataset",
                f"{folder}: holds something else than a dataset that was made here; choose a new "
                "or an empty folder",
            )
        place = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    except OSError as error:
        raise Refused("dataset", f"{folder}: cannot be used ({error.strerror})") from error
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise Refused("dataset", f"{folder}: may not be written to; choose another place")
    real = real_path(folder)
    for one in pictures:
        if real in real_path(one.path).parents:
            raise Refused(
                "dataset",
                f"{folder}: pictures of the collection lie in it ({one.name}); choose "
                "another place",
            )


def _others(folder: Path) -> list[Path]:
    """What lies in a folder, without what a killed process left of a file in the making."""
    return [path for path in folder.iterdir() if not _LEFT_OVER.fullmatch(path.name)]


class Dataset:
    """A dataset in the making, or one that is to be looked at again. Used as a context.

    What was found in a picture is on the disk before the next is handed on: killed at any moment
    and begun again, it gives the same bytes as if it had not been. The formats are written from
    it at the end, and can be added to later, without looking at a picture again.

    Args:
        folder: where it is to be; made where it isn't there.
        find: what looks for objects.
        pictures: the collection.

    Attributes:
        pictures: as given.
        failed: why nothing could be looked for in some pictures; of this run.
        unwritten: why formats could not be written, a line each; of the last :meth:`write`.

    Raises:
        Refused: as :func:`check_place`.
        OtherRun: the folder has what was found with other settings, or is in use.
        UsageError: it cannot be read or written.
    """

    def __init__(self, folder: Path, find: Finder, pictures: Sequence[Listed]) -> None:
        check_place(folder, pictures)
        self.folder = folder
        self.pictures = [*pictures]
        self.failed: list[PictureFailure] = []
        self.unwritten: list[str] = []
        self._find = find
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from error
        self._journal = Journal(folder / JOURNAL, find.settings(), self.pictures, find.categories)
        for path in {*folder.iterdir()} - {*_others(folder)}:
            with suppress(OSError):
                path.unlink()
        for name in FORMATS:
            remove_left_over(folder / name)
        try:
            self._take_shards()
        except BaseException:
            self._journal.__exit__()
            raise

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.__exit__()

    @property
    def done(self) -> int:
        """How many pictures were looked at, in this run or before."""
        return len(self._journal)

    @property
    def left(self) -> list[Listed]:
        """The pictures that nothing was found out about yet."""
        return [one for one in self.pictures if one.name not in self._journal]

    def run(
        self, at_once: int = AT_ONCE, interrupted: Callable[[], bool] = lambda: False
    ) -> Iterator[AnnotatedPicture | PictureFailure]:
        """Look at the pictures that are left; see :func:`~sam3_tvm.annotate.run.annotate`.

        Yields:
            What was found in each, when it is on the disk, or why nothing could be looked for.

        Raises:
            Unfinished: the disk is full, or the folder has become unwritable.
        """
        self.failed = []
        for one in annotate(self._find, self.left, at_once, interrupted):
            if isinstance(one, PictureFailure):
                self.failed.append(one)
            else:
                try:
                    self._journal.add(one)
                except UsageError as error:
                    raise Unfinished(error) from error
            yield one

    def run_on(
        self,
        cluster: Cluster,
        load: LoadFinder,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Iterator[int]:
        """Let a cluster's workers look at the pictures that are left.

        They leave what they find in the dataset's folder, as they find it, and it is put in order
        at the end. So this process may be killed, too, and any later run goes on, with a cluster
        or without one. The dataset is the same to the byte as one that :meth:`run` makes.

        Args:
            cluster: whose workers look; each sees the pictures, the artifact and this dataset's
                folder at the same paths.
            load: gives each what this dataset was made with to look for objects; see
                :meth:`~sam3_tvm.annotate.cluster.Cluster.annotate`.
            interrupted: asked after each batch of pictures; those at hand are given up.

        Yields:
            How many pictures were looked at since the last time.

        Raises:
            Unfinished: what a worker says that it cannot do, or the disk is full.
        """
        self.failed = []
        pictures = [
            (n, one) for n, one in enumerate(self.pictures) if one.name not in self._journal
        ]
        reasons: dict[int, str] = {}
        try:
            shards = make_folder(self.folder).absolute()
            for told in cluster.annotate(pictures, load, self._find.settings(), shards):
                reasons.update(told.failures)
                yield told.pictures
                if interrupted():
                    break
            self._take_shards()
        except UsageError as error:
            raise Unfinished(error) from error
        self.failed = [PictureFailure(self.pictures[n].name, reasons[n]) for n in sorted(reasons)]

    def _take_shards(self) -> None:
        """Bring what a cluster's workers have left into the journal.

        Raises:
            UsageError: the journal cannot be written.
            MissingExtraError: pyarrow, with which they wrote it, isn't installed here.
        """
        listed = {one.name: one.path for one in self.pictures}
        for one in read_shards(self.folder):
            known = one.name in listed and one.name not in self._journal
            # A picture that has changed since is looked at again.
            if known and same_file(one, listed[one.name]):
                self._journal.add(one)
        try:
            self._journal.sync()
            remove_folder(self.folder)
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def __iter__(self) -> Iterator[tuple[Listed, AnnotatedPicture]]:
        """The pictures that are done, in the order of the collection, from the disk."""
        journal = self._journal
        return ((one, journal.read(one.name)) for one in self.pictures if one.name in journal)

    def other_sizes(self) -> Iterator[tuple[Listed, tuple[int, int]]]:
        """The pictures that a COCO image list gives another size than their files have, each with
        the height and width of the upright picture, which all coordinates are of."""
        if any(one.coco_size is not None for one in self.pictures):
            for listed, picture in self:
                if listed.coco_size not in (None, picture.size):
                    yield listed, picture.size

    def write(self, formats: Iterable[Format], sheet: int = 0, copy: bool = False) -> list[Path]:
        """Write formats, a contact sheet and a summary of what was found so far.

        Each is written whole, and takes the place of an earlier one. One that cannot be, such as
        for a picture that is to be copied and is gone, is passed over and named in ``unwritten``.

        Args:
            formats: as :func:`~sam3_tvm.annotate.formats.chosen_formats` gives them.
            sheet: how many of the objects with the lowest scores are drawn; 0 for no sheet.
            copy: lay copies of pictures into formats that need them, rather than links.

        Returns:
            What was written.

        Raises:
            Unfinished: the disk is full, or the folder has become unwritable.
        """
        written = []
        self.unwritten = []
        try:
            self._journal.put_in_order(one.name for one in self.pictures)
            for one in formats:
                try:
                    written.append(self._write(one, copy))
                except (OSError, PictureGone) as error:
                    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                        raise
                    self.unwritten.append(self._why(one, error))
            doubtful = lowest_scores(self, sheet) if sheet else []
            if doubtful:
                image = score_sheet(doubtful)
                write_whole(self.folder / _SHEET, lambda path: image.save(path, format="PNG"))
                written.append(self.folder / _SHEET)
            else:
                (self.folder / _SHEET).unlink(missing_ok=True)
            text = json_text(self.summary()) + "\n"
            write_whole(self.folder / _SUMMARY, lambda path: path.write_text(text, "ascii"))
        except OSError as error:
            fault = UsageError(f"{self.folder}: cannot be written ({error.strerror or error})")
            raise Unfinished(fault) from error
        except UsageError as error:
            if isinstance(error, OtherRun):
                raise
            raise Unfinished(error) from error
        return [*written, self.folder / _SUMMARY]

    def _write(self, one: Format, copy: bool) -> Path:
        final = self.folder / one.name
        contents = Contents(final, self._find.categories, self.__iter__, self.about(), copy)
        with unfinished_folder(final) as folder:
            one.write(folder, contents)
            with suppress(FileNotFoundError):
                shutil.rmtree(final)
            folder.rename(final)
        return final

    def _why(self, one: Format, error: OSError | PictureGone) -> str:
        """Why a format wasn't written, with the file where there is one."""
        reason = f"{error}"
        if isinstance(error, OSError):
            reason = error.strerror or reason
            if error.filename is not None:
                # A link has two names, and the second is what was to be made.
                place = error.filename if error.filename2 is None else error.filename2
                reason = f"{os.path.basename(os.fsdecode(place))}: {reason}"
        return f"{self.folder / one.name}: cannot be written ({one_line(reason)})"

    def about(self) -> dict[str, Any]:
        """How the dataset was made, as plain data."""
        return {
            "description": f"made by sam3-tvm {version('sam3-tvm')}",
            **{name.removeprefix("the "): v for name, v in self._find.settings().items()},
        }

    def summary(self) -> dict[str, Any]:
        """How much was found, as plain data: the same for the same pictures, however they came."""
        objects: Counter[str] = Counter()
        pictures = without = 0
        for _, picture in self:
            pictures += 1
            without += not picture.objects
            objects.update(one.category for one in picture.objects)
        return {
            "about": self.about(),
            "pictures": pictures,
            "without_objects": without,
            "objects": {name: objects[name] for name in self._find.categories},
            "failed": [{"file_name": one.name, "error": one.reason} for one in self.failed],
        }


def done_before(folder: Path, find: Finder, pictures: Sequence[Listed]) -> set[str]:
    """The names of the pictures that a dataset has already; nothing is written.

    Raises:
        OtherRun: the folder has what was found with other settings, or is in use.
        UsageError: it cannot be read.
    """
    path = folder / JOURNAL
    if not path.is_file():
        return set()
    with Journal(path, find.settings(), pictures, find.categories, True) as journal:
        left = {one.name for one in read_shards(folder)}
        return {one.name for one in pictures if one.name in journal or one.name in left}


def seconds_per_picture(find: Finder, pictures: Sequence[Listed]) -> float | None:
    """How long a picture takes, measured on the second of these that can be read.

    The first warms up what is computed once, such as the phrases. Nothing is written.

    Args:
        find: what looks for objects.
        pictures: those that are left.

    Returns:
        Seconds; of the first where there is no other, None where none can be read.
    """
    seconds = None
    seen = 0
    for one in pictures:
        begun = time.perf_counter()
        if isinstance(annotate_one(find, one), AnnotatedPicture):
            seconds, seen = time.perf_counter() - begun, seen + 1
        if seen == 2:
            break
    return seconds
