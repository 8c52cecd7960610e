"""Masks as runs: of a window in a picture, without the rest of the picture in memory.

Runs are COCO's: lengths of what isn't the mask and of what is, by turns, down the columns from left
to right; compressed as pycocotools has them (``rleToString`` in its ``maskApi.c``).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_PIXELS", "Window", "are_runs", "runs_of_window", "window_of_runs"]

MOST_PIXELS = (1 << 32) - 1
"""Pixels that a picture may have: pycocotools counts in 32 bits."""


class Window(NamedTuple):
    """The part of a picture that has all of a mask.

    Attributes:
        x, y: the window's upper left pixel.
        mask: bool [h, w].
    """

    x: int
    y: int
    mask: NDArray[np.bool_]


def runs_of_window(window: Window, size: tuple[int, int], factor: int = 1) -> dict[str, Any]:
    """A mask's runs over the whole picture, as pycocotools takes them: ``size``, and ``counts``
    as bytes.

    Args:
        window: it lies in the picture.
        size: the picture's height and width, at most ``MOST_PIXELS`` together.
        factor: how many pixels wide and high a value of the window's mask is; what reaches beyond
            the picture is cut.
    """
    from pycocotools import mask as coco

    height, width = size
    steps = np.diff(np.pad(window.mask.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    column, first = np.nonzero(steps == 1)
    _, last = np.nonzero(steps == -1)
    first, last = (np.minimum(window.y + row * factor, height) for row in (first, last))
    if factor > 1:
        column = (column[:, None] * factor + np.arange(factor)).ravel()
        first, last = first.repeat(factor), last.repeat(factor)
        order = np.argsort(column, kind="stable")
        order = order[: np.searchsorted(column[order], width - window.x)]
        column, first, last = column[order], first[order], last[order]
    begin = (window.x + column.astype(np.int64)) * height
    bounds = np.stack([begin + first, begin + last], 1).ravel()
    # A run that goes on at the top of the next column is one.
    inner = bounds[1:-1].reshape(-1, 2)
    parted = np.repeat(inner[:, 0] != inner[:, 1], 2)
    bounds = np.concatenate([bounds[:1], bounds[1:-1][parted], bounds[-1:]])
    counts = np.diff(np.concatenate([[0], bounds, [height * width]]))
    if len(counts) > 1 and not counts[-1]:
        counts = counts[:-1]
    runs: dict[str, Any] = coco.frPyObjects(
        {"size": [height, width], "counts": counts.tolist()}, height, width
    )
    return runs


def window_of_runs(counts: str | bytes, size: tuple[int, int]) -> Window:
    """The window of a mask; of an empty one, one pixel without it.

    Args:
        counts: compressed runs.
        size: the picture's height and width.
    """
    height = size[0]
    bounds = np.cumsum(_lengths(counts))
    begin, end = bounds[:-1:2], bounds[1::2]
    begin, end = begin[end > begin], end[end > begin]
    if not len(begin):
        return Window(0, 0, np.zeros((1, 1), np.bool_))
    # A run may go on in further columns.
    first, last = begin // height, (end - 1) // height
    times = last - first + 1
    column = np.repeat(first, times)
    column += np.arange(len(column)) - np.repeat(np.cumsum(times) - times, times)
    top = np.maximum(np.repeat(begin, times) - column * height, 0)
    bottom = np.minimum(np.repeat(end, times) - column * height, height)
    x, y = int(column[0]), int(top.min())
    steps = np.zeros((int(column[-1]) + 1 - x, int(bottom.max()) + 1 - y), np.int8)
    steps[column - x, top - y] += 1
    steps[column - x, bottom - y] -= 1
    mask = np.cumsum(steps, 1, np.int8)[:, :-1].astype(np.bool_).T
    return Window(x, y, np.ascontiguousarray(mask))


def are_runs(counts: str, size: tuple[int, int]) -> bool:
    """Whether a text is compressed runs of just a picture's pixels. Readers may trust it then.

    Args:
        counts: from anywhere.
        size: the picture's height and width.
    """
    if not counts.isascii() or not all("0" <= letter <= "o" for letter in counts):
        return False
    # More letters than a length of 64 bits has, or a last one that says that more follow.
    if not counts or ord(counts[-1]) - 48 & 32 or _LONG_RUN.search(counts):
        return False
    lengths, pixels = _lengths(counts), size[0] * size[1]
    # Each by itself, too: a sum of 64 bits may come round to the right one.
    within = (lengths >= 0) & (lengths <= pixels)
    return bool(within.all()) and int(lengths.sum()) == pixels


# Letters that say that more follow, as many as no length below MOST_PIXELS has.
_LONG_RUN = re.compile("[P-o]{7}")


def _lengths(counts: str | bytes) -> NDArray[np.int64]:
    """Compressed runs as lengths."""
    raw = counts.encode("ascii") if isinstance(counts, str) else counts
    # Five bits in a letter, the lowest first; 32 says that more follow.
    letters = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(letters & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(letters)) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((letters & 31) << (5 * place), starts)
    negative = letters[ends] & 16 != 0
    values[negative] -= np.int64(1) << (5 * (ends - starts + 1)[negative])
    # From the fourth on they are differences to the last but one.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
