"""Products of bfloat16: rounding, and layers against NumPy, by pairs made of plain arithmetic, and
by the instructions themselves where this CPU has them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tvm
from kernel_testing import (
    MULTIPLIES_BFLOAT16,
    NATIVE,
    NATIVE_PAIRS,
    PLAIN_PAIRS,
    as_bfloat16,
    bfloat16_bits,
    compiled,
    empty,
)

from sam3_tvm.arithmetic import BFLOAT16
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.bfloat16 import rounding
from sam3_tvm.compiler.kernels.product.dot import FMA, TDPBF16PS, dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import Rounded, linear_kernel, linear_layout
from sam3_tvm.compiler.kernels.product.tile import gemm_tile, wide_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

TILES = pytest.param("tiles", marks=pytest.mark.cpu(*TDPBF16PS.features))


@pytest.fixture(params=["plain", "widened", "native", TILES])
def kind(request, monkeypatch):
    """By pairs in plain arithmetic, by float32 with widened weights, by vectors of what this CPU
    has, or by its matrix unit."""
    if request.param == "native" and not MULTIPLIES_BFLOAT16:
        pytest.skip("this CPU doesn't multiply bfloat16")
    dots = {
        "plain": PLAIN_PAIRS,
        "widened": FMA,
        "native": NATIVE_PAIRS.by_vectors,
        "tiles": TDPBF16PS,
    }
    monkeypatch.setitem(dot.DOTS, "bfloat16", (dots[request.param],))
    return request.param


def test_rounding_is_to_nearest_even_and_keeps_what_is_no_number():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((7, 33), dtype="float32") * 10 ** rng.uniform(-30, 30, (7, 33))
    values = values.astype("float32")
    one_and_half = np.float32(1) + np.float32(2**-8)  # between two: to even
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1e-40, 3.4e38, one_and_half]
    values[0, : len(special)] = special
    values[1, 0] = np.array([0x7F800001], "uint32").view("float32")[0]  # a NaN by its last bit
    got = compiled(rounding(), NATIVE)(values, np.zeros((7, 33), "uint16"))
    np.testing.assert_array_equal(got, bfloat16_bits(values))


# Inputs of a matrix unit are whole tiles of 16 words: 32, 352 and 512 are; 2, 34 and 1032 aren't.
@pytest.mark.parametrize(
    ("n", "k"), [(1, 2), (1, 32), (33, 34), (64, 512), (129, 1032), (545, 352)]
)
def test_a_layer_multiplies_rounded_values_and_adds_in_float32(kind, n, k):
    epilogue = Epilogue(bias=True, activation="relu", residual="after")
    kernel = compiled(linear_kernel(NATIVE, n, k, epilogue, BFLOAT16), NATIVE)
    layout = linear_layout(NATIVE, BFLOAT16)
    rng = np.random.default_rng(n)
    w = rng.standard_normal((n, k), dtype="float32") / np.float32(math.sqrt(k))
    bias = rng.standard_normal(n, dtype="float32")
    packed = layout.array(bfloat16_bits(w))
    for m in (0, 1, 11, 16, 17, 97, 201):
        x = rng.standard_normal((m, k), dtype="float32")
        residual = rng.standard_normal((m, n), dtype="float32")
        taken = x if kind == "widened" else as_bfloat16(x)
        want = np.maximum(taken.astype("float64") @ as_bfloat16(w).T + bias, 0)
        padded = np.pad(bias, (0, layout.rows(n) - n))
        got = kernel(x, packed, padded, residual, empty(m, n))
        np.testing.assert_allclose(got, want + residual, atol=2e-6 * math.sqrt(k), rtol=0)


def test_a_nan_reaches_its_row_and_no_other(kind):
    kernel = compiled(linear_kernel(NATIVE, 40, 64, Epilogue(), BFLOAT16), NATIVE)
    packed = linear_layout(NATIVE, BFLOAT16).array(bfloat16_bits(np.ones((40, 64), "float32")))
    x = np.ones((13, 64), "float32")
    x[5, 17] = np.nan
    got = kernel(x, packed, empty(13, 40))
    assert np.isnan(got[5]).all()
    assert np.isfinite(np.delete(got, 5, axis=0)).all()


@pytest.mark.parametrize(("n", "k"), [(33, 34), (64, 512)])
def test_what_is_rounded_in_memory_gives_the_same_products(kind, n, k):
    if kind == "widened":
        with pytest.raises(ValueError, match="fma takes or gives no bfloat16 on"):
            linear_kernel(NATIVE, n, k, Epilogue(), BFLOAT16, Rounded(x=True))
        return
    plain, both = (
        compiled(linear_kernel(NATIVE, n, k, Epilogue(activation="gelu"), BFLOAT16, r), NATIVE)
        for r in (Rounded(), Rounded(x=True, y=True))
    )
    rng = np.random.default_rng(n)
    packed = linear_layout(NATIVE, BFLOAT16).array(bfloat16_bits(rng.standard_normal((n, k))))
    for m in (0, 1, 97):
        x = rng.standard_normal((m, k), dtype="float32")
        got = both(bfloat16_bits(x), packed, np.full((m, n), 0x7FC0, "uint16"))
        np.testing.assert_array_equal(got, bfloat16_bits(plain(x, packed, empty(m, n))))


def test_an_odd_number_of_inputs_is_no_whole_words(monkeypatch):
    monkeypatch.setitem(dot.DOTS, "bfloat16", (PLAIN_PAIRS,))
    with pytest.raises(ValueError, match="7 inputs are no whole words of 2"):
        linear_kernel(NATIVE, 8, 7, Epilogue(), BFLOAT16)


@pytest.mark.parametrize(
    ("target", "multiplies", "rounds", "stores"),
    [
        ("x86-64-v4+avx512bf16", "vdpbf16ps", "vcvtne2ps2bf16", "vcvtneps2bf16"),
        ("aarch64+bf16", "bfdot", "bfcvtn", "bfcvtn"),
    ],
)
@pytest.mark.parametrize("kernel", ["linear", "rounded", "attention"])
def test_code_for_cpus_that_multiply_bfloat16_has_their_instructions(
    kernel, target, multiplies, rounds, stores
):
    target = CpuTarget.parse(target)
    if kernel != "attention":
        rounded = Rounded(y=kernel == "rounded")
        func = linear_kernel(target, 64, 64, Epilogue(), BFLOAT16, rounded)
        tile = gemm_tile(target)
    else:
        spec = AttentionSpec(2, 32, 32, 1.0)
        func = attention_kernel(target, spec, dot_for(target, BFLOAT16))
        tile = wide_tile(target)
    module = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    code = generate(module, target).mod.inspect_source("asm")
    instructions = [line.split()[0] for line in code.splitlines() if line.startswith("\t")]
    # A step of the whole tile, at least, and no call of what should be inlined.
    assert instructions.count(multiplies) >= tile.rows * tile.vectors
    assert rounds in instructions
    assert kernel != "rounded" or stores in instructions
    assert "sam3_bf16" not in code
