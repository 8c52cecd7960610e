"""Products of tiles, beside NumPy's: sums where they lie, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from kernel_testing import as_bfloat16, bfloat16_bits
from tvm import tirx

from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.kernels.emit import as_index, kernel, tensor
from sam3_tvm.compiler.kernels.product.dot import TDPBF16PS, TDPBUSD
from sam3_tvm.compiler.kernels.product.matrix import Place
from sam3_tvm.compiler.targets.cpu import CpuTarget

PAIRS = CpuTarget.parse("x86-64-v4+avx512bf16+amxbf16")
BYTES = CpuTarget.parse("x86-64-v4+avx512vnni+amxint8")
SHAPES = [(rows, columns) for rows in (16, 32) for columns in (16, 32)]
DEPTHS = (0, 16, 128)
EACH = pytest.mark.parametrize(
    ("dot", "target"), [(TDPBF16PS, PAIRS), (TDPBUSD, BYTES)], ids=["pairs", "bytes"]
)
# Rows are longer than what is multiplied, and products start within them.
MARGIN = 3


def product(dot, shape, depth, fresh):
    """``(a [rows, depth + 4], b [depth, columns + 5], c [rows, columns + 7])``, of words and sums;
    what is multiplied starts at the margin of each."""
    rows, columns = shape
    with kernel("f", dot.features, dot.llvm) as made:
        at = as_index(0), as_index(MARGIN)
        a, b, c = (
            Place(tensor(name, (size, width), dtype), at, 4 * width)
            for name, size, width, dtype in (
                ("a", rows, depth + 4, dot.word),
                ("b", depth, columns + 5, dot.word),
                ("c", rows, columns + 7, dot.sum),
            )
        )
        dot.matrix.begin()
        steps, flag = tirx.const(depth, "int64"), tirx.const(fresh, "bool")
        dot.matrix.multiply_add(shape, c, a, b, steps, flag)
        dot.matrix.end()
    return made.func.with_attr("global_symbol", "f")


def multiplied(dot, target, fresh, a, b, c):
    """The product of words [M, K] and [K, N], added to [M, N] or in its stead; what surrounds the
    sums is left alone."""
    (rows, depth), columns = a.shape, b.shape[1]
    run = generate(tvm.IRModule({"f": product(dot, (rows, columns), depth, fresh)}), target)["f"]
    wide = [np.full((len(x), x.shape[1] + more), 113, x.dtype) for x, more in ((a, 4), (b, 5))]
    out = np.full((rows, columns + 7), -5, c.dtype)
    for whole, part in zip((*wide, out), (a, b, c), strict=True):
        whole[:, MARGIN : MARGIN + part.shape[1]] = part
    given = [tvm.runtime.tensor(x) for x in (*wide, out)]
    run(*given)
    got = given[-1].numpy()
    inside = slice(MARGIN, MARGIN + columns)
    assert (np.delete(got, np.arange(columns) + MARGIN, 1) == -5).all()
    return got[:, inside]


def words(values):
    """[..., n] of narrow values as [..., n / pack] words."""
    return np.ascontiguousarray(values).view("int32")


def along_k(values):
    """[K, N] of narrow values as words of neighbours along K, [K / pack, N]."""
    pack = 4 // values.dtype.itemsize
    k, n = values.shape
    return words(values.reshape(k // pack, pack, n).transpose(0, 2, 1)).reshape(k // pack, n)


@pytest.mark.cpu("AMXINT8", "AVX512VNNI")
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bytes_are_exact(shape, depth, fresh):
    (rows, columns), k = shape, 4 * depth
    rng = np.random.default_rng(depth)
    a = rng.integers(0, 256, (rows, k)).astype("uint8")
    b = rng.integers(-127, 128, (k, columns)).astype("int8")
    a[:2], b[:, :2], b[:, 2:4] = 255, 127, -127
    c = rng.integers(-(2**20), 2**20, shape).astype("int32")
    got = multiplied(TDPBUSD, BYTES, fresh, words(a), along_k(b), c)
    want = a.astype("int64") @ b.astype("int64") + (0 if fresh else c)
    np.testing.assert_array_equal(got, want)


@pytest.mark.cpu("AMXBF16", "AVX512BF16")
@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_are_rounded_as_sums_of_float32(shape, depth, fresh):
    (rows, columns), k = shape, 2 * depth
    rng = np.random.default_rng(depth)
    a, b, c = (
        rng.standard_normal(size).astype("float32") for size in ((rows, k), (k, columns), shape)
    )
    args = words(bfloat16_bits(a)), along_k(bfloat16_bits(b)), c
    got = multiplied(TDPBF16PS, PAIRS, fresh, *args)
    start = np.zeros(shape) if fresh else c.astype("float64")
    a, b = as_bfloat16(a), as_bfloat16(b)
    # Products of eight significant bits fit; each of k additions rounds by half an ulp at most.
    bound = (k + 1) * 2.0**-24 * (np.abs(a) @ np.abs(b) + np.abs(start))
    assert (np.abs(got - (a @ b + start)) <= bound).all()
    if not depth:
        np.testing.assert_array_equal(got, start)


@EACH
@pytest.mark.parametrize("shape", SHAPES)
def test_code_is_generated_on_any_cpu_and_calls_nothing(dot, target, shape):
    made = generate(tvm.IRModule({"f": product(dot, shape, 128, False)}), target)
    assembly = made.mod.inspect_source("asm")
    lines = [" ".join(line.split()) for line in assembly.splitlines()]
    for name in ("ldtilecfg", "tilerelease"):
        assert sum(line.startswith(name) for line in lines) == 1
    # However often the loop is unrolled, each has its own sums.
    products = {line for line in lines if line.startswith(f"{dot.matrix.instruction} ")}
    assert len(products) == shape[0] * shape[1] // 256
    assert len({line.split()[-1] for line in products}) == len(products)
    assert "sam3_" not in assembly


def test_a_target_without_tiles_makes_no_code_of_them():
    with pytest.raises(Exception, match="AMXBF16, which it lacks"):
        generate(
            tvm.IRModule({"f": product(TDPBF16PS, (16, 16), 16, True)}),
            CpuTarget.parse("x86-64-v4+avx512bf16"),
        )
