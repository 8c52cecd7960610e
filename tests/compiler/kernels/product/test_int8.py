"""Linear layers in eight bits: exact integers, whatever instruction multiplies them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from kernel_testing import (
    FIRST_HIGHEST,
    NATIVE,
    PLAIN_PAIRS,
    bfloat16_bits,
    compiled,
    empty,
    quantised,
)

from sam3_tvm.arithmetic import BFLOAT16, INT8
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import DOTS, PLAIN_INTEGERS, TDPBUSD, dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.int8 import OFFSET, largest_depth
from sam3_tvm.compiler.kernels.product.linear import (
    Rounded,
    kernel_name,
    linear_kernel,
    linear_layout,
)
from sam3_tvm.compiler.kernels.product.quantise import quantise_kernel, quantised_width
from sam3_tvm.compiler.kernels.product.tile import gemm_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

# Those of this CPU's in vectors of its length, and what every CPU can.
HERE = [
    *(d for d in DOTS["int8"] if d is not TDPBUSD and d.fits(NATIVE)),
    pytest.param(TDPBUSD, marks=pytest.mark.cpu(*TDPBUSD.features), id="tdpbusd"),
]
BY_PAIRS = [d for d in (PLAIN_PAIRS, dot_for(NATIVE, BFLOAT16)) if d.pairs]
ROWS = (0, 1, 2, 7, 8, 11, 12, 13, 16, 17, 31, 32, 33, 47, 48, 49, 96, 97, 201)
# Outputs and inputs. A matrix unit takes whole tiles of 16 words: of the first ones a part, of the
# others all, in one block of K or several, in one task of columns or several.
SIZES = [(1, 1), (2, 3), (31, 17), (129, 40), (300, 1000)]
TILED = [(1, 64), (4, 256), (129, 512), (300, 1024), (545, 704)]


def check(target, rows, n, k, epilogue=Epilogue(), extreme=False):  # noqa: B008 - frozen
    """Sums are compared bit for bit: scales are powers of two and the result has no rounding."""
    one = dot_for(target, INT8)
    kernel = compiled(linear_kernel(target, n, k, epilogue, INT8), target)
    rng = np.random.default_rng(n * k)
    w = rng.integers(-127, 128, (n, k))
    if extreme:
        w[:] = 127
    layout = linear_layout(target, INT8)
    packed = layout.array(w.astype("int8"))
    full = layout.rows(n)
    offset = [np.pad((OFFSET * w.sum(1)).astype("int32"), (0, full - n))] if one.a_zero else []
    width = quantised_width(k, one.integers)
    for m in rows:
        x = rng.integers(-127, 128, (m, k))
        if extreme:
            x[:] = 127
        stored = np.full((m, width), one.a_zero)
        stored[:, :k] = x + one.a_zero
        scale = np.float32(2.0) ** rng.integers(-20, 20, m).astype("float32")
        ones = np.ones(full, "float32")
        residual = rng.integers(-9, 9, (m, n)).astype("float32")
        bias = rng.integers(-9, 9, n).astype("float32")
        args = [stored.astype(one.a), scale, packed, ones, *offset]
        want = (x @ w.T).astype("float32") * scale[:, None]
        if epilogue.bias:
            args.append(np.pad(bias, (0, full - n)))
            want = want + bias
        if epilogue.residual:
            args.append(residual)
            want = want + residual
        got = kernel(*args, empty(m, n))
        np.testing.assert_array_equal(got, want)


def name(one):
    """Of an instruction, in a test's name."""
    return f"{one.name}-{one.a}" if one.matrix is None else one.matrix.instruction


@pytest.mark.parametrize("one", HERE, ids=name)
@pytest.mark.parametrize(("n", "k"), SIZES + TILED)
def test_sums_are_exact_at_awkward_sizes(n, k, one, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "int8", (one,))
    check(NATIVE, ROWS, n, k)


