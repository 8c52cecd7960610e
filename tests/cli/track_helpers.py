"""What tests of ``sam3-tvm track`` share: what is shown and asked for, and how to read outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from sam3_tvm.runtime.video.open import open_frames

#: Frames of the film.
COUNT = 30
DISC, STAR = "18,34", "115,75"
SHOW = ["--point", f"{DISC}:1", "--point", f"{STAR}:2"]
ALL = ["-o", "x.mp4", "-o", "x.jsonl", "-o", "masks", "-o", "sheet.png"]


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def masks(line: dict) -> dict[int, np.ndarray]:
    return {one["id"]: coco.decode(one["segmentation"]).astype(bool) for one in line["objects"]}


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def files(folder: Path) -> set[str]:
    return {f"{p.relative_to(folder)}" for p in folder.rglob("*") if p.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    """Of every file but videos, which may be cut into parts elsewhere."""
    return {name: (folder / name).read_bytes() for name in files(folder) if ".mp4" not in name}


def frame_count(video: Path) -> int:
    with open_frames(video) as frames:
        index = 0
        try:
            while True:
                frames.read(index)
                index += 1
        except IndexError:
            return index
