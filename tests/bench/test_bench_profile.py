"""What a profile says of kernels, held against counts made another way."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sam3_tvm.bench.parts import BenchError
from sam3_tvm.bench.profile import (
    KernelRow,
    Profile,
    kernel_arithmetic,
    kernel_flops,
    profile,
)


@pytest.mark.parametrize(
    ("name", "shapes", "products"),
    [
        ("linear_96x232_bias_gelu", [(144, 96), (8, 96, 32), (256,), (144, 232)], 144 * 96 * 232),
        ("linear_64x1_bias", [(1, 64), (1, 64, 32), (32,), (1, 1)], 64),
        ("matmul_64x2304", [(2, 20, 64), (2, 64, 2304), (2, 20, 2304)], 2 * 20 * 64 * 2304),
        (
            "conv3x3_64x32_12x12_bias",
            [(1, 64, 12, 12), (4, 576, 8), (32,), (1, 32, 12, 12)],
            9 * 64 * 32 * 144,
        ),
        (
            "conv3x3_winograd_64x32_13x12_bias",
            [(2, 64, 13, 12), (4, 576, 8), (32,), (2, 32, 13, 12)],
            36 * 64 * 32 * 2 * 4 * 3,
        ),
        (
            "depthwise1x11_64_1x32",
            [(2, 64, 1, 32), (64, 11), (2, 64, 1, 32)],
            11 * 2 * 64 * 32,
        ),
        (
            "conv_upsampled3x3_64x32_6x7_residual",
            [(2, 64, 6, 7), (36, 64, 8), (2, 32, 12, 14), (2, 32, 12, 14)],
            9 * 2 * 64 * 32 * 6 * 7,
        ),
        (
            "conv3x3_matrix_64x32_12x12_bias_bfloat16",
            [(1, 64, 12, 12), (1, 18, 1024), (32,), (1, 32, 12, 12)],
            9 * 64 * 32 * 144,
        ),
        (
            "conv_parities3x3_64x32_6x7_residual_bfloat16",
            [(2, 64, 6, 7), (4, 8, 1024), (2, 32, 12, 14), (2, 32, 12, 14)],
            16 * 2 * 64 * 32 * 6 * 7,
        ),
        (
            "conv_transpose2x2_96x48_12x12_bias",
            [(1, 96, 12, 12), (24, 96, 8), (48,), (1, 48, 24, 24)],
            4 * 96 * 48 * 144,
        ),
        (
            "attention_4x16_bias_bqk",
            [(2, 21, 4, 16), (2, 32, 4, 16), (2, 32, 4, 16), (2, 1, 21, 32), (2, 21, 4, 16)],
            2 * 2 * 4 * 21 * 32 * 16,
        ),
        (
            "attention_1x256",
            [(2, 9, 1, 256), (2, 41, 1, 256), (2, 41, 1, 64), (2, 9, 1, 64)],
            2 * 9 * 41 * (256 + 64),
        ),
        (
            "attention_4x16_packed_bias_bqk",
            [(2, 21, 3, 4, 16)] * 3 + [(2, 1, 21, 21), (2, 21, 4, 16)],
            2 * 2 * 4 * 21 * 21 * 16,
        ),
        (
            "attention_4x16_packed_windows_5x6_rotary",
            [(2, 3, 5, 2, 6, 3, 4, 16)] * 3 + [(30, 2, 16), (2, 3, 5, 2, 6, 4, 16)],
            2 * (2 * 6) * 4 * 30 * 30 * 16,
        ),
    ],
)
def test_multiply_adds_of_a_kernel(name, shapes, products):
    assert kernel_flops(name, shapes) == 2 * products


@pytest.mark.parametrize("name", ["layer_norm_96", "fused_add_linear", "convert", "add27"])
def test_a_name_that_does_not_tell_counts_nothing(name):
    assert kernel_flops(name, [(4, 96), (4, 96)]) is None
    assert kernel_flops("linear_96x96", []) is None


def test_a_profile_accounts_for_the_work_of_the_graph(tiny_artifact):
    torch = pytest.importorskip("torch")
    from sam3_tvm.abi import abi
    from sam3_tvm.bench.parts import select_parts, usual_sizes
    from sam3_tvm.bench.prepare import count_flops
    from sam3_tvm.sources import open_source
    from sam3_tvm.sources.sampling import sample_inputs

    (found,) = profile(tiny_artifact, ["text"], threads=1)
    assert found.function == "text_encoder"
    seconds = [row.seconds for row in found.kernels]
    assert seconds == sorted(seconds, reverse=True)
    assert 0 < sum(seconds) <= found.seconds
    assert all(row.calls > 0 for row in found.kernels)
    assert any(row.name.startswith("linear_") and row.bytes > 0 for row in found.kernels)

    source = open_source("random:tiny")
    components = abi(source.sizes)
    (part,) = select_parts(["text"], components)
    component = components["text_encoder"]
    inputs = sample_inputs(component, usual_sizes(component), 256)
    named = dict(zip((s.name for s in component.inputs), inputs, strict=True))
    with torch.no_grad(), source.patched():
        _, graph = count_flops(source, part, components, named)
    kernels = sum(row.flops or 0 for row in found.kernels)
    # A kernel that lost its name would go missing here; a shorter way would not be this short.
    assert 0.8 * graph <= kernels <= 1.001 * graph


def test_a_profile_sums_to_the_functions_time():
    kernels = [KernelRow("linear_8x8", 2, 0.5, 40, 100), KernelRow("add", 1, 0.25, None, 20)]
    one = Profile("f", 1.0, kernels)
    assert one.flops == 40
    assert one.between == 0.25
    data = one.to_json({"float32": 80.0})
    assert data["share_of_peak"] == 0.5
    shares = [row["share"] for row in data["kernels"]]
    assert sum(shares) + data["seconds_between_kernels"] == 1.0
    assert [row["share_of_peak"] for row in data["kernels"]] == [1.0, None]
    assert data["kernels"][0]["bytes_per_second"] == 200.0


@pytest.mark.parametrize(
    ("name", "arithmetic"),
    [
        ("linear_1024x4736_bias_gelu", "float32"),
        ("linear_1024x4736_bias_gelu_bfloat16", "bfloat16"),
        ("linear_1024x4736_bias_gelu_w8a8", "int8"),
        ("linear_1024x4736_bias_gelu_int8", "float32"),
        ("attention_16x64_packed_rotary_bfloat16", "bfloat16"),
        ("conv1x1_1024x256_12x432_bias_bfloat16", "bfloat16"),
        ("conv3x3_winograd_256x256_72x72_bias_bfloat16", "float32"),
        ("conv3x3_matrix_256x256_72x72_bias_bfloat16", "bfloat16"),
        ("conv_parities3x3_256x256_72x72_bfloat16", "bfloat16"),
        ("attention_8x32_packed_of_rounded_rounded_bfloat161", "bfloat16"),
        ("linear_256x8_w8a82", "int8"),
        ("layer_norm_1024", "float32"),
    ],
)
def test_a_kernels_share_is_of_the_peak_in_its_arithmetic(name, arithmetic):
    assert kernel_arithmetic(name) == arithmetic
    peaks = {"float32": 100.0, "bfloat16": 200.0, "int8": 400.0}
    row = KernelRow(name, 1, 0.5, 40, 100)
    assert row.share(peaks) == 80.0 / peaks[arithmetic]
    assert Profile("f", 1.0, [row, row]).share(peaks) == pytest.approx(80.0 / peaks[arithmetic])


def test_without_instructions_pairs_are_held_to_float32_and_bytes_to_nothing():
    peaks = {"float32": 100.0}
    pairs, eight = (KernelRow(f"linear_8x8_{end}", 1, 1.0, 50, 8) for end in ("bfloat16", "w8a8"))
    assert pairs.share(peaks) == 0.5
    assert eight.share(peaks) is None
    assert Profile("f", 2.0, [pairs, eight]).share(peaks) == 0.25


def test_both_halves_of_a_function_are_profiled(tiny_artifact):
    found = profile(tiny_artifact, ["detr_encoder"], threads=1)
    assert [one.function for one in found] == ["detr_encoder_image", "detr_encoder_prompt"]
    attention = [
        sum(row.calls for row in one.kernels if row.name.startswith("attention_")) for one in found
    ]
    assert attention == [1, 3]


def test_attention_is_counted_on_the_cpu():
    torch = pytest.importorskip("torch")
    from sam3_tvm.bench.parts import Part, chain
    from sam3_tvm.bench.prepare import count_flops
    from sam3_tvm.components import Component, TensorSpec

    class Attention(torch.nn.Module):
        def forward(self, q, k, v):
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    class Source:
        def component(self, name):
            return Attention()

    shape = (2, 3, 40, 16)
    specs = tuple(TensorSpec(n, "float32", shape) for n in "qkv")
    component = Component("attend", specs, (TensorSpec("out", "float32", shape),))
    inputs = dict(zip("qkv", torch.randn(3, *shape), strict=True))
    outputs, flops = count_flops(
        Source(), Part("attend", "", chain("attend")), {"attend": component}, inputs
    )
    assert flops == 4 * math.prod(shape) * 40
    assert np.asarray(outputs["out"]).shape == shape


def test_what_runs_no_function_by_itself_cannot_be_profiled(tiny_artifact):
    with pytest.raises(BenchError, match="nothing to profile"):
        profile(tiny_artifact, ["eight_prompts"], threads=1)