@pytest.mark.parametrize("level", FIRST_HIGHEST)
def test_every_level_that_runs_here(level):
    check(CpuTarget.parse(level), ROWS, 33, 258, Epilogue(bias=True, residual="after"))


@pytest.mark.parametrize("one", HERE, ids=name)
def test_layers_that_strassen_takes_are_as_exact(one, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "int8", (one,))
    script = linear_kernel(NATIVE, 512, 512, Epilogue(), INT8).script()
    assert (" in range(T.int64(7))" in script) == one.exact_sums  # seven products
    check(NATIVE, (1, 95, 96, 97, 192, 400), 512, 512)


@pytest.mark.parametrize("one", HERE, ids=name)
def test_the_largest_sums_fit(one, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "int8", (one,))
    # Sums of quarters double both factors; vpdpbusd's are up to 255.
    check(NATIVE, (1, 192), 512, 4736, extreme=True)
    assert largest_depth() > 66_000
    with pytest.raises(ValueError, match="don't fit 32 bits"):
        linear_kernel(NATIVE, 64, largest_depth() + 1, Epilogue(), INT8)


def test_bias_activation_and_residual_come_after_both_scales():
    n, k, m = 96, 64, 25
    kernel = compiled(linear_kernel(NATIVE, n, k, Epilogue(True, "gelu", "after"), INT8), NATIVE)
    rng = np.random.default_rng(3)
    one, layout = dot_for(NATIVE, INT8), linear_layout(NATIVE, INT8)
    w, x = rng.integers(-127, 128, (n, k)), rng.integers(-127, 128, (m, k))
    scale, x_scale = (rng.uniform(1e-4, 1e-3, size).astype("float32") for size in (n, m))
    bias, residual = (rng.standard_normal(size).astype("float32") for size in (n, (m, n)))
    offset = [(OFFSET * w.sum(1)).astype("int32")] if one.a_zero else []
    packed = layout.array(w.astype("int8"))
    args = [(x + one.a_zero).astype(one.a), x_scale, packed, scale, *offset, bias, residual]
    got = kernel(*args, empty(m, n))
    sums = (x @ w.T).astype("float64") * scale * x_scale[:, None] + bias
    gelu = 0.5 * sums * np.vectorize(math.erfc)(-sums / math.sqrt(2))
    np.testing.assert_allclose(got, gelu + residual, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pairs", BY_PAIRS, ids=lambda d: d.name)
def test_a_result_is_rounded_as_it_is_stored(pairs, monkeypatch):
    monkeypatch.setitem(dot.DOTS, "bfloat16", (pairs,))
    n, k, m = 96, 64, 25
    one, layout = dot_for(NATIVE, INT8), linear_layout(NATIVE, INT8)
    rng = np.random.default_rng(5)
    w, x = rng.integers(-127, 128, (n, k)), rng.integers(-127, 128, (m, k))
    scale, x_scale = (rng.uniform(1e-4, 1e-3, size).astype("float32") for size in (n, m))
    offset = [(OFFSET * w.sum(1)).astype("int32")] if one.a_zero else []
    args = [(x + one.a_zero).astype(one.a), x_scale, layout.array(w.astype("int8")), scale, *offset]
    epilogue = Epilogue(activation="relu")
    plain = compiled(linear_kernel(NATIVE, n, k, epilogue, INT8), NATIVE)(*args, empty(m, n))
    func = linear_kernel(NATIVE, n, k, epilogue, INT8, Rounded(y=True))
    got = compiled(func, NATIVE)(*args, np.zeros((m, n), "uint16"))
    np.testing.assert_array_equal(got, bfloat16_bits(plain))


def test_a_target_without_bfloat16_rounds_no_result():
    with pytest.raises(ValueError, match="no bfloat16 on x86-64-v3"):
        linear_kernel(CpuTarget.parse("x86-64-v3"), 64, 64, Epilogue(), INT8, Rounded(y=True))


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("target", ["x86-64-v4+avx512vnni+avx512bf16", "aarch64+dotprod+bf16"])
def test_both_instructions_in_one_kernel_are_generated(target, rounded):
    target = CpuTarget.parse(target)
    func = linear_kernel(target, 64, 64, Epilogue(), INT8, Rounded(y=rounded))
    made = generate(tvm.IRModule({"f": func.with_attr("global_symbol", "f")}), target)
    text = made.mod.inspect_source("asm")
    assert "vpdpbusd" in text or "sdot" in text
    assert ("vcvtneps2bf16" in text or "bfcvtn" in text) == rounded


def quantising(k, integers):
    """The kernel as a function that returns both of its results."""
    func = quantise_kernel(NATIVE, k, integers).with_attr("global_symbol", "main")
    module = generate(tvm.IRModule({"main": func}), NATIVE)

    def call(*arrays):
        tensors = [tvm.runtime.tensor(a) for a in arrays]
        module["main"](*tensors)
        return [t.numpy() for t in tensors[1:]]

    return call


@pytest.mark.parametrize("one", HERE, ids=lambda d: f"{d.name}-{d.a}")
@pytest.mark.parametrize("k", [1, 3, 8, 34, 35, 1000])
def test_rows_are_quantised_by_their_largest_magnitude(k, one):
    both = quantising(k, one.integers)
    rng = np.random.default_rng(k)
    for m in (0, 1, 15, 16, 17, 50):
        x = rng.standard_normal((m, k), dtype="float32") * np.float32(10) ** rng.integers(
            -6, 6, (m, 1)
        ).astype("float32")
        x[1:2] = 0
        width = quantised_width(k, one.integers)
        q, scale = both(x, np.full((m, width), 77, one.a), empty(m))
        want, want_scale = quantised(x)
        np.testing.assert_array_equal(scale, want_scale)
        np.testing.assert_array_equal(q[:, :k].astype("int64") - one.a_zero, want)
        np.testing.assert_array_equal(q[:, k:], one.a_zero)


def test_a_row_that_is_not_finite_spoils_its_own_scale_alone():
    both = quantising(8, dot_for(NATIVE, INT8).integers)
    x = np.ones((4, 8), "float32")
    x[1, 3], x[2, 7] = np.nan, -np.inf
    _, scale = both(x, np.zeros((4, 8), dot_for(NATIVE, INT8).a), empty(4))
    np.testing.assert_array_equal(np.isnan(scale), [False, True, False, False])
    np.testing.assert_array_equal(np.isinf(scale), [False, False, True, False])


def test_names_tell_eight_bits_of_both():
    assert kernel_name(4736, 1024, Epilogue(True, "gelu"), INT8) == (
        "linear_1024x4736_bias_gelu_w8a8"
    )
    assert PLAIN_INTEGERS.fits(CpuTarget.parse("aarch64"))


@pytest.mark.parametrize(
    ("target", "instruction"),
    [
        ("x86-64-v4+avx512vnni", "vpdpbusd"),
        ("x86-64-v4", "vpmaddwd"),
        ("x86-64-v3+avxvnni", "vpdpbusd"),
        ("x86-64-v3", "vpmaddwd"),
        ("x86-64-v2", "pmaddwd"),
        ("aarch64+dotprod", "sdot"),
    ],
)
def test_every_target_generates_its_instruction(target, instruction):
    target = CpuTarget.parse(target)
    func = linear_kernel(target, 256, 256, Epilogue(True), INT8).with_attr("global_symbol", "main")
    made = generate(tvm.IRModule({"main": func}), target)
    text = made.mod.inspect_source("asm")
    inner = [line.strip() for line in text.splitlines() if instruction in line]
    # Two vectors by as many rows as a tile has, and nothing between them and the registers.
    assert len(inner) >= 2 * gemm_tile(target).rows
    assert "call" not in "".join(inner)
