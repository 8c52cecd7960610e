"""DecomposeLayerNorm: the operators that it leaves, and the numbers."""

# TVMScript classes hold functions, not methods.
# ruff: noqa: N805

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, tirx
from tvm.script import ir as I
from tvm.script import relax as R

from sam3_tvm.compiler.algebra.decompose_layer_norm import DecomposeLayerNorm
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native().tvm_target()


def test_a_layer_norm_becomes_elementary_operators() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(
            x: R.Tensor(("b", 8, 32), "float32"),
            gamma: R.Tensor((32,), "float32"),
            beta: R.Tensor((32,), "float32"),
        ):
            with R.dataflow():
                y = R.nn.layer_norm(x, gamma, beta, axes=[-1], epsilon=1e-6)
                R.output(y)
            return y

    @I.ir_module
    class Expected:
        @R.function
        def main(
            x: R.Tensor(("b", 8, 32), "float32"),
            gamma: R.Tensor((32,), "float32"),
            beta: R.Tensor((32,), "float32"),
        ):
            with R.dataflow():
                mean = R.mean(x, axis=[2], keepdims=True)
                deviation = R.subtract(x, mean)
                square = R.multiply(deviation, deviation)
                variance = R.mean(square, axis=[2], keepdims=True)
                shifted = R.add(variance, R.const(1e-6, "float32"))
                scale = R.rsqrt(shifted)
                normalised = R.multiply(deviation, scale)
                scaled = R.multiply(normalised, gamma)
                y = R.add(scaled, beta)
                R.output(y)
            return y

    tvm.ir.assert_structural_equal(DecomposeLayerNorm()(Before), Expected)


def test_functions_without_layer_norm_stay() -> None:
    @I.ir_module
    class Before:
        @R.function
        def main(x: R.Tensor(("b", 8), "float32")):
            with R.dataflow():
                y = R.nn.softmax(x)
                R.output(y)
            return y

    tvm.ir.assert_structural_equal(DecomposeLayerNorm()(Before), Before)


def _module(shape, param_shape, axes, dtype="float32", **flags) -> tvm.IRModule:
    bb = relax.BlockBuilder()
    b = tirx.Var("b", "int64")
    args = [
        relax.Var("x", relax.TensorType([b if d == "b" else d for d in shape], dtype)),
        *(relax.Var(n, relax.TensorType(param_shape, dtype)) for n in ("gamma", "beta")),
    ]
    with bb.function("main", args):
        with bb.dataflow():
            out = bb.emit_output(relax.op.nn.layer_norm(*args, axes=axes, epsilon=1e-5, **flags))
        bb.emit_func_output(out)
    return bb.get()


CASES = {
    "last axis": (("b", 5, 64), (64,), [-1], {}),
    "two axes": (("b", 6, 10), (6, 10), [-2, -1], {}),
    "inner axis": (("b", 12, 5), (12,), [1], {}),
    "no scale": (("b", 64), (64,), [-1], {"scale": False}),
    "no shift": (("b", 64), (64,), [-1], {"center": False}),
}


def _run(mod: tvm.IRModule, *arrays: np.ndarray) -> np.ndarray:
    mod = DecomposeLayerNorm()(mod)
    assert "layer_norm" not in mod.script()
    machine = relax.VirtualMachine(tvm.compile(mod, TARGET), tvm.cpu())
    return machine["main"](*map(tvm.runtime.tensor, arrays)).numpy()


def _expected(x, gamma, beta, axes, center=True, scale=True) -> np.ndarray:
    x = x.astype("float64")
    axes = tuple(a % x.ndim for a in axes)
    shape = [x.shape[i] if i in axes else 1 for i in range(x.ndim)]
    variance = x.var(axes, keepdims=True)
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(variance + 1e-5)
    y = y * gamma.reshape(shape) if scale else y
    return y + beta.reshape(shape) if center else y


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_definition(name: str) -> None:
    shape, param_shape, axes, flags = CASES[name]
    rng = np.random.default_rng(0)
    sizes = [[3 if d == "b" else d for d in shape], param_shape, param_shape]
    x, gamma, beta = (rng.standard_normal(s).astype("float32") for s in sizes)
    got = _run(_module(shape, param_shape, axes, **flags), x, gamma, beta)
    want = _expected(x, gamma, beta, axes, **flags)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_large_mean_does_not_cancel_the_variance() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 256)) + 1e4).astype("float32")
    gamma, beta = np.ones(256, "float32"), np.zeros(256, "float32")
    got = _run(_module(("b", 256), (256,), [-1]), x, gamma, beta)
    # What remains is the rounding of the mean itself: half a step of float32 at 1e4.
    assert np.abs(got - _expected(x, gamma, beta, [-1])).max() < 5e-3
    one_pass = (x * x).mean(-1) - x.mean(-1) ** 2
    assert np.abs(one_pass - 1).max() > 0.1, "the offset no longer tells the formulas apart"


def test_half_precision_is_computed_in_float32() -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 64)) * 300).astype("float16")
    gamma, beta = np.ones(64, "float16"), np.zeros(64, "float16")
    got = _run(_module(("b", 64), (64,), [-1], "float16"), x, gamma, beta)
    assert got.dtype == np.float16
    # Squares of 300 lie beyond float16's largest value, 65504.
    np.testing.assert_allclose(got, _expected(x, gamma, beta, [-1]), atol=2e-3)
