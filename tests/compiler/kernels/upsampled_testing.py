"""Convolutions over doubled pictures by definition, and their weights as kernels take them."""

from __future__ import annotations

import numpy as np

from sam3_tvm.compiler.kernels.conv.upsampled import COLUMN_TERMS, ROW_TERMS


def definition(x, w):
    """In float64: every pixel four times, one zero around, one tap after the other."""
    up = x.astype("float64").repeat(2, axis=2).repeat(2, axis=3)
    height, width = up.shape[2:]
    up = np.pad(up, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(
        np.einsum("bihw,oi->bohw", up[:, :, i : i + height, j : j + width], w[:, :, i, j])
        for i in range(3)
        for j in range(3)
    )


def upsampled_rows(w, r):
    """Nine products for every r output channels, [ceil(O / r) * 9 r, I], of w [O, I, 3, 3]."""
    count, depth = w.shape[:2]
    products = np.einsum("im,jn,okmn->oijk", ROW_TERMS, COLUMN_TERMS, w).reshape(count, 9, depth)
    padded = np.pad(products, ((0, -count % r), (0, 0), (0, 0)))
    rows = padded.reshape(-1, r, 9, depth).transpose(0, 2, 1, 3).reshape(-1, depth)
    return rows.astype("float32")


def parity_rows(w, r):
    """Four parities for every r output channels, [ceil(O / r) * 4 r, 4 I], of w [O, I, 3, 3].

    Weight m of the output 2 t + p reads pixel (2 t + p + m - 1) // 2, which is t + p + tap - 1."""
    count, depth = w.shape[:2]
    reads = np.zeros((2, 2, 3))
    for p in range(2):
        for m in range(3):
            reads[p, (p + m - 1) // 2 + 1 - p, m] = 1
    parities = np.einsum("ptm,qsn,okmn->opqtsk", reads, reads, w).reshape(count, 4, 4 * depth)
    padded = np.pad(parities, ((0, -count % r), (0, 0), (0, 0)))
    rows = padded.reshape(-1, r, 4, 4 * depth).transpose(0, 2, 1, 3).reshape(-1, 4 * depth)
    return rows.astype("float32")
