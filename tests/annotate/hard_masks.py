"""Masks that formats get wrong, pictures for them, and a finder that finds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sam3_tvm.annotate import AnnotatedObject
from sam3_tvm.runtime.pictures.masks import coco_entry

CATEGORIES = ("thing", 'a "näme": #1')


def drawn(*rows: str) -> np.ndarray:
    return np.array([[c == "#" for c in row] for row in rows])


def hard_masks() -> dict[str, np.ndarray]:
    """By what is hard about them, bool [24, 31] each."""
    y, x = np.mgrid[:24, :31]
    ring = (np.hypot(x - 14, y - 11) < 10) & (np.hypot(x - 14, y - 11) > 4)
    rng = np.random.default_rng(5)
    return {
        "everything": np.ones((24, 31), bool),
        "a ring": ring,
        "an island in a hole": ring | (np.hypot(x - 14, y - 11) < 2),
        "many holes": ring & ~((x % 3 == 1) & (y % 3 == 1)),
        "one pixel": (x == 7) & (y == 5),
        "pixels of their own": (x % 4 == 1) & (y % 5 == 2),
        "the corner pixels": ((x == 0) | (x == 30)) & ((y == 0) | (y == 23)),
        "corners that touch": (x + y) % 2 == 0,
        "a diagonal": x == y,
        "the other diagonal": x + y == 23,
        "a line": (y == 9) & (x > 3),
        "a hole at a corner": placed(drawn("####", "#.##", "##.#", "####")),
        "rings in rings": placed(np.minimum.reduce([x, y, 22 - x, 22 - y])[:23, :23] % 2 == 0),
        "noise": rng.random((24, 31)) < 0.5,
        "dense noise": rng.random((24, 31)) < 0.85,
    }


def placed(mask: np.ndarray, at: tuple[int, int] = (1, 2)) -> np.ndarray:
    made = np.zeros((24, 31), bool)
    made[at[0] : at[0] + mask.shape[0], at[1] : at[1] + mask.shape[1]] = mask
    return made


class MaskFinder:
    """Finds masks by the picture's first value; the picture has their size."""

    def __init__(self, masks: dict[int, list[np.ndarray]]) -> None:
        self.masks = masks
        self.categories = CATEGORIES
        self.seen: list[int] = []
        self.told = {"the threshold": 0.5}

    def __call__(self, rgb):
        number = int(rgb[0, 0, 0])
        self.seen.append(number)
        for place, mask in enumerate(self.masks[number]):
            entry = coco_entry(mask)
            x, y, w, h = entry["bbox"]
            yield AnnotatedObject(
                "some phrase",
                CATEGORIES[place % 2],
                round(0.99 - place / 2000, 4),
                (x, y, x + w, y + h),
                entry["area"],
                entry["segmentation"]["counts"],
            )

    def settings(self):
        return self.told


NAMES = ("a b.png", "sub/ä.png", "sub/images/x.png", "a b.bmp", "empty.png", "crowd.png")


def write_pictures(folder: Path, crowd: int = 20) -> MaskFinder:
    """Pictures of six names, and what finds their masks: the hard ones in the first, four each in
    three more, none in the fifth, a crowd in the last."""
    hard = list(hard_masks().values())
    y, x = np.mgrid[:60, :80]
    many = [x // 2 + y // 2 * 40 == number for number in range(crowd)]
    masks = {1: hard, 2: hard[:4], 3: hard[4:8], 4: hard[8:12], 5: [], 6: many}
    for number, name in enumerate(NAMES, 1):
        size = (60, 80) if number == 6 else (24, 31)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*size, 3), number, np.uint8)).save(path)
    return MaskFinder(masks)
