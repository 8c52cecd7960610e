"""The Winograd convolution against the definition, over awkward sizes, with derived bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from kernel_testing import LEVELS

from sam3_tvm.arithmetic import storing
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.conv.winograd import conv_winograd_kernel, conv_winograd_name
from sam3_tvm.compiler.kernels.conv.winograd_matrices import (
    transform_input,
    transform_output,
    transform_taps,
)
from sam3_tvm.compiler.kernels.conv.winograd_plan import plan_winograd, winograd_pays
from sam3_tvm.compiler.kernels.emit import kernel, load, store, tensor
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.targets.cpu import CpuTarget

NATIVE = CpuTarget.native()
ONE = (1, 1, 1, 1)

SHAPES = {
    "one pixel": ConvShape(5, 3, 1, 1, (3, 3), padding=ONE),
    "less than a tile": ConvShape(5, 13, 3, 5, (3, 3), padding=ONE),
    "odd": ConvShape(40, 17, 17, 23, (3, 3), padding=ONE),
    "no padding": ConvShape(40, 17, 17, 23, (3, 3)),
    "one output": ConvShape(7, 9, 3, 3, (3, 3)),
    "lopsided": ConvShape(9, 30, 10, 9, (3, 3), padding=(2, 0, 1, 3)),
    "rows of tiles end inside of vectors": ConvShape(24, 24, 72, 72, (3, 3), padding=ONE),
    "rows of tiles longer than a block": ConvShape(3, 8, 5, 301, (3, 3), padding=ONE),
    "256 channels": ConvShape(256, 70, 9, 20, (3, 3), padding=ONE),
}
EPILOGUES = [
    Epilogue(),
    Epilogue(True, "relu"),
    Epilogue(True, "gelu", residual="before"),
    Epilogue(residual="before"),
]


def _padded(x: np.ndarray, shape: ConvShape) -> np.ndarray:
    top, left, bottom, right = shape.padding
    return np.pad(x.astype("float64"), ((0, 0), (0, 0), (top, bottom), (left, right)))


def _conv(x: np.ndarray, w: np.ndarray, shape: ConvShape) -> np.ndarray:
    """The definition, in float64: one tap after the other."""
    padded, height, width = _padded(x, shape), shape.out_height, shape.out_width
    out = np.zeros((len(x), shape.out_channels, height, width))
    for i in range(3):
        for j in range(3):
            seen = padded[:, :, i : i + height, j : j + width]
            out += np.einsum("bihw,oi->bohw", seen, w[:, :, i, j].astype("float64"))
    return out


def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A^T [4, 6], G [6, 3] and B^T [6, 6] by Toom and Cook's construction."""
    points = [0, 5 / 8, -5 / 8, 3 / 2, -3 / 2]
    others = [[q for q in points if q != p] for p in points]
    norms = [math.prod(p - q for q in rest) for p, rest in zip(points, others, strict=True)]
    a = np.array([[p**i for p in points] + [float(i == 3)] for i in range(4)])
    g = [[p**j / n for j in range(3)] for p, n in zip(points, norms, strict=True)]
    b = [[*np.poly(rest)[::-1], 0] for rest in others]
    return a, np.array([*g, [0, 0, 1]]), np.array([*b, np.poly(points)[::-1]])


