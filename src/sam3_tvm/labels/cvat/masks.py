"""A mask as CVAT has it: run lengths of its box, and the box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode"]


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """The ``points`` of a shape of the type ``"mask"``.

    Args:
        mask: bool [H, W], not empty.

    Returns:
        Lengths of what isn't the mask and of what is, by turns, row after row of the mask's box;
        then the box's first column and row, its last column and row.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]
    flat = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths: list[int] = np.diff(ends, prepend=0).tolist()
    return [*([0] if flat[0] else []), *lengths, *box]
