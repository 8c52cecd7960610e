"""Normalisation kernels against float64, over awkward sizes and large means."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from kernel_testing import PLAIN_PAIRS, bfloat16_bits

from sam3_tvm.arithmetic import BFLOAT16
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.norm import group_norm_kernel, layer_norm_kernel
from sam3_tvm.compiler.kernels.product.dot import DOTS, FMA, Dot, dot_for
from sam3_tvm.compiler.kernels.product.quantise import quantise_kernel, quantised_width
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()


def _run(func: tvm.tirx.PrimFunc, *arrays: np.ndarray) -> np.ndarray:
    return _call(func, *arrays, np.full_like(arrays[0], np.nan))[-1]


def _call(func: tvm.tirx.PrimFunc, *arrays: np.ndarray) -> list[np.ndarray]:
    """The arrays after it."""
    module = generate(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), TARGET)
    tensors = [*map(tvm.runtime.tensor, arrays)]
    module["main"](*tensors)
    return [tensor.numpy() for tensor in tensors]


def _normalised(x: np.ndarray, epsilon: float) -> np.ndarray:
    """Zero mean and unit variance along the last axis, in float64."""
    x = x.astype("float64")
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)


def _inputs(shape: tuple[int, ...], params: int, offset: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) + offset
    return [a.astype("float32") for a in (x, *rng.standard_normal((2, params)))]


def _assert_close(got: np.ndarray, want: np.ndarray) -> None:
    error = np.abs(got - want).max(initial=0)
    scale = np.abs(want).max(initial=1)
    assert error <= 1e-6 * scale, f"max error {error:.2e} at values up to {scale:.2e}"


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize(("m", "n"), [(5, 1024), (0, 256), (1, 1), (3, 7), (4, 65), (2, 201)])
def test_layer_norm(m: int, n: int, offset: float) -> None:
    x, gamma, beta = _inputs((m, n), n, offset)
    got = _run(layer_norm_kernel(TARGET, n, 1e-5), x, gamma, beta)
    _assert_close(got, _normalised(x, 1e-5) * gamma + beta)


@pytest.mark.parametrize(("m", "n"), [(5, 1024), (0, 64), (17, 35), (33, 64)])
def test_what_layers_multiply_is_the_norm_rounded(m: int, n: int) -> None:
    arrays = _inputs((m, n), n, 3.0)
    want = bfloat16_bits(_run(layer_norm_kernel(TARGET, n, 1e-5), *arrays))
    for dot in {PLAIN_PAIRS, dot_for(TARGET, BFLOAT16)} - {FMA}:
        got = _call(layer_norm_kernel(TARGET, n, 1e-5, dot), *arrays, np.zeros((m, n), "uint16"))
        np.testing.assert_array_equal(got[-1], want)


@pytest.mark.parametrize("dot", [d for d in DOTS["int8"] if d.fits(TARGET)], ids=lambda d: d.a)
@pytest.mark.parametrize(("m", "n"), [(5, 1024), (0, 64), (17, 35), (33, 70)])
def test_what_layers_multiply_is_the_norm_quantised(m: int, n: int, dot: Dot) -> None:
    x, gamma, beta = _inputs((m, n), n, 3.0)
    x[1:2] = 0  # of which beta is left
    width = quantised_width(n, dot.integers)
    empty = [np.full((m, width), 77, dot.a), np.full(m, np.nan, "float32")]
    y = _run(layer_norm_kernel(TARGET, n, 1e-5), x, gamma, beta)
    want = _call(quantise_kernel(TARGET, n, dot.integers), y, *empty)[1:]
    got = _call(layer_norm_kernel(TARGET, n, 1e-5, dot), x, gamma, beta, *empty)[3:]
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_layer_norm_of_equal_values_is_beta() -> None:
    x = np.full((2, 100), 3.7, "float32")
    gamma, beta = np.full((2, 100), 2.0, "float32")[0], np.arange(100, dtype="float32")
    np.testing.assert_allclose(
        _run(layer_norm_kernel(TARGET, 100, 1e-5), x, gamma, beta), [beta, beta], atol=1e-3
    )


@pytest.mark.parametrize("with_relu", [False, True])
@pytest.mark.parametrize(
    ("batch", "channels", "groups", "pixels", "offset"),
    [
        (2, 32, 8, 144, 0.0),
        (1, 12, 4, 35, 1e4),
        (3, 6, 6, 1, 0.0),
        (2, 5, 1, 17, -300.0),
        (0, 8, 2, 9, 0.0),
    ],
)
def test_group_norm(
    batch: int, channels: int, groups: int, pixels: int, offset: float, with_relu: bool
) -> None:
    x, gamma, beta = _inputs((batch, channels, pixels), channels, offset)
    # Channels of one group that lie far apart: their own spread is not the group's.
    x += np.arange(channels, dtype="float32")[:, None]
    got = _run(group_norm_kernel(TARGET, channels, groups, pixels, 1e-5, with_relu), x, gamma, beta)
    flat = _normalised(x.reshape(batch, groups, channels // groups * pixels), 1e-5)
    want = flat.reshape(x.shape) * gamma[:, None] + beta[:, None]
    _assert_close(got, np.maximum(want, 0) if with_relu else want)
