"""The table of instructions that products are made of, and which targets may use one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_testing import LEVELS

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32, SCHEMES
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import BFDOT, DOTS, FMA, VDPBF16PS, dot_for
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
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


def test_an_instruction_beyond_the_level_asks_for_its_feature(monkeypatch):
    pairs = replace(FMA, name="pairs", pack=2, feature="AVX512BF16")
    monkeypatch.setitem(dot.DOTS, "pairs", (pairs,))
    arithmetic = replace(FLOAT32, name="pairwise", dot="pairs")
    with pytest.raises(TargetError, match=r"AVX512BF16, which x86-64-v4 lacks: .*\+avx512bf16"):
        dot_for(CpuTarget.parse("x86-64-v4"), arithmetic)
    assert dot_for(CpuTarget.parse("x86-64-v4+avx512bf16"), arithmetic).words(7) == 4
