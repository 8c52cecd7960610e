"""SAM 3's own graphs after the algebra: a change upstream that hides a pattern shows here."""

from __future__ import annotations

import re

import pytest


@pytest.fixture(scope="module")
def module(tiny):
    """The Relax functions that ``random:tiny`` has become after the dispatch, as text, by name."""
    text = (tiny / "phases" / "2_dispatch.py").read_text()
    parts = re.split(r"\n    @[^\n]+\n    def (\w+)\(", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _dispatched(module, name):
    """What a component has become: itself, or its halves."""
    return {key: module[key] for key in (name, f"{name}_image", f"{name}_prompt") if key in module}


def _calls(text, kernel):
    return len(re.findall(rf"R\.call_tir\((?:cls\.)?{kernel}", text))


def test_the_mask_decoder_convolves_only_what_the_prompt_decides(module):
    functions = _dispatched(module, "mask_decoder")
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


def test_the_neck_merges_what_takes_less_work_merged(module):
    (text,) = _dispatched(module, "vision_encoder").values()
    # 96 -> 48 -> 64 channels merge. 48 -> 24 -> 64 wouldn't pay, nor has the first of the finest
    # level anything to merge with.
    assert _calls(text, "conv_transpose2x2_") == 3
    assert _calls(text, "conv_transpose2x2_96x64_") == 1
    assert _calls(text, "conv1x1_") == 2
    assert _calls(text, "conv3x3_") == 3
    assert "R.nn.conv2d" not in text


def test_clicks_are_decoded_by_kernels_alone(module):
    """Products, attention, norms and convolutions of the tracker all have a kernel of ours."""
    (neck,) = _dispatched(module, "tracker_neck").values()
    assert _calls(neck, "conv_transpose2x2_") == 3
    assert _calls(neck, "conv3x3_") == 3
    # To each level's width, and from the finer two to the decoder's.
    assert _calls(neck, "conv1x1_") == 2 + 2
    (prompt,) = _dispatched(module, "prompt_encoder").values()
    assert _calls(prompt, "conv2x2_") == 2
    assert _calls(prompt, "conv1x1_") == 1
    assert _calls(prompt, "layer_norm_") == 2
    (decoder,) = _dispatched(module, "click_decoder").values()
    # Two layers of self-attention and attention both ways, and the last to the picture.
    assert _calls(decoder, "attention_") == 2 * 3 + 1
    # Query, key and value: one product for the first self-attention, two for the second (its
    # values are without positions), three for each of the others. Each has an output.
    assert _calls(decoder, r"linear_64x192_bias\b") == 1
    assert _calls(decoder, r"linear_64x32_bias\b") == 3 * 5
    assert _calls(decoder, r"linear_32x64_bias_residual\b") == 5
    # Four masks, the object's score, the masks' IoU and their pointers, of three products each.
    assert _calls(decoder, r"linear_64x64_bias_relu\b") == 2 * 6
    assert _calls(decoder, "layer_norm_") == 2 * 4 + 1 + 1
    assert _calls(decoder, "conv_transpose2x2_") == 2
    assert _calls(decoder, "matmul_") == 1
    for text in (neck, prompt, decoder):
        assert not re.search(r"R\.(matmul|nn\.(conv2d|attention|layer_norm)|nn\.conv2d_tr)", text)


def test_memories_are_attended_to_and_made_by_kernels_alone(module):
    """Of both layers' attentions, and what is around them, no queries x keys matrix is left."""
    functions = _dispatched(module, "memory_attention")
    image, prompt = functions["memory_attention_image"], functions["memory_attention_prompt"]
    # The first layer's self-attention and the queries of what follows it, once per picture; the
    # self-attentions rotate as they read one product.
    assert _calls(image, r"attention_\w+_packed_rotary\b") == 1
    assert _calls(prompt, r"attention_\w+_packed_rotary\b") == 1
    assert _calls(prompt, r"attention_1x64_bl?hl?d_") == 2
    # Of pointers' positions and of each layer's keys; values are projected once they are found.
    assert len(re.findall(r"call_tir\(cls\.linear_64x64_bias[^\n]*pointers", prompt)) == 1 + 2
    assert [_calls(text, r"linear_64x192_bias\b") for text in (image, prompt)] == [1, 1]
    assert [_calls(text, "layer_norm_") for text in (image, prompt)] == [2, 5]
    # Of the picture, where both meet: features, and queries.
    assert prompt.count("kept_") >= 2
    functions = _dispatched(module, "memory_encoder")
    encoder = functions["memory_encoder_prompt"]
    assert _calls(functions["memory_encoder_image"], "conv1x1_") == 1
    assert _calls(encoder, "conv3x3_") == 4
    assert _calls(encoder, "conv1x1_") == 2
    assert _calls(encoder, "linear_") == 2 * 2
    assert _calls(encoder, "layer_norm_") == 4 + 2
    for text in (image, prompt, encoder):
        assert not re.search(r"R\.(matmul|nn\.(attention|layer_norm|softmax))", text)
