"""The biases of SAM 3's own graphs; small ones are in test_dispatch_attention.py."""

from __future__ import annotations

import re

import pytest
from dispatch_testing import TARGET

from sam3_tvm.abi import abi

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def decoder():
    """``detr_decoder`` of the small model after phase 2, as text."""
    from sam3_tvm.compiler import pipeline
    from sam3_tvm.compiler.importing import import_component
    from sam3_tvm.sources import open_source

    source = open_source("random:tiny")
    mod, _ = import_component(source, abi(source.sizes)["detr_decoder"])
    for phase in (pipeline.CANONICAL, pipeline.DISPATCH):
        mod = pipeline.run_phase(mod, phase, pipeline.Options(TARGET))
    return mod["detr_decoder"].script()


def test_every_layer_adds_the_box_bias_from_its_tables(decoder):
    calls = re.findall(r"attention_\w+", decoder)
    tables = [name for name in calls if re.search(r"_bias_\d+x\d+_from_1$", name)]
    by_key = [name for name in calls if name.endswith("_bias_bk")]
    assert len(tables) == len(by_key) == len(calls) / 3 > 0


def test_no_array_of_queries_and_keys_is_left(decoder):
    size = 144  # pixels of the small model's map
    assert not re.search(rf"Tensor\(\([^)]*, 2[01], {size}\)", decoder)
    assert not re.search(r"Tensor\(\([^)]*, 1, 21, prompt\)", decoder)