def _bound(x: np.ndarray, w: np.ndarray, shape: ConvShape) -> np.ndarray:
    """What rounding can do to each output: (roundings on the way) / 2^24 of the sum of all
    products' magnitudes (Barabasz et al., 2020, theorem 1).

    A value is rounded at most 5 times by a one-dimensional transform of inputs or weights and 5
    times by one of outputs, once by its product and once per channel by the sum.
    """
    a, g, b = map(np.abs, _matrices())
    down, across = -(-shape.out_height // 4), -(-shape.out_width // 4)
    padded = np.abs(_padded(x, shape))
    more = (4 * down + 2 - padded.shape[2], 4 * across + 2 - padded.shape[3])
    padded = np.pad(padded, ((0, 0), (0, 0), (0, max(0, more[0])), (0, max(0, more[1]))))
    filters = np.einsum("pi,ocij,qj->ocpq", g, np.abs(w), g)
    bound = np.zeros((len(x), shape.out_channels, 4 * down, 4 * across))
    for r in range(down):
        for c in range(across):
            tile = padded[:, :, 4 * r : 4 * r + 6, 4 * c : 4 * c + 6]
            inputs = np.einsum("pi,ncij,qj->ncpq", b, tile, b)
            products = np.einsum("ocpq,ncpq->nopq", filters, inputs)
            spread = np.einsum("ip,nopq,jq->noij", a, products, a)
            bound[:, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4] = spread
    roundings = 6 * 5 + 1 + shape.in_channels
    return (roundings * 2.0**-24 * bound)[:, :, : shape.out_height, : shape.out_width]


def _finish(
    y: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None, activation: str | None
) -> np.ndarray:
    if bias is not None:
        y = y + bias[:, None, None]
    if residual is not None:
        y = y + residual
    if activation == "relu":
        y = np.maximum(y, 0)
    if activation == "gelu":
        y = y * (1 + np.vectorize(math.erf)(y / math.sqrt(2))) / 2
    return y


def _pack(w: np.ndarray) -> np.ndarray:
    return conv_layout(NATIVE).array(w.reshape(len(w), -1))


def _run(func: tvm.tirx.PrimFunc, *arrays: np.ndarray, out: tuple[int, ...]) -> np.ndarray:
    module = generate(tvm.IRModule({"main": func.with_attr("global_symbol", "main")}), NATIVE)
    result = tvm.runtime.tensor(np.full(out, np.nan, "float32"))
    module["main"](*map(tvm.runtime.tensor, arrays), result)
    return result.numpy()


def _operands(shape: ConvShape, batch: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, shape.in_channels, shape.height, shape.width))
    w = rng.standard_normal((shape.out_channels, shape.in_channels, 3, 3))
    return x.astype("float32"), (w / math.sqrt(9 * shape.in_channels)).astype("float32")


def _out(shape: ConvShape, batch: int) -> tuple[int, ...]:
    return (batch, shape.out_channels, shape.out_height, shape.out_width)


