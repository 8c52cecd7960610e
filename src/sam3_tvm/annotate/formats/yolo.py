"""Ultralytics' YOLO datasets, for detection and for segmentation.

A line of segmentation is one ring. A hole is reached by a cut of no width (see
:func:`~sam3_tvm.annotate.rings.bridged`), and an object in several pieces is several lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from sam3_tvm.annotate.formats.base import Contents, place, stems, text_of
from sam3_tvm.annotate.records import AnnotatedObject
from sam3_tvm.annotate.rings import bridged

__all__ = ["write_detect", "write_segment"]

# Where a pixel's point lies in it. Some readers cut coordinates off (ultralytics), others round
# them (supervision): a little below its middle both give the pixel, by a margin for numbers in 32
# bits.
_IN_PIXEL = 0.45

# From seven values on a line is a polygon.
_LEAST_POINTS = 3

# A longer one tells no kind of picture, and makes a name too long.
_LONGEST_SUFFIX = 20


def write_detect(folder: Path, contents: Contents) -> None:
    """``data.yaml``, ``images/`` and ``labels/`` with a box on each line."""
    _write(folder, contents, lambda one, size: [_box(one, size)])


def write_segment(folder: Path, contents: Contents) -> None:
    """``data.yaml``, ``images/`` and ``labels/`` with a ring on each line."""
    _write(folder, contents, _rings)


def _write(
    folder: Path,
    contents: Contents,
    lines: Callable[[AnnotatedObject, tuple[int, int]], Iterator[str] | list[str]],
) -> None:
    numbers = {name: number for number, name in enumerate(contents.categories)}
    for inner in ("images", "labels"):
        (folder / inner).mkdir()
    # Readers look for labels beside pictures by replacing "images" in the path, some in one folder
    # alone: so no folders.
    names = stems((listed for listed, _ in contents.read()), flat=True)
    for name, (listed, picture) in zip(names, contents.read(), strict=True):
        suffix = listed.path.suffix
        if len(os.fsencode(suffix)) > _LONGEST_SUFFIX:
            suffix = ""
        place(listed.path, folder / "images" / f"{name}{suffix}", contents.copy)
        with (folder / "labels" / f"{name}.txt").open("w", encoding="ascii", newline="\n") as file:
            for one in picture.objects:
                for line in lines(one, picture.size):
                    file.write(f"{numbers[one.category]} {line}\n")
    quoted = (json.dumps(text_of(name), ensure_ascii=False) for name in contents.categories)
    names_of = "".join(f"  {number}: {name}\n" for number, name in enumerate(quoted))
    text = f"train: images\nval: images\nnames:\n{names_of}"
    (folder / "data.yaml").write_text(text, encoding="utf-8", newline="\n")


def _box(one: AnnotatedObject, size: tuple[int, int]) -> str:
    height, width = size
    x0, y0, x1, y1 = one.box
    return " ".join(
        f"{value:.7f}"
        for value in (
            (x0 + x1) / 2 / width,
            (y0 + y1) / 2 / height,
            (x1 - x0) / width,
            (y1 - y0) / height,
        )
    )


def _rings(one: AnnotatedObject, size: tuple[int, int]) -> Iterator[str]:
    height, width = size
    left, top, mask = one.window(size)
    for ring in bridged(mask):
        points = [*ring, *[ring[-1]] * (_LEAST_POINTS - len(ring))]
        yield " ".join(
            f"{(left + x + _IN_PIXEL) / width:.7f} {(top + y + _IN_PIXEL) / height:.7f}"
            for x, y in points
        )
