"""The attention kernel against NumPy: awkward sizes, biases, masks, layouts, CPU levels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from kernel_testing import FIRST_HIGHEST, assert_close, compiled, empty

from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.attention.bias import Separable
from sam3_tvm.compiler.kernels.attention.operands import Layout
from sam3_tvm.compiler.targets.cpu import CpuTarget


def reference(q, k, v, scale, bias=None):
    """[B, L, H, D] in float64; a row without any finite score gives zeros."""
    q, k, v = (np.moveaxis(a.astype("float64"), 2, 1) for a in (q, k, v))
    scores = q @ np.swapaxes(k, -1, -2) * scale
    if bias is not None:
        scores = scores + bias
    top = np.maximum(scores.max(-1, keepdims=True, initial=-np.inf), -1e300)
    weights = np.exp(scores - top)
    total = weights.sum(-1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return np.moveaxis(weights @ v, 1, 2)


def check(level, spec, sizes, bias=None, spread=1.0, tolerance=1e-5):
    """Run every (batch, queries, keys) through one compiled kernel; ``bias(rng, b, n, m)``."""
    target = CpuTarget.parse(level)
    kernel = compiled(attention_kernel(target, spec), target)
    rng = np.random.default_rng(spec.head_dim)
    for b, n, m in sizes:
        q, k, v = (
            spread * rng.standard_normal((b, length, spec.heads, dim), dtype="float32")
            for length, dim in ((n, spec.head_dim), (m, spec.head_dim), (m, spec.value_dim))
        )
        stored = [
            a.transpose(["BLHD".index(axis) for axis in layout.order])
            for a, layout in zip((q, k, v), (spec.query, spec.key, spec.value), strict=True)
        ]
        shape = {"B": b, "L": n, "H": spec.heads, "D": spec.value_dim}
        added = None if bias is None else bias(rng, b, n, m)
        arguments = stored if added is None else [*stored, added]
        got = kernel(*arguments, empty(*(shape[axis] for axis in spec.result.order)))
        got = got.transpose([spec.result.order.index(axis) for axis in "BLHD"])
        assert_close(got, reference(q, k, v, spec.scale, added), tolerance)


SIZES = [(1, 1, 1), (2, 3, 130), (1, 200, 5), (3, 49, 257), (1, 385, 128)]


@pytest.mark.parametrize("head_dim", [8, 20, 64])
def test_awkward_sizes_with_one_compiled_kernel_for_all_lengths(head_dim):
    check("native", AttentionSpec(2, head_dim, head_dim, head_dim**-0.5), SIZES)


@pytest.mark.slow
@pytest.mark.parametrize(("head_dim", "value_dim"), [(1, 1), (3, 5), (256, 256), (16, 100)])
def test_unusual_head_sizes(head_dim, value_dim):
    check("native", AttentionSpec(3, head_dim, value_dim, 0.25), SIZES)


@pytest.mark.parametrize("layout", ["BLHD", "BHLD", "LBHD", "HLBD"])
def test_axes_in_any_order_that_ends_in_components(layout):
    orders = (layout, "BHLD", layout[::-1][1:] + "D", layout)
    spec = AttentionSpec(3, 32, 32, 0.2, *map(Layout, orders))
    check("native", spec, SIZES)


@pytest.mark.slow
@pytest.mark.parametrize(
    "varies",
    [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (0, 1, 1, 0)],
    ids=lambda v: "".join(axis for axis, n in zip("bhqk", v, strict=True) if n) or "scalar",
)
def test_bias_broadcast_along_any_axes(varies):
    def bias(rng, b, n, m):
        shape = [size if on else 1 for size, on in zip((b, 2, n, m), varies, strict=True)]
        return rng.standard_normal(shape, dtype="float32")

    spec = AttentionSpec(2, 16, 16, 0.25, bias=tuple(map(bool, varies)))
    check("native", spec, SIZES, bias)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
@pytest.mark.parametrize(("rows", "columns", "first"), [(1, 1, 0), (9, 17, 1), (12, 11, 3)])
def test_separable_bias_from_the_first_biased_query_on(level, rows, columns, first):
    spec = AttentionSpec(2, 16, 16, 0.25, bias=Separable(rows, columns, first))
    target = CpuTarget.parse(level)
    kernel = compiled(attention_kernel(target, spec), target)
    rng = np.random.default_rng(rows)
    for b, n in [(1, first + 1), (2, 53), (1, 400)]:
        q, k, v = (
            rng.standard_normal((b, length, 2, 16), dtype="float32")
            for length in (n, rows * columns, rows * columns)
        )
        down = 3 * rng.standard_normal((b, n - first, rows, 1, 2), dtype="float32")
        across = 3 * rng.standard_normal((b, n - first, 1, columns, 2), dtype="float32")
        bias = np.zeros((b, n, rows * columns, 2))
        bias[:, first:] = (down + across).reshape(b, n - first, rows * columns, 2)
        got = kernel(q, k, v, down, across, empty(*q.shape))
        assert_close(got, reference(q, k, v, 0.25, bias.transpose(0, 3, 1, 2)), 1e-5)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_masked_keys_and_fully_masked_rows(level):
    def mask(rng, b, n, m):
        bias = np.where(rng.random((b, 1, n, m)) < 0.5, -np.inf, 0).astype("float32")
        bias[:, :, ::3] = -np.inf
        return bias

    spec = AttentionSpec(2, 16, 16, 0.25, bias=(True, False, True, True))
    check(level, spec, SIZES, mask)


def test_mask_of_the_lowest_float_averages_where_all_is_masked():
    # Hugging Face's masks use it instead of -inf; a row of it is a row of equal scores.
    spec = AttentionSpec(1, 8, 8, 1.0, bias=(False, False, True, False))
    target = CpuTarget.native()
    kernel = compiled(attention_kernel(target, spec), target)
    rng = np.random.default_rng(0)
    q = np.zeros((1, 4, 1, 8), "float32")
    k, v = (rng.standard_normal((1, 150, 1, 8), dtype="float32") for _ in range(2))
    lowest = np.full((1, 1, 4, 1), np.finfo("float32").min)
    assert_close(kernel(q, k, v, lowest, empty(1, 4, 1, 8)), np.broadcast_to(v.mean(1), q.shape))


def test_large_scores_do_not_overflow():
    # Scores of 400 are rounded to 3e-5, and so are the logarithms of their weights.
    check("native", AttentionSpec(2, 32, 32, 1.0), [(1, 60, 300)], spread=8.0, tolerance=1e-4)


def test_growing_maximum_rescales_what_was_summed():
    spec = AttentionSpec(1, 8, 8, 1.0, bias=(False, False, False, True))
    check("native", spec, [(1, 5, 1000)], lambda rng, b, n, m: np.float32([[[np.arange(m) / 9]]]))


@pytest.mark.parametrize("causal", ["TopLeft", "BottomRight"])
def test_causal(causal):
    plain = AttentionSpec(2, 16, 16, 0.25)
    target = CpuTarget.native()
    kernel = compiled(attention_kernel(target, dataclasses.replace(plain, causal=causal)), target)
    rng = np.random.default_rng(0)
    for n, m in [(1, 1), (7, 300), (300, 300)]:
        q, k, v = (rng.standard_normal((2, i, 2, 16), dtype="float32") for i in (n, m, m))
        last = np.arange(n)[:, None] + (m - n if causal == "BottomRight" else 0)
        mask = np.where(np.arange(m) <= last, 0, -np.inf)
        assert_close(kernel(q, k, v, empty(*q.shape)), reference(q, k, v, 0.25, mask), 1e-5)


def test_no_keys_give_zeros_and_no_queries_nothing():
    check("native", AttentionSpec(2, 8, 8, 1.0), [(2, 3, 0), (2, 0, 3), (0, 2, 2)])


def test_nan_reaches_the_rows_that_see_it():
    target = CpuTarget.native()
    kernel = compiled(attention_kernel(target, AttentionSpec(1, 8, 8, 1.0)), target)
    q, k, v = np.ones((3, 1, 5, 1, 8), "float32")
    q[0, 2] = np.nan
    got = kernel(q, k, v, empty(*q.shape))
    assert np.isnan(got[0, 2]).all()
    assert np.isfinite(np.delete(got, 2, axis=1)).all()
