"""How far two runs of one command are apart, by the lines of JSON and the pictures they wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

from sam3_tvm.verify.report import Bounds

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """How far apart they are.

    Attributes:
        masks: how many there are, the same number in both.
        pixels: of all masks, how many differ.
        iou: the least of two masks.
        score: the largest difference of a number between 0 and 1.
        box_px: the largest of any other number, pixels.
        pictures, same_pictures: how many were written, and how many of them to the byte the same.
        fault: what can't be measured, such as another number of objects; empty if nothing.
    """

    masks: int = 0
    pixels: int = 0
    iou: float = 1.0
    score: float = 0.0
    box_px: float = 0.0
    pictures: int = 0
    same_pictures: int = 0
    fault: str = ""

    def within(self, bounds: Bounds) -> bool:
        """Whether they are no further apart than an artifact may be from its reference."""
        return (
            not self.fault
            and self.masks > 0
            and (self.iou >= bounds.iou or self.pixels <= bounds.pixels)
            and self.score <= bounds.score
            and self.box_px <= bounds.box_px
        )

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            self.masks + other.masks,
            self.pixels + other.pixels,
            min(self.iou, other.iou),
            max(self.score, other.score),
            max(self.box_px, other.box_px),
            self.pictures + other.pictures,
            self.same_pictures + other.same_pictures,
            self.fault or other.fault,
        )


def compare(ours: Path, theirs: Path) -> Difference:
    """What two folders say that one command wrote to: ``*.jsonl`` and ``*.png``."""
    found = Difference()
    names = sorted({path.name for folder in (ours, theirs) for path in folder.iterdir()})
    for name in names:
        a, b = ours / name, theirs / name
        if not (a.is_file() and b.is_file()):
            return Difference(fault=f"only one wrote {name}")
        if a.suffix == ".png":
            same = a.read_bytes() == b.read_bytes()
            found += Difference(pictures=1, same_pictures=int(same))
        elif a.suffix == ".jsonl":
            lines = [[json.loads(s) for s in path.read_text().splitlines()] for path in (a, b)]
            for one in _differences(*lines, name):
                found += one
    return found


def _differences(a: Any, b: Any, place: str) -> Iterator[Difference]:
    if type(a) is not type(b) and not (_number(a) and _number(b)):
        yield Difference(fault=f"{place}: {a!r:.60} and {b!r:.60}")
    elif isinstance(a, dict):
        if a.keys() != b.keys():
            yield Difference(fault=f"{place}: {sorted(a)} and {sorted(b)}")
        elif {"counts", "size"} <= a.keys():
            yield _of_masks(coco.decode(_bytes(a)), coco.decode(_bytes(b)))
        else:
            for key in a:
                # An area follows from its mask, pixel by pixel.
                if key != "area":
                    yield from _differences(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list):
        if len(a) != len(b):
            yield Difference(fault=f"{place}: {len(a)} and {len(b)} of them")
        else:
            for index, pair in enumerate(zip(a, b, strict=True)):
                yield from _differences(*pair, f"{place}[{index}]")
    elif isinstance(a, float) or isinstance(b, float):
        apart = abs(a - b)
        yield Difference(score=apart) if max(abs(a), abs(b)) <= 1 else Difference(box_px=apart)
    elif a != b:
        yield Difference(fault=f"{place}: {a!r:.60} and {b!r:.60}")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bytes(run_lengths: dict[str, Any]) -> dict[str, Any]:
    counts = run_lengths["counts"]
    return {**run_lengths, "counts": counts.encode() if isinstance(counts, str) else counts}


def _of_masks(a: Any, b: Any) -> Difference:
    if a.shape != b.shape:
        return Difference(fault=f"masks of {a.shape} and {b.shape}")
    union, common = int(np.sum(a | b)), int(np.sum(a & b))
    return Difference(masks=1, pixels=union - common, iou=common / union if union else 1.0)
