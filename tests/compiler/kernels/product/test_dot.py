"""The table of instructions that products are made of, and which targets may use one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_testing import LEVELS

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32, INT8, SCHEMES
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import (
    BFDOT,
    DOTS,
    FMA,
    TDPBF16PS,
    TDPBUSD,
    VDPBF16PS,
    VPDPBUSD,
    dot_for,
)
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError

FLOATS = [scheme for scheme in SCHEMES.values() if scheme.sums == "float32"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scheme", FLOATS, ids=lambda s: s.name)
def test_arithmetic_without_features_is_multiply_adds_of_float32_on_every_level(scheme, level):
    found = dot_for(CpuTarget.parse(level), scheme)
    assert found is FMA is DOTS[scheme.dot][-1]
    assert (found.sum, found.features, found.llvm) == (scheme.sums, (), "")
    assert found.words(7) == 7


@pytest.mark.parametrize(
    ("target", "dot"), [("x86-64-v4+avx512bf16", VDPBF16PS), ("aarch64+bf16", BFDOT)]
)
def test_bfloat16_is_multiplied_in_pairs_where_the_target_may(target, dot):
    target = CpuTarget.parse(target)
    assert dot_for(target, BFLOAT16) is dot
    assert target.features.issuperset(dot.features)
    assert dot.pairs.lanes == target.lanes
    assert dot_for(target, FLOAT32) is FMA


TILED = [
    ("x86-64-v4+avx512bf16+amxbf16", BFLOAT16, TDPBF16PS, VDPBF16PS, ("AVX512BF16", "AMXBF16")),
    ("x86-64-v4+avx512vnni+amxint8", INT8, TDPBUSD, VPDPBUSD, ("AVX512VNNI", "AMXINT8")),
]


@pytest.mark.parametrize(("target", "scheme", "tiled", "vectors", "features"), TILED)
def test_a_matrix_unit_is_taken_where_the_target_has_it(target, scheme, tiled, vectors, features):
    target = CpuTarget.parse(target)
    found = dot_for(target, scheme)
    assert found is tiled
    assert found.features == features
    assert target.features.issuperset(features)
    for one in features:
        lacking = replace(target, features=target.features - {one})
        assert (dot_for(lacking, scheme) is vectors) is (one != vectors.feature)
        assert dot_for(lacking, scheme).matrix is None


@pytest.mark.parametrize(("target", "scheme", "tiled", "vectors", "features"), TILED)
def test_only_whole_tiles_along_k_are_taken_by_a_matrix_unit(
    target, scheme, tiled, vectors, features
):
    assert [tiled.by_matrix(depth) is tiled for depth in (0, 16, 496)] == [True] * 3
    for depth in (1, 15, 17, 504, None):
        left = tiled.by_matrix(depth)
        assert left == tiled.by_vectors == vectors
        assert left.features == features[:1]
        assert left.llvm == vectors.llvm
        assert "amx" in tiled.llvm
        assert "amx" not in left.llvm
    assert vectors.by_matrix(16) is vectors


@pytest.mark.parametrize(
    ("target", "name", "a", "lanes"),
    [
        ("x86-64-v4+avx512vnni", "vpdpbusd", "uint8", 16),
        ("x86-64-v4", "vpmaddwd", "int16", 16),
        ("x86-64-v3+avxvnni", "vpdpbusd", "uint8", 8),
        ("x86-64-v3", "vpmaddwd", "int16", 8),
        ("x86-64-v2", "vpmaddwd", "int16", 4),
        ("aarch64+dotprod", "sdot", "int8", 4),
        ("aarch64", "integers", "int16", None),
    ],
)
def test_int8_is_multiplied_by_the_best_that_the_target_has(target, name, a, lanes):
    target = CpuTarget.parse(target)
    found = dot_for(target, INT8)
    assert (found.name, found.a, found.integers.lanes) == (name, a, lanes)
    assert lanes in (None, target.lanes)
    assert (found.a_zero == 128) == (a == "uint8")


def test_shorter_vectors_than_the_targets_are_not_taken():
    target = CpuTarget.parse("x86-64-v4+avxvnni")
    assert dot_for(target, INT8).name == "vpmaddwd"


def test_an_instruction_beyond_the_level_asks_for_its_feature(monkeypatch):
    pairs = replace(FMA, name="pairs", pack=2, feature="AVX512BF16")
    monkeypatch.setitem(dot.DOTS, "pairs", (pairs,))
    arithmetic = replace(FLOAT32, name="pairwise", dot="pairs")
    with pytest.raises(TargetError, match=r"AVX512BF16, which x86-64-v4 lacks: .*\+avx512bf16"):
        dot_for(CpuTarget.parse("x86-64-v4"), arithmetic)
    assert dot_for(CpuTarget.parse("x86-64-v4+avx512bf16"), arithmetic).words(7) == 4
