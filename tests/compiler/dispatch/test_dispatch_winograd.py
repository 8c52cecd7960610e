"""DispatchConv and Winograd's algorithm: which convolutions take it, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

from sam3_tvm.arithmetic import storing
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()
op, nn = relax.op, relax.op.nn


def _module(channels: tuple[int, int], size: tuple[int, int], kernel: int = 3, **attrs):
    """``main(x, weight, bias)``: relu(conv(x) + bias)."""
    i, o = channels
    bb = relax.BlockBuilder()
    shapes = [(tirx.Var("b", "int64"), i, *size), (o, i, kernel, kernel), (o,)]
    x, w, bias = (
        relax.Var(name, relax.TensorType(shape, "float32"))
        for name, shape in zip(("x", "w", "bias"), shapes, strict=True)
    )
    with bb.function("main", [x, w, bias], attrs={"num_input": 1}):
        with bb.dataflow():
            y = op.add(nn.conv2d(x, w, **attrs), op.reshape(bias, (1, -1, 1, 1)))
            out = bb.emit_output(nn.relu(y))
        bb.emit_func_output(out)
    return bb.get()


def _kernels(mod: tvm.IRModule) -> list[str]:
    return [g.name_hint for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)]


@pytest.mark.parametrize("size", [72, 144, 288])
@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_the_convolutions_of_the_neck_take_it(size: int, weights: str) -> None:
    mod = _module((256, 256), (size, size), padding=1)
    (gvar,) = mod.get_global_vars()
    mod[gvar] = with_arithmetic(mod[gvar], storing(weights))
    mod = DispatchConv(TARGET)(mod)
    suffix = "" if weights == "float32" else f"_{weights}"
    assert _kernels(mod) == [f"conv3x3_winograd_256x256_{size}x{size}_bias_relu{suffix}"]


@pytest.mark.parametrize(
    ("channels", "size", "kernel", "attrs", "name"),
    [
        ((256, 256), (12, 12), 3, {"padding": 1}, "conv3x3_256x256_12x12_bias_relu"),
        ((3, 64), (72, 72), 3, {"padding": 1}, "conv3x3_3x64_72x72_bias_relu"),
        (
            (256, 256),
            (72, 72),
            3,
            {"padding": 1, "strides": 2},
            "conv3x3_256x256_72x72_bias_relu",
        ),
        ((256, 256), (72, 72), 5, {"padding": 2}, "conv5x5_256x256_72x72_bias_relu"),
    ],
    ids=["few pixels", "few channels", "strided", "5x5"],
)
def test_others_are_summed_directly(channels, size, kernel, attrs, name) -> None:
    mod = DispatchConv(TARGET)(_module(channels, size, kernel, **attrs))
    assert _kernels(mod) == [name]


def test_numbers_are_those_of_the_operators() -> None:
    mod = _module((64, 72), (41, 47), padding=1)
    dispatched = DispatchConv(TARGET)(mod)
    assert _kernels(dispatched) == ["conv3x3_winograd_64x72_41x47_bias_relu"]
    plain, ours = (
        relax.VirtualMachine(generate(m, TARGET), tvm.cpu())
        for m in (relax.transform.LegalizeOps()(mod), dispatched)
    )
    rng = np.random.default_rng(0)
    w, bias = rng.standard_normal((72, 64, 3, 3)) / 24, rng.standard_normal(72)
    for batch in (1, 3):
        x = rng.standard_normal((batch, 64, 41, 47))
        inputs = [tvm.runtime.tensor(a.astype("float32")) for a in (x, w, bias)]
        want, got = (vm["main"](*inputs).numpy() for vm in (plain, ours))
        error, scale = np.abs(got - want).max(), np.abs(want).max()
        assert error <= 4e-6 * scale, f"max error {error:.2e} at values up to {scale:.2e}"
