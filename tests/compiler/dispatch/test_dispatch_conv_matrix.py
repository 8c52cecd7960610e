"""DispatchConv for a matrix unit (AMX): which convolutions it takes, and the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from conv_testing import convolution
from dispatch_testing import TARGET, build, close, kernels, randoms, run
from kernel_testing import as_bfloat16
from tvm.relax import op as R
from upsampled_testing import definition

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32
from sam3_tvm.compiler.dispatch.conv import DispatchConv
from sam3_tvm.compiler.graph.arithmetic import with_arithmetic
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.targets.cpu import CpuTarget

AMX = CpuTarget.parse("x86-64-v4+avx512bf16+amxbf16")


def conv(**attrs):
    return lambda emit, x, w: R.nn.conv2d(x, w, **attrs)


def transposed(emit, x, w):
    return R.nn.conv2d_transpose(x, w, strides=2)


def doubled(emit, x, w):
    size = [2 * int(extent) for extent in list(x.ty.shape)[2:]]
    large = R.image.resize2d(
        x,
        size,
        layout="NCHW",
        method="nearest_neighbor",
        coordinate_transformation_mode="asymmetric",
        rounding_method="floor",
    )
    return R.nn.conv2d(emit(large), w, padding=1)


CASES = {
    "1x1": (conv(), (64, 6, 8), (40, 64, 1, 1), "conv1x1_64x40_1x48_bfloat16"),
    "3x3": (conv(padding=1), (64, 6, 7), (40, 64, 3, 3), "conv3x3_matrix_64x40_6x7_bfloat16"),
    "patches": (
        conv(strides=14),
        (3, 28, 42),
        (40, 3, 14, 14),
        "conv14x14_matrix_3x40_28x42_bfloat16",
    ),
    "transposed": (
        transposed,
        (64, 5, 7),
        (64, 33, 2, 2),
        "conv_transpose2x2_64x33_5x7_bfloat16",
    ),
    "doubled": (doubled, (64, 5, 7), (40, 64, 3, 3), "conv_parities3x3_64x40_5x7_bfloat16"),
}


def module(name, arithmetic=BFLOAT16):
    body, x, w, kernel = CASES[name]
    mod = build([("x", ("b", *x))], [("w", w)], body)
    return tvm.IRModule({"main": with_arithmetic(mod["main"], arithmetic)}), x, w, kernel


@pytest.mark.parametrize("name", CASES)
def test_whole_tiles_go_by_the_matrix_unit(name):
    mod, _, _, kernel = module(name)
    after = DispatchConv(AMX)(mod)
    assert [n for n in kernels(after) if n.startswith("conv")] == [kernel]
    text = after.script()
    assert "AMXBF16" in text
    assert "tdpbf16ps" in text


@pytest.mark.parametrize("name", CASES)
def test_float32_stays_with_vectors(name):
    mod, *_ = module(name, FLOAT32)
    assert "tdpbf16ps" not in DispatchConv(AMX)(mod).script()


@pytest.mark.parametrize("size", [72, 144, 288])
def test_the_convolutions_of_the_neck_take_it(size):
    mod = build([("x", ("b", 256, size, size))], [("w", (256, 256, 3, 3))], conv(padding=1))
    mod = tvm.IRModule({"main": with_arithmetic(mod["main"], BFLOAT16)})
    names = {
        target: kernels(DispatchConv(CpuTarget.parse(target))(mod))[-1]
        for target in (AMX.name, "x86-64-v4+avx512bf16")
    }
    assert names == {
        AMX.name: f"conv3x3_matrix_256x256_{size}x{size}_bfloat16",
        "x86-64-v4+avx512bf16": f"conv3x3_winograd_256x256_{size}x{size}_bfloat16",
    }


@pytest.mark.cpu("AMXBF16")
@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_rounded_operands(name):
    mod, x, w, _ = module(name)
    after = DispatchConv(TARGET)(mod)
    x, w = randoms((2, *x), w)
    if name == "doubled":
        # Its weights are rounded after they are added.
        exact = definition(x, w)
        error = run(after, x, w) - exact
        assert 1e-4 < np.sqrt(np.mean(error**2) / np.mean(exact**2)) < 4e-3
        return
    if name == "transposed":
        want = np.einsum("iojk,bihw->bohjwk", as_bfloat16(w), as_bfloat16(x))
        want = want.reshape(2, 33, 10, 14)
    else:
        (out, channels, *kernel), (*_, height, width) = w.shape, x.shape
        patches = name == "patches"
        shape = ConvShape(
            channels,
            out,
            height,
            width,
            tuple(kernel),
            (14, 14) if patches else (1, 1),
            (1, 1, 1, 1) if name == "3x3" else (0, 0, 0, 0),
        )
        want = convolution(as_bfloat16(x), as_bfloat16(w), shape)
    close(run(after, x, w), want)
