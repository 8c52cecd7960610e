"""Meta's graphs get the kernels that transformers' get, and give Meta's numbers."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from meta_tiny import needs_meta

from sam3_tvm.abi import abi
from sam3_tvm.compiler import compile, pipeline
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.sources import open_source
from sam3_tvm.verify import verify

pytestmark = needs_meta


def test_the_vision_encoder_has_no_pass_over_memory_around_its_attention():
    source = open_source("random:meta-tiny")
    mod, _ = import_component(source, abi(source.sizes)["vision_encoder"])
    options = pipeline.Options(CpuTarget.native())
    for number in (pipeline.IMPORT, pipeline.CANONICAL, pipeline.DISPATCH):
        mod = pipeline.run_phase(mod, number, options)
    text = mod["vision_encoder"].script()
    found = Counter(re.findall(r"R\.call_tir\((?:cls\.)?(\w+)", text))
    # Two windowed layers and two global ones, as in transformers' of this size.
    assert found["linear_96x288_bias"] == 4
    assert found["attention_3x32_packed_windows_4x4_rotary"] == 2
    assert found["attention_3x32_packed_rotary"] == 2
    assert found["linear_96x96_bias_residual"] == 4
    assert found["layer_norm_96"] == 9
    assert found["conv_transpose2x2_96x64_12x12_bias"] == 1
    assert not {"R.multiply(", "R.nn.attention(", "R.nn.conv2d("} & set(
        re.findall(r"R\.[\w.]+\(", text)
    )


@pytest.mark.full
def test_every_function_and_photograph_agrees_with_meta_s_own(tmp_path):
    compile("random:meta-tiny", tmp_path / "meta")
    report = verify(tmp_path / "meta")
    assert {row.name for row in report.functions} == set(abi(open_source("random:meta-tiny").sizes))
    assert all(row.ok for row in report.rows)
    assert report.clicks
    assert len(report.frames) == 10
    assert any("points" in row.prompt for row in report.end_to_end)
