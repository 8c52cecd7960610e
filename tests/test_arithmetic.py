"""Schemes of arithmetic: by name, by how weights are stored, and what reports say of them."""

from __future__ import annotations

import pytest

from sam3_tvm.arithmetic import (
    BFLOAT16,
    BFLOAT16_FEATURES,
    COMPUTES,
    FLOAT32,
    INT8,
    PRECISIONS,
    SCHEMES,
    scheme,
    storing,
)
from sam3_tvm.verify import Bounds


def test_precisions_of_weights_are_schemes_in_float32():
    assert PRECISIONS == ("float32", "float16", "int8")
    assert [storing(p).weights for p in PRECISIONS] == list(PRECISIONS)
    assert storing("float32") is FLOAT32
    assert {storing(p).activations for p in PRECISIONS} == {"float32"}
    assert f"{storing('int8')}" == "int8, arithmetic in float32"


def test_arithmetic_brings_its_weights():
    assert COMPUTES == ("float32", "bfloat16", "int8")
    assert scheme("int8") is INT8
    assert scheme("bfloat16") is scheme("bfloat16", "bfloat16") is BFLOAT16
    assert scheme("float32") is FLOAT32
    with pytest.raises(KeyError, match="no arithmetic in bfloat16 has weights in int8"):
        scheme("bfloat16", "int8")


def test_clicks_are_decoded_with_their_tokens_in_float32():
    assert BFLOAT16.of_function("click_decoder") is BFLOAT16_FEATURES
    assert INT8.of_function("click_decoder") is BFLOAT16_FEATURES
    assert BFLOAT16.of_function("prompt_encoder") is BFLOAT16
    assert storing("float16").of_function("click_decoder") is storing("float16")
    scheme = BFLOAT16_FEATURES
    assert scheme.of_attention is FLOAT32
    assert scheme.of_layer(256, 256, rows=1) is scheme.of_layer(256, 256, rows=4) is FLOAT32
    assert scheme.of_layer(128, 256, rows=5184) is scheme
    assert scheme.of_layer(4, 256, rows=5184) is scheme.of_layer(64, 63, rows=5184) is FLOAT32
    assert scheme.of_convolution(64) is scheme
    assert scheme.of_convolution(8) is FLOAT32


def test_coordinates_are_multiplied_in_float32():
    for one in (BFLOAT16, BFLOAT16_FEATURES, INT8):
        assert one.of_layer(256, 2, rows=5184) is one.of_layer(256, 4, rows=1) is FLOAT32
        assert one.of_layer(256, 16, rows=5184).activations == "bfloat16"
    assert storing("float16").of_layer(256, 2, rows=1) is storing("float16")


def test_layers_of_few_rows_are_as_others_in_the_other_schemes():
    assert BFLOAT16.of_layer(256, 256, rows=1) is BFLOAT16
    assert BFLOAT16.of_attention is INT8.of_attention is BFLOAT16
    assert INT8.of_layer(256, 256, rows=1) is INT8


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_a_scheme_is_under_its_name_has_bounds_and_says_what_it_excepts(scheme):
    assert SCHEMES[scheme.name] is scheme
    assert Bounds.of(scheme).function > 0
    assert bool(scheme.exceptions) == (scheme is not FLOAT32)


def test_coarser_schemes_come_later():
    bounds = [Bounds.of(scheme).function for scheme in SCHEMES.values()]
    assert bounds == sorted(bounds)
