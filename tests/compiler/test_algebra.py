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


def test_clicks_are_decoded_by_kernels_alone(source):
    """Products, attention, norms and convolutions of the tracker all have a kernel of ours."""
    (neck,) = _dispatched(source, "tracker_neck").values()
    assert _calls(neck, "conv_transpose2x2_") == 3
    assert _calls(neck, "conv3x3_") == 3
    # To each level's width, and from the finer two to the decoder's.
    assert _calls(neck, "conv1x1_") == 2 + 2
    (prompt,) = _dispatched(source, "prompt_encoder").values()
    assert _calls(prompt, "conv2x2_") == 2
    assert _calls(prompt, "conv1x1_") == 1
    assert _calls(prompt, "layer_norm_") == 2
    (decoder,) = _dispatched(source, "click_decoder").values()
    # Two layers of self-attention and attention both ways, and the last to the picture.
    assert _calls(decoder, "attention_") == 2 * 3 + 1
    # Query, key and value: one product for the first self-attention, two for the second (its
    # values are without positions), three for each of the others. Each has an output.
    assert _calls(decoder, r"linear_64x192_bias\b") == 1
    assert _calls(decoder, r"linear_64x32_bias\b") == 3 * 5
    assert _calls(decoder, r"linear_32x64_bias_residual\b") == 5
    # Four masks, the object's score and the masks' IoU, of three products each.
    assert _calls(decoder, r"linear_64x64_bias_relu\b") == 2 * 5
    assert _calls(decoder, "layer_norm_") == 2 * 4 + 1 + 1
    assert _calls(decoder, "conv_transpose2x2_") == 2
    assert _calls(decoder, "matmul_") == 1
    for text in (neck, prompt, decoder):
        assert not re.search(r"R\.(matmul|nn\.(conv2d|attention|layer_norm)|nn\.conv2d_tr)", text)