def test_one_dimension_tells_every_tap_from_every_other() -> None:
    # Impulses: input i and tap j give 1 at output i - j, and 0 elsewhere.
    d = np.repeat(np.eye(6, dtype="float32"), 3, axis=1)
    g = np.tile(np.eye(3, dtype="float32"), 6)
    d, g = (np.pad(m, ((0, 0), (0, 14))) for m in (d, g))
    with kernel("probe") as made:
        d_arg, g_arg, y_arg = tensor("d", (6, 32)), tensor("g", (3, 32)), tensor("y", (4, 32))
        inputs = transform_input([load(d_arg, i, 0, lanes=32) for i in range(6)], 32)
        taps = transform_taps([load(g_arg, i, 0, lanes=32) for i in range(3)], 32)
        products = [left * right for left, right in zip(inputs, taps, strict=True)]
        for i, value in enumerate(transform_output(products, 32)):
            store(y_arg, value, i, 0, lanes=32)
    got = _run(made.func, d, g, out=(4, 32))
    want = [[float(i - j == k) for i in range(6) for j in range(3)] for k in range(4)]
    np.testing.assert_allclose(got[:, :18], want, atol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_convolution_is_its_definition(name: str) -> None:
    shape, case = SHAPES[name], list(SHAPES).index(name)
    batch, epilogue = 1 + case % 3, EPILOGUES[case % len(EPILOGUES)]
    x, w = _operands(shape, batch)
    rng = np.random.default_rng(1)
    bias = rng.standard_normal(shape.out_channels).astype("float32") if epilogue.bias else None
    out = _out(shape, batch)
    residual = rng.standard_normal(out).astype("float32") if epilogue.residual else None
    more = [array for array in (bias, residual) if array is not None]
    got = _run(conv_winograd_kernel(NATIVE, shape, epilogue), x, _pack(w), *more, out=out)
    want = _finish(_conv(x, w, shape), bias, residual, epilogue.activation)
    error = np.abs(got - want)
    # The epilogue rounds values of a few units three times, and gelu's slope is at most 1.13.
    assert (error <= 1.13 * _bound(x, w, shape) + 2e-6).all()
    # The bound is for the worst signs; the direct kernel's tests ask for the same as this.
    assert error.max() <= 4e-6 * max(1, np.abs(want).max())


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_weights_are_rounded_before_they_are_transformed(precision: str) -> None:
    shape = ConvShape(20, 17, 9, 14, (3, 3), padding=ONE)
    x, w = _operands(shape, 2)
    arguments = []
    if precision == "float16":
        stored = w.astype("float16")
        wide = stored.astype("float32")
    else:
        scale = np.abs(w).max(axis=(1, 2, 3)) / 127
        stored = np.round(w / scale[:, None, None, None]).astype("int8")
        wide = stored * scale[:, None, None, None]
        missing = conv_layout(NATIVE).rows(len(scale)) - len(scale)
        arguments = [np.pad(scale, (0, missing)).astype("float32")]
    func = conv_winograd_kernel(NATIVE, shape, Epilogue(), storing(precision))
    got = _run(func, x, _pack(stored), *arguments, out=_out(shape, 2))
    want = _conv(x, wide, shape)
    # Of other rounded weights the results would be off by a thousandth and more.
    assert np.abs(got - want).max() <= 4e-6 * np.abs(want).max()


def test_an_empty_batch_gives_an_empty_result() -> None:
    shape = SHAPES["less than a tile"]
    x, w = _operands(shape, 0)
    func = conv_winograd_kernel(NATIVE, shape, Epilogue())
    assert _run(func, x, _pack(w), out=_out(shape, 0)).shape == (0, 13, 3, 5)


def test_nan_stays_in_the_tiles_that_see_it() -> None:
    shape = ConvShape(2, 8, 13, 14, (3, 3), padding=ONE)
    x, w = _operands(shape, 2)
    x[0, 1, 5, 9] = np.nan
    got = _run(conv_winograd_kernel(NATIVE, shape, Epilogue()), x, _pack(w), out=_out(shape, 2))
    # Rows 4 to 7 see row 5 as their second, columns 8 to 11 column 9: no tile beside them does.
    assert np.isnan(got[0, :, 4:8, 8:12]).any()
    got[0, :, 4:8, 8:12] = 0
    assert np.isfinite(got).all()


def test_the_cut_covers_everything_and_fits_the_caches() -> None:
    for level in LEVELS:
        target = CpuTarget.parse(level)
        for size in (18, 72, 144, 288):
            plan = plan_winograd(target, ConvShape(256, 256, size, size, (3, 3), padding=ONE))
            assert plan.blocks * plan.block >= plan.tiles > (plan.blocks - 1) * plan.block
            assert plan.splits * plan.task_panels * plan.tile.rows >= 256
            assert plan.block % plan.tile.columns == 0
            assert 1 <= plan.chunk <= plan.task_panels
            assert 36 * 4 * plan.chunk * plan.tile.rows * plan.block <= target.l2_bytes // 2


def test_it_pays_for_large_3x3_convolutions_only() -> None:
    large = ConvShape(256, 256, 72, 72, (3, 3), padding=ONE)
    for level in LEVELS:
        target = CpuTarget.parse(level)
        assert winograd_pays(target, large)
        assert not winograd_pays(target, ConvShape(256, 256, 8, 8, (3, 3), padding=ONE))
        assert not winograd_pays(target, ConvShape(3, 256, 72, 72, (3, 3), padding=ONE))
        assert not winograd_pays(target, ConvShape(256, 256, 72, 72))
        assert not winograd_pays(target, ConvShape(256, 256, 72, 72, (3, 3), (2, 2), ONE))
        dilated = ConvShape(256, 256, 72, 72, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2))
        assert not winograd_pays(target, dilated)


def test_other_convolutions_are_refused() -> None:
    with pytest.raises(ValueError, match="3 x 3"):
        conv_winograd_kernel(NATIVE, ConvShape(8, 8, 9, 9, (5, 5)), Epilogue())
    with pytest.raises(ValueError, match="stride"):
        conv_winograd_kernel(NATIVE, ConvShape(8, 8, 9, 9, (3, 3), (2, 2)), Epilogue())


def test_the_name_says_the_algorithm() -> None:
    shape = ConvShape(256, 128, 72, 70, (3, 3), padding=ONE)
    name = conv_winograd_name(shape, Epilogue(True, "relu"), storing("int8"))
    assert name == "conv3x3_winograd_256x128_72x70_bias_relu_int8"
