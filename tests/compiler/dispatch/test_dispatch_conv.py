"""DispatchConv: which convolutions become kernels, what they take along, and the numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tvm
from tvm import relax, tirx

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.memory.weights import lift_params, transform_name
from sam3_tvm.compiler.schedule.schedule_cpu import ScheduleCpu
from sam3_tvm.compiler.targets.cpu import CpuTarget

TARGET = CpuTarget.native()
op, nn = relax.op, relax.op.nn


def _module(build, x_shape, *param_shapes) -> tvm.IRModule:
    """A function ``main(x [b, ...], params...)`` made by ``build``."""
    bb = relax.BlockBuilder()
    b = tirx.Var("b", "int64")
    x = relax.Var("x", relax.TensorType((b, *x_shape), "float32"))
    params = [
        relax.Var(f"p{i}", relax.TensorType(shape, "float32"))
        for i, shape in enumerate(param_shapes)
    ]
    with bb.function("main", [x, *params], attrs={"num_input": 1}):
        with bb.dataflow():
            out = bb.emit_output(bb.normalize(build(x, *params)))
        bb.emit_func_output(out)
    return bb.get()


def _conv(*, bias=True, activation=None, **attrs):
    def build(x, w, b=None):
        y = nn.conv2d(x, w, **attrs)
        if bias:
            y = op.add(y, op.reshape(b, (1, -1, 1, 1)))
        return y if activation is None else getattr(nn, activation)(y)

    return build


def _transpose(*, activation=None, **attrs):
    def build(x, w, b):
        y = op.add(nn.conv2d_transpose(x, w, **attrs), op.reshape(b, (1, -1, 1, 1)))
        return y if activation is None else getattr(nn, activation)(y)

    return build


# name: (function, shape of x without the batch, shapes of the parameters, kernel called)
CASES = {
    "1x1": (_conv(), (12, 6, 8), [(16, 12, 1, 1), (16,)], "conv1x1_12x16_1x48_bias"),
    "3x3": (
        _conv(padding=1, activation="relu"),
        (12, 6, 7),
        [(16, 12, 3, 3), (16,)],
        "conv3x3_12x16_6x7_bias_relu",
    ),
    "3x3 odd channels": (
        _conv(padding=1, bias=False),
        (5, 6, 7),
        [(13, 5, 3, 3)],
        "conv3x3_5x13_6x7",
    ),
    "no bias but relu": (
        _conv(padding=1, bias=False, activation="relu"),
        (5, 6, 7),
        [(8, 5, 3, 3)],
        "conv3x3_5x8_6x7_relu",
    ),
    "patches": (
        _conv(strides=14, bias=False),
        (3, 28, 42),
        [(24, 3, 14, 14)],
        "conv14x14_3x24_28x42",
    ),
    "strided": (
        _conv(strides=2, padding=1),
        (3, 11, 12),
        [(8, 3, 3, 3), (8,)],
        "conv3x3_3x8_11x12_bias",
    ),
    "transposed": (
        _transpose(strides=2, activation="gelu"),
        (12, 5, 7),
        [(12, 9, 2, 2), (9,)],
        "conv_transpose2x2_12x9_5x7_bias_gelu",
    ),
}

# What the kernels aren't made for.
OTHERS = {
    "groups": (_conv(groups=4, padding=1), (8, 6, 7), [(8, 2, 3, 3), (8,)]),
    "NHWC": (
        lambda x, w: nn.conv2d(x, w, data_layout="NHWC", kernel_layout="HWIO"),
        (6, 7, 8),
        [(3, 3, 8, 8)],
    ),
    "transposed 3x3": (_transpose(strides=2), (4, 5, 6), [(4, 8, 3, 3), (8,)]),
    "transposed, stride 1": (_transpose(strides=1), (4, 5, 6), [(4, 8, 2, 2), (8,)]),
    "no convolution": (lambda x, b: op.add(x, b), (4, 5), [(5,)]),
}


def _kernels(mod: tvm.IRModule) -> list[str]:
    return sorted(g.name_hint for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc))


def _dispatch(mod: tvm.IRModule) -> tvm.IRModule:
    return DispatchConv(TARGET)(mod)


def _machine(mod: tvm.IRModule) -> relax.VirtualMachine:
    passes = [
        relax.transform.LegalizeOps(),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        ScheduleCpu(TARGET),
    ]
    with TARGET.tvm_target():
        mod = tvm.transform.Sequential(passes)(mod)
    return relax.VirtualMachine(generate(mod, TARGET), tvm.cpu())


def _tensors(shapes, batch: int) -> list[tvm.runtime.Tensor]:
    rng = np.random.default_rng(batch)
    x, *params = shapes
    arrays = [rng.standard_normal(s).astype("float32") for s in [(batch, *x), *params]]
    return [tvm.runtime.tensor(a) for a in arrays]


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_the_operators(name: str) -> None:
    build, x_shape, params, _ = CASES[name]
    mod = _module(build, x_shape, *params)
    plain, dispatched = _machine(mod), _machine(_dispatch(mod))
    for batch in (1, 3):
        inputs = _tensors([x_shape, *params], batch)
        want = plain["main"](*inputs).numpy()
        got = dispatched["main"](*inputs).numpy()
        assert got.shape == want.shape
        error, scale = np.abs(got - want).max(), np.abs(want).max()
        assert error <= 2e-6 * scale, f"max error {error:.2e} at values up to {scale:.2e}"


@pytest.mark.parametrize("name", CASES)
def test_convolution_bias_and_activation_are_one_kernel(name: str) -> None:
    build, x_shape, params, kernel = CASES[name]
    mod = _dispatch(_module(build, x_shape, *params))
    assert _kernels(mod) == [kernel]
    text = mod["main"].script()
    assert text.count("R.call_tir") == 1
    assert not re.search(r"R\.(nn\.conv|nn\.relu|nn\.gelu|add)", text)


@pytest.mark.parametrize("name", CASES)
def test_weights_are_packed_offline(name: str) -> None:
    build, x_shape, params, _ = CASES[name]
    runtime, transform = lift_params(_dispatch(_module(build, x_shape, *params)), ["main"])
    text = runtime["main"].script()
    assert "permute_dims" not in text
    assert "nn.pad" not in text
    assert "permute_dims" in transform[transform_name("main")].script()


@pytest.mark.parametrize("name", OTHERS)
def test_other_convolutions_are_left_to_legalisation(name: str) -> None:
    build, x_shape, params = OTHERS[name]
    mod = _module(build, x_shape, *params)
    tvm.ir.assert_structural_equal(_dispatch(mod), relax.transform.Normalize()(mod))


def test_a_kernel_as_large_as_its_input_is_a_matrix_product() -> None:
    mod = _module(_conv(activation="relu"), (6, 7, 7), (10, 6, 7, 7), (10,))
    dispatched = _dispatch(mod)
    assert _kernels(dispatched) == []
    text = dispatched["main"].script()
    assert "R.matmul" in text
    assert "R.nn.conv2d" not in text
    plain, machine = _machine(mod), _machine(dispatched)
    for batch in (0, 1, 5):
        inputs = _tensors([(6, 7, 7), (10, 6, 7, 7), (10,)], batch)
        want, got = (m["main"](*inputs).numpy() for m in (plain, machine))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_what_others_use_too_is_not_absorbed() -> None:
    def build(x, w, b):
        y = nn.conv2d(x, w, padding=1)
        z = op.add(y, op.reshape(b, (1, -1, 1, 1)))
        return op.add(nn.relu(z), y)

    mod = _module(build, (4, 5, 6), (8, 4, 3, 3), (8,))
    dispatched = _dispatch(mod)
    assert _kernels(dispatched) == ["conv3x3_4x8_5x6"]
    inputs = _tensors([(4, 5, 6), (8, 4, 3, 3), (8,)], 2)
    want, got = (_machine(m)["main"](*inputs).numpy() for m in (mod, dispatched))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def test_something_added_that_is_no_bias_stays() -> None:
    mod = _module(
        lambda x, w, r: op.add(nn.conv2d(x, w, padding=1), r),
        (4, 5, 6),
        (8, 4, 3, 3),
        (1, 8, 5, 6),
    )
    dispatched = _dispatch(mod)
    assert _kernels(dispatched) == ["conv3x3_4x8_5x6"]
    assert "R.add" in dispatched["main"].script()


def test_an_array_of_the_results_shape_joins_the_kernel() -> None:
    def build(x, w, b):
        y = op.add(nn.conv2d(x, w), op.reshape(b, (1, -1, 1, 1)))
        return nn.relu(op.add(x, y))

    mod = _module(build, (8, 5, 6), (8, 8, 1, 1), (8,))
    dispatched = _dispatch(mod)
    (kernel,) = _kernels(dispatched)
    assert kernel.endswith("_bias_residual_relu")
    assert "R.add" not in dispatched["main"].script()
    inputs = _tensors([(8, 5, 6), (8, 8, 1, 1), (8,)], 2)
    want, got = (_machine(m)["main"](*inputs).numpy() for m in (mod, dispatched))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def _upsampled(reader):
    def build(x, w):
        large = op.image.resize2d(
            x,
            (10, 14),
            layout="NCHW",
            method="nearest_neighbor",
            coordinate_transformation_mode="asymmetric",
            rounding_method="floor",
        )
        return reader(large, w)

    return _module(build, (3, 5, 7), (11, 3, 3, 3))


def test_an_upsampled_picture_is_never_made() -> None:
    mod = _upsampled(lambda large, w: nn.relu(nn.conv2d(large, w, padding=1)))
    dispatched = _dispatch(mod)
    assert _kernels(dispatched) == ["conv_upsampled3x3_3x11_5x7_relu"]
    assert "resize2d" not in dispatched["main"].script()
    for batch in (1, 3):
        inputs = _tensors([(3, 5, 7), (11, 3, 3, 3)], batch)
        want, got = (_machine(m)["main"](*inputs).numpy() for m in (mod, dispatched))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "reader",
    [
        lambda large, w: op.add(
            nn.conv2d(large, w, padding=1), op.mean(large, axis=1, keepdims=True)
        ),
        lambda large, w: nn.conv2d(large, w, padding=0),
        lambda large, w: nn.conv2d(large, w, padding=1, strides=2),
    ],
    ids=["read twice", "no border", "strided"],
)
def test_an_upsampled_picture_that_others_need_stays(reader) -> None:
    dispatched = _dispatch(_upsampled(reader))
    assert [k.split("_")[0] for k in _kernels(dispatched)] == ["conv3x3"]
    assert "resize2d" in dispatched["main"].script()


def test_equal_convolutions_share_a_kernel() -> None:
    def build(x, v, w):
        return nn.conv2d(nn.conv2d(x, v, padding=1), w, padding=1)

    mod = _dispatch(_module(build, (8, 5, 6), (8, 8, 3, 3), (8, 8, 3, 3)))
    assert _kernels(mod) == ["conv3x3_8x8_5x6"]
    assert mod["main"].script().count("R.call_tir") == 2
