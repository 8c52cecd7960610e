"""Attention over operands that share an array, lie in windows of a map, or are rotated."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, assert_close, compiled, empty

from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.attention.operands import Layout, Windows
from sam3_tvm.compiler.targets.cpu import CpuTarget

HEADS = 3


def attend(q, k, v, scale):
    """softmax(q k^T scale) v of [B, L, H, D], in float64."""
    q, k, v = (np.moveaxis(a.astype("float64"), 2, 1) for a in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) * scale
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.moveaxis(weights @ v / weights.sum(-1, keepdims=True), 1, 2)


def rotate(x, angles):
    """Neighbouring components of [B, L, H, D] turned by angles [L, D / 2], in float64."""
    turned = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def rotary_table(angles):
    cosine, sine = (np.repeat(f(angles), 2, axis=-1) for f in (np.cos, np.sin))
    sine[:, ::2] *= -1
    return np.stack([cosine, sine], 1).astype("float32")


def partition(x, windows):
    """[images, rows of the map, ...] to [images * windows, rows of a window, ...]."""
    w, rest = windows, x.shape[2:]
    x = x.reshape(-1, w.down, w.height, w.across, w.width, *rest)
    return np.swapaxes(x, 2, 3).reshape(-1, w.size, *rest)


def unpartition(x, windows):
    w, rest = windows, x.shape[2:]
    x = x.reshape(-1, w.down, w.across, w.height, w.width, *rest)
    return np.swapaxes(x, 2, 3).reshape(-1, w.count * w.size, *rest)


def check(level, dim, windows, images, length, rotary=False):
    """Queries, keys and values in one array [images, rows, 3, H, D]."""
    target, scale = CpuTarget.parse(level), dim**-0.5
    q, k, v = (Layout(slots=3, slot=slot, windows=windows) for slot in range(3))
    spec = AttentionSpec(HEADS, dim, dim, scale, q, k, v, Layout(windows=windows), rotary=rotary)
    kernel = compiled(attention_kernel(target, spec), target)
    rng = np.random.default_rng(dim)
    rows = length if windows is None else windows.count * windows.size
    packed = rng.standard_normal((images, rows, 3, HEADS, dim), dtype="float32")
    parts = [
        packed[:, :, i] if windows is None else partition(packed[:, :, i], windows)
        for i in (0, 1, 2)
    ]
    tables = []
    if rotary:
        angles = rng.uniform(-3, 3, (parts[0].shape[1], dim // 2))
        parts[:2] = (rotate(part.astype("float64"), angles) for part in parts[:2])
        tables = [rotary_table(angles)]
    want = attend(*parts, scale)
    want = want if windows is None else unpartition(want, windows)

    def in_memory(layout, x):
        return x.reshape(layout.shape(images, windows.height if windows else rows, HEADS, dim))

    stored = in_memory(q, packed)
    result = in_memory(spec.result, empty(images, rows, HEADS, dim))
    got = kernel(stored, stored, stored, *tables, result)
    assert_close(got.reshape(want.shape), want, 1e-5)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_queries_keys_and_values_in_one_array(level):
    check(level, 16, None, 2, 131)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize(
    "windows", [Windows(3, 3, 4, 4), Windows(2, 3, 7, 11), Windows(1, 1, 1, 5)], ids=str
)
def test_windows_of_a_map(windows, rotary):
    check("native", 32, windows, 2, 0, rotary)


@pytest.mark.parametrize("dim", [2, 6, 20, 64])
def test_rotated_queries_and_keys(dim):
    check("native", dim, None, 1, 77, rotary=True)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_levels_that_run_here(level):
    check(level, 16, Windows(2, 2, 5, 3), 1, 0, rotary=True)


def test_layouts_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="not BLHD"):
        Layout("BHLD", windows=Windows(1, 1, 1, 1))
    with pytest.raises(ValueError, match="slot 3 of 3"):
        Layout(slots=3, slot=3)
