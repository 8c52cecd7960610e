"""DispatchNorm: which normalisations become kernels, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.dispatch.norm import DispatchNorm
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()
op, nn = relax.op, relax.op.nn


def _module(build, x_shape, params: int, dtype: str = "float32") -> tvm.IRModule:
    bb = relax.BlockBuilder()
    b = tirx.Var("b", "int64")
    shape = [b if d == "b" else d for d in x_shape]
    args = [
        relax.Var("x", relax.TensorType(shape, dtype)),
        *(relax.Var(name, relax.TensorType((params,), dtype)) for name in ("gamma", "beta")),
    ]
    with bb.function("main", args):
        with bb.dataflow():
            out = bb.emit_output(bb.normalize(build(*args)))
        bb.emit_func_output(out)
    return bb.get()


def _layer_norm(x, gamma, beta):
    return nn.layer_norm(x, gamma, beta, axes=[-1], epsilon=1e-6)


def _group_norm(x, gamma, beta):
    return nn.group_norm(x, gamma, beta, 4, channel_axis=1, axes=[2, 3])


# name: (function, shape of x, parameters, kernel)
CASES = {
    "layer norm": (_layer_norm, ("b", 9, 100), 100, "layer_norm_100"),
    "layer norm of pictures": (_layer_norm, ("b", 3, 4, 32), 32, "layer_norm_32"),
    "layer norm of vectors": (_layer_norm, (16,), 16, "layer_norm_16"),
    "group norm": (_group_norm, ("b", 8, 5, 7), 8, "group_norm_8x35_by_4"),
    "group norm and relu": (
        lambda x, g, b: nn.relu(_group_norm(x, g, b)),
        ("b", 8, 5, 7),
        8,
        "group_norm_8x35_by_4_relu",
    ),
}

OTHERS = {
    "layer norm of two axes": (
        lambda x, g, b: nn.layer_norm(
            x, op.broadcast_to(g, (6, 6)), op.broadcast_to(b, (6, 6)), axes=[-2, -1]
        ),
        ("b", 6, 6),
        6,
    ),
    "layer norm of an inner axis": (
        lambda x, g, b: nn.layer_norm(x, g, b, axes=[1]),
        ("b", 6, 5),
        6,
    ),
    "group norm with channels last": (
        lambda x, g, b: nn.group_norm(x, g, b, 2, channel_axis=3, axes=[1, 2]),
        ("b", 5, 7, 8),
        8,
    ),
    "no normalisation": (lambda x, g, b: op.add(op.multiply(x, g), b), ("b", 8), 8),
}


def _kernels(mod: tvm.IRModule) -> list[str]:
    return [g.name_hint for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)]


def _run(mod: tvm.IRModule, *arrays: np.ndarray) -> np.ndarray:
    machine = relax.VirtualMachine(generate(mod, TARGET), tvm.cpu())
    return machine["main"](*map(tvm.runtime.tensor, arrays)).numpy()


def _inputs(x_shape, params: int, batch: int) -> list[np.ndarray]:
    rng = np.random.default_rng(batch)
    shape = [batch if d == "b" else d for d in x_shape]
    return [rng.standard_normal(s).astype("float32") for s in (shape, params, params)]


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_replaces_the_operator(name: str) -> None:
    build, x_shape, params, kernel = CASES[name]
    mod = _module(build, x_shape, params)
    dispatched = DispatchNorm(TARGET)(mod)
    assert _kernels(dispatched) == [kernel]
    text = dispatched["main"].script()
    assert "R.nn." not in text
    inputs = _inputs(x_shape, params, 2)
    np.testing.assert_allclose(_run(dispatched, *inputs), _run(mod, *inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_left_to_legalisation(name: str) -> None:
    build, x_shape, params = OTHERS[name]
    mod = _module(build, x_shape, params)
    tvm.ir.assert_structural_equal(DispatchNorm(TARGET)(mod), relax.transform.Normalize()(mod))


def test_half_precision_is_left_to_legalisation() -> None:
    mod = _module(_layer_norm, ("b", 32), 32, "float16")
    assert _kernels(DispatchNorm(TARGET)(mod)) == []


def test_a_group_norm_that_others_use_too_keeps_its_relu_apart() -> None:
    def build(x, g, b):
        y = _group_norm(x, g, b)
        return op.add(nn.relu(y), y)

    mod = _module(build, ("b", 8, 5, 7), 8)
    dispatched = DispatchNorm(TARGET)(mod)
    assert _kernels(dispatched) == ["group_norm_8x35_by_4"]
    assert "R.nn.relu" in dispatched["main"].script()
    inputs = _inputs(("b", 8, 5, 7), 8, 3)
    np.testing.assert_allclose(_run(dispatched, *inputs), _run(mod, *inputs), rtol=1e-5, atol=1e-5)


def test_an_empty_batch_gives_an_empty_result() -> None:
    for name in ("layer norm", "group norm"):
        build, x_shape, params, _ = CASES[name]
        got = _run(
            DispatchNorm(TARGET)(_module(build, x_shape, params)), *_inputs(x_shape, params, 0)
        )
        assert got.shape == tuple(0 if d == "b" else d for d in x_shape)
