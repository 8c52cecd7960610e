"""SAM 3's own graphs after the algebra: a change upstream that hides a pattern shows here."""

from __future__ import annotations

import re

import pytest

from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.driver import import_component
from sam3_tvm.compiler.target import CpuTarget
from sam3_tvm.components import abi
from sam3_tvm.sources import open_source


@pytest.fixture(scope="module")
def source():
    return open_source("random:tiny")


def _dispatched(source, name):
    """The Relax functions that a component has become, as text, by name."""
    mod, _ = import_component(source, abi(source.sizes)[name])
    options = pipeline.Options(CpuTarget.native())
    for number in (pipeline.IMPORT, pipeline.CANONICAL, pipeline.DISPATCH):
        mod = pipeline.run_phase(mod, number, options)
    return {
        gvar.name_hint: func.script()
        for gvar, func in mod.functions_items()
        if "R.Tensor" in func.script()
    }


def _calls(text, kernel):
    return len(re.findall(rf"R\.call_tir\((?:cls\.)?{kernel}", text))


def test_the_mask_decoder_convolves_only_what_the_prompt_decides(source):
    functions = _dispatched(source, "mask_decoder")
    image, prompt = functions["mask_decoder_image"], functions["mask_decoder_prompt"]
    # The skip connections, once per picture.
    assert _calls(image, "conv3x3_") == 2
    assert _calls(image, "conv_upsampled") == 0
    # The upsampled halves, with the skip halves added as they are stored.
    assert _calls(prompt, r"conv_upsampled3x3_\w+_residual\b") == 2
    assert _calls(prompt, "conv3x3_") == 0
    # The projection to the semantic mask is left, of one channel; that of instances is folded.
    assert _calls(prompt, "conv1x1_") == _calls(prompt, r"conv1x1_\d+x1_") == 1
    assert _calls(prompt, r"matmul_\w+_bias\b") == 1
    for text in (image, prompt):
        assert "resize2d" not in text
        assert "interpolate" not in text
        assert "R.nn.conv2d" not in text


def test_the_neck_merges_what_takes_less_work_merged(source):
    (text,) = _dispatched(source, "vision_encoder").values()
    # 96 -> 48 -> 64 channels merge. 48 -> 24 -> 64 wouldn't pay, nor has the first of the finest
    # level anything to merge with.
    assert _calls(text, "conv_transpose2x2_") == 3
    assert _calls(text, "conv_transpose2x2_96x64_") == 1
    assert _calls(text, "conv1x1_") == 2
    assert _calls(text, "conv3x3_") == 3
    assert "R.nn.conv2d" not in text
