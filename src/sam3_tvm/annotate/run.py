"""Looks through a collection, and hands on what is found as it is found."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.annotate.collect import Listed, collect
from sam3_tvm.annotate.finding import Finder, TiledPhraseFinder
from sam3_tvm.annotate.records import AnnotatedObject, AnnotatedPicture, PictureFailure
from sam3_tvm.components import AbiError
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.image import ImageError, read_picture
from sam3_tvm.tiles import Place, open_windows

__all__ = ["AT_ONCE", "annotate", "annotate_one"]

AT_ONCE = 3
"""Pictures that are worked on at the same time. The model computes for one; meanwhile another is
resized, and the masks of a third become run lengths."""

# Pictures that are read beforehand. Those that are worked on take turns with the model, and so end
# together: the next must be at hand then.
_AHEAD = 2

# What is the picture's fault, and not the model's.
_OF_THE_PICTURE = (AbiError, ImageError, PromptError)


def annotate(
    find: Finder,
    pictures: Iterable[Listed] | Sequence[str | os.PathLike[str]],
    at_once: int = AT_ONCE,
    interrupted: Callable[[], bool] = lambda: False,
) -> Iterator[AnnotatedPicture | PictureFailure]:
    """Look for objects in pictures, and hand on each picture's as soon as they are found.

    Nothing is written. Reading, resizing and encoding masks go on beside the computation.

    Args:
        find: what looks for them, such as a
            :class:`~sam3_tvm.annotate.finding.PhraseFinder`.
        pictures: as :func:`~sam3_tvm.annotate.collect.collect` gives or takes them.
        at_once: pictures that are worked on at the same time, each with its features in memory.
        interrupted: asked before a picture is read; those that are worked on are finished.

    Yields:
        For each picture, in their order, what was found, or why nothing could be looked for.

    Raises:
        Refused: no pictures.
    """
    given: list[Any] = [*pictures]
    listed = given if all(isinstance(one, Listed) for one in given) else collect(given)
    at_once = max(1, at_once)
    reading = ThreadPoolExecutor(_AHEAD, thread_name_prefix="read")
    finding = ThreadPoolExecutor(at_once, thread_name_prefix="annotate")
    begun: deque[Future[AnnotatedPicture | PictureFailure]] = deque()
    try:
        for one in listed:
            if interrupted():
                # What was only read is left.
                begun = deque(f for n, f in enumerate(begun) if n < at_once or not f.cancel())
                break
            begun.append(finding.submit(_find, find, one, reading.submit(_read, find, one)))
            if len(begun) >= at_once + _AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        # Of a caller that goes away the pictures at hand are computed for nobody: native code
        # can't be stopped.
        finding.shutdown(wait=False, cancel_futures=True)
        reading.shutdown(wait=False, cancel_futures=True)


def annotate_one(find: Finder, picture: Listed) -> AnnotatedPicture | PictureFailure:
    """What is found in one picture, or why nothing could be looked for."""
    read: Future[_Read] = Future()
    try:
        read.set_result(_read(find, picture))
    except (*_OF_THE_PICTURE, OSError) as error:
        read.set_exception(error)
    return _find(find, picture, read)


class _Read(NamedTuple):
    """What a picture's file is known by, and its pixels, uint8 [H, W, 3]; None where they are read
    by windows."""

    about: os.stat_result
    sha256: str
    rgb: NDArray[np.uint8] | None


def _read(find: Finder, picture: Listed) -> _Read:
    rgb = None if isinstance(find, TiledPhraseFinder) else read_picture(picture.path)
    return _Read(picture.path.stat(), _digest(picture.path), rgb)


def _find(find: Finder, picture: Listed, read: Future[_Read]) -> AnnotatedPicture | PictureFailure:
    try:
        about, digest, rgb = read.result()
        size, place, objects = _looked_at(find, picture.path, rgb)
    except _OF_THE_PICTURE as error:
        return PictureFailure(picture.name, f"{error}")
    except OSError as error:  # a file that goes away while it is read
        return PictureFailure(
            picture.name, f"{picture.path}: cannot be read ({error.strerror or error})"
        )
    return AnnotatedPicture(
        picture.name,
        f"{picture.path}",
        size,
        about.st_size,
        about.st_mtime_ns,
        digest,
        objects,
        place,
    )


def _looked_at(
    find: Finder, path: Path, rgb: NDArray[np.uint8] | None
) -> tuple[tuple[int, int], Place | None, tuple[AnnotatedObject, ...]]:
    """A picture's height and width, where it lies on the earth if that is known, its objects."""
    if isinstance(find, TiledPhraseFinder):
        with open_windows(path) as windows:
            return windows.size, windows.place, tuple(find.in_windows(windows))
    assert rgb is not None
    return (rgb.shape[0], rgb.shape[1]), None, tuple(find(rgb))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
