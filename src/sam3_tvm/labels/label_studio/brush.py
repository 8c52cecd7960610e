"""The run lengths of Label Studio's brush.

A stream of bits, most significant first, of the picture's values R, G, B, A, pixel after pixel, row
after row. It begins with the number of values (32 bits), the bits of a value less one (5), and four
sizes of lengths, in bits less one (4 each). Then come runs: a bit 1, which size the length has (2),
the length less one, the value. (A bit 0 would be followed by as many values as the length says.)
The format is that of ``@thi.ng/rle-pack``, which Label Studio reads it with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["encode"]

_CHANNELS = 4
_VALUE_BITS = 8
_SIZES = (3, 4, 8, 16)

# The longest token: a bit, which size, the longest length, the value.
_MOST_BITS = 1 + 2 + _SIZES[-1] + _VALUE_BITS


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """A mask as ``value.rle`` of a region; pixels of it are 255 in all channels, others 0.

    Args:
        mask: bool [H, W].

    Returns:
        Bytes, 0 to 255.
    """
    lengths, values = _runs(mask)
    size = np.searchsorted(1 << np.array(_SIZES), lengths)
    bits = np.array(_SIZES)[size]
    tokens = (((1 << 2 | size) << bits | lengths - 1) << _VALUE_BITS) | values
    widths = 1 + 2 + bits + _VALUE_BITS
    places = np.arange(_MOST_BITS)
    # Each token's bits from the left; what lies beyond its width is left out.
    spread = (tokens << _MOST_BITS - widths)[:, None] >> _MOST_BITS - 1 - places & 1
    stream = spread[places < widths[:, None]].astype(np.uint8)
    return np.packbits(np.concatenate([_head(mask.size * _CHANNELS), stream])).tolist()


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths and values of runs, none longer than can be said."""
    flat = mask.ravel()
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, flat.size)
    lengths = np.diff(ends, prepend=0) * _CHANNELS
    values = np.where(flat[ends - 1], 255, 0)
    most = 1 << _SIZES[-1]
    pieces = -(-lengths // most)
    cut = np.full(int(pieces.sum()), most, np.int64)
    cut[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * most
    return cut, np.repeat(values, pieces)


def _head(count: int) -> NDArray[np.uint8]:
    said = f"{count:032b}{_VALUE_BITS - 1:05b}" + "".join(f"{size - 1:04b}" for size in _SIZES)
    return np.frombuffer(said.encode(), np.uint8) - ord("0")
