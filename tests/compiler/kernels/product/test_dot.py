"""The table of instructions that products are made of, and which targets may use one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kernel_testing import LEVELS

from sam3_tvm.arithmetic import FLOAT32, SCHEMES
from sam3_tvm.compiler.kernels.product import dot
from sam3_tvm.compiler.kernels.product.dot import DOTS, FMA, dot_for
from sam3_tvm.compiler.targets.cpu import CpuTarget, TargetError


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_todays_arithmetic_is_multiply_adds_of_float32_on_every_level(scheme, level):
    found = dot_for(CpuTarget.parse(level), scheme)
    assert found is FMA is DOTS[scheme.dot]
    assert (found.sum, found.a, found.features) == (scheme.sums, scheme.activations, ())
    assert found.words(7) == 7


def test_an_instruction_beyond_the_level_asks_for_its_feature(monkeypatch):
    pairs = replace(FMA, name="pairs", pack=2, feature="AVX512BF16")
    monkeypatch.setitem(dot.DOTS, "pairs", pairs)
    arithmetic = replace(FLOAT32, name="pairwise", dot="pairs")
    with pytest.raises(TargetError, match=r"AVX512BF16, which x86-64-v4 lacks: .*\+avx512bf16"):
        dot_for(CpuTarget.parse("x86-64-v4"), arithmetic)
    assert dot_for(CpuTarget.parse("x86-64-v4+avx512bf16"), arithmetic).words(7) == 4
