"""PyTorch's antialiased bilinear resize: of 8-bit pictures, bit for bit, and of masks.

The reference resizes on 8-bit values, with the kernel behind ``interpolate(uint8, antialias=True)``
(PyTorch, ``aten/src/ATen/native/cpu/UpSampleKernel.cpp``): a triangle filter as wide as the
scale, first along rows, then along columns, each pass with 16-bit integer weights and rounded
to 8 bits. Pillow's differs by one level in some pixels, since its weights have 22 bits; that is
enough to move masks and boxes by more than compiled arithmetic does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["resize", "resize_mask", "resize_values"]

# Output positions computed together, as one matrix product over the inputs they need.
_BLOCK = 32

# Input lines taken at a time: bounds the memory of a pass over a large picture.
_LINES = 512


def resize(rgb: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The picture at another size.

    Args:
        rgb: uint8, shape [H, W, C].
        height, width: of the result, pixels.

    Returns:
        uint8, shape [height, width, C].
    """
    if rgb.shape[1] != width:
        rgb = _along_rows(rgb, width)
    if rgb.shape[0] != height:
        rgb = _along_rows(rgb.transpose(1, 0, 2), height).transpose(1, 0, 2)
    return np.ascontiguousarray(rgb)


def _along_rows(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize axis 1 of [lines, inputs, C] to ``size``."""
    lines, inputs, channels = picture.shape
    first, weights, precision = _weights(inputs, size)
    out = np.empty((lines, size, channels), np.uint8)
    taps = weights.shape[1]
    half = 1 << (precision - 1)
    # Floating point adds whole numbers exactly, in any order, below 2^24 or 2^53. More than the
    # former is needed where a side shrinks by more than 8.
    single = 255 * int(weights.sum(1).max()) + half < 1 << 24
    exact: type[np.floating] = np.float32 if single else np.float64
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        left = int(first[start])
        right = min(int(first[stop - 1]) + taps, inputs)
        matrix = np.zeros((right - left, stop - start), exact)
        for column, position in enumerate(range(start, stop)):
            at = int(first[position]) - left
            count = min(taps, right - left - at)
            matrix[at : at + count, column] = weights[position, :count]
        for top in range(0, lines, _LINES):
            part = picture[top : top + _LINES, left:right].transpose(0, 2, 1)
            total = np.ascontiguousarray(part, exact) @ matrix
            rounded = np.floor((total + half) * 0.5**precision).clip(0, 255)
            out[top : top + _LINES, start:stop] = rounded.transpose(0, 2, 1)
    return out


def _weights(inputs: int, outputs: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """The triangle filter in integers.

    Returns:
        The first input that each output takes, [outputs]; the weights of that one and the next
        ones, [outputs, taps]; and by how many bits they are scaled up.
    """
    scale = inputs / outputs
    support = max(scale, 1.0)
    centre = scale * (np.arange(outputs) + 0.5)
    # Truncated, not floored, as by a cast in C.
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), inputs)
    position = first[:, None] + np.arange((last - first).max())
    distance = np.abs((position - centre[:, None] + 0.5) * (1 / support))
    real = np.where(position < last[:, None], np.maximum(1 - distance, 0), 0)
    real /= real.sum(1, keepdims=True)
    # As many bits as the largest weight has room for below 2^15.
    precision = 0
    while precision < 22 and int(0.5 + real.max() * (1 << (precision + 1))) < 1 << 15:
        precision += 1
    return first, (0.5 + real * (1 << precision)).astype(np.int64), precision


def resize_mask(mask: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """A mask at another size: where at least half of it lies, by the same filter.

    As for ``interpolate(float32, antialias=True) >= 0.5``, in the order of that kernel, since sums
    of exactly one half are common along straight edges.

    Args:
        mask: bool, shape [H, W].
        height, width: of the result, pixels.

    Returns:
        bool, shape [height, width].
    """
    return resize_values(mask.astype(np.float32), height, width) >= np.float32(0.5)


def resize_values(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """A plane of numbers at another size, by the same filter in single precision.

    Args:
        values: float32, shape [H, W].
        height, width: of the result, pixels.

    Returns:
        float32, shape [height, width].
    """
    if values.shape[1] != width:
        values = _summed_along_rows(values, width)
    if values.shape[0] != height:
        values = _summed_along_rows(np.ascontiguousarray(values.T), height).T
    return np.ascontiguousarray(values)


def _summed_along_rows(values: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Resize axis 1 of [lines, inputs] to ``size``, tap by tap in single precision."""
    one, half = np.float32(1), np.float32(0.5)
    inputs = values.shape[1]
    scale = np.float32(inputs) / np.float32(size)
    support = max(scale, one)
    centre = scale * (np.arange(size).astype(np.float32) + half)
    first = np.maximum((centre - support + half).astype(np.int64), 0)
    last = np.minimum((centre + support + half).astype(np.int64), inputs)
    taps = [first + tap for tap in range(int((last - first).max()))]
    weights = []
    for position in taps:
        distance = np.abs((position.astype(np.float32) - centre + half) * (one / support))
        weights.append(np.where(position < last, np.maximum(one - distance, 0), 0))
    total = np.zeros(size, np.float32)
    for weight in weights:
        total += weight.astype(np.float32)
    out = np.zeros((len(values), size), np.float32)
    for position, weight in zip(taps, weights, strict=True):
        normal = weight.astype(np.float32) / total
        out += normal * values[:, np.minimum(position, inputs - 1)]
    return out
