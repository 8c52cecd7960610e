"""Convolutions by definition."""

from __future__ import annotations

import numpy as np

from sam3_tvm.compiler.kernels.conv.shape import ConvShape


def convolution(x: np.ndarray, w: np.ndarray, shape: ConvShape) -> np.ndarray:
    """The definition, in float64: one tap after the other."""
    top, left, bottom, right = shape.padding
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))
    out = np.zeros((len(x), shape.out_channels, shape.out_height, shape.out_width))
    for i in range(shape.kernel[0]):
        for j in range(shape.kernel[1]):
            y0, x0 = i * shape.dilation[0], j * shape.dilation[1]
            seen = padded[
                :,
                :,
                y0 : y0 + shape.stride[0] * (shape.out_height - 1) + 1 : shape.stride[0],
                x0 : x0 + shape.stride[1] * (shape.out_width - 1) + 1 : shape.stride[1],
            ]
            out += np.einsum("bihw,oi->bohw", seen, w[:, :, i, j].astype("float64"))
    return out
