"""A source's functions, recorded and with layers in eight bits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from sam3_tvm.abi import abi
from sam3_tvm.arithmetic import INT8
from sam3_tvm.sensitivity.functions import Error, Layer, ReferenceFunctions, Trial
from sam3_tvm.sources.sampling import example_sizes, sample_inputs

FUNCTIONS = ("vision_encoder", "text_encoder", "memory_attention")


def given(source, name, seed=0):
    component = abi(source.sizes)[name]
    inputs = sample_inputs(component, example_sizes(component), source.vocabulary_size(), seed)
    return [x if isinstance(x, tuple) else x.numpy() for x in inputs]


@pytest.fixture(scope="module")
def recorded(tiny_source):
    """The functions, each called once, with what they were given."""
    reference = ReferenceFunctions(tiny_source)
    inputs = {name: given(tiny_source, name) for name in FUNCTIONS}
    for name in FUNCTIONS:
        reference(name, inputs[name])
    return reference, inputs


def test_layers_are_those_that_the_compiler_multiplies_in_int8(tiny_source, recorded):
    """But for those whose result nobody reads, which the compiler drops."""
    pytest.importorskip("tvm")
    from sam3_tvm.compiler import pipeline
    from sam3_tvm.compiler.graph.dataflow import Dataflow
    from sam3_tvm.compiler.graph.linear_patterns import find_linear_layers
    from sam3_tvm.compiler.importing import import_component
    from sam3_tvm.compiler.targets.cpu import CpuTarget

    reference, inputs = recorded
    options = pipeline.Options(CpuTarget.native())
    for name in ("text_encoder", "memory_attention"):
        mod, params = import_component(tiny_source, abi(tiny_source.sizes)[name], INT8)
        mod = pipeline.run_phase(mod, pipeline.CANONICAL, options)
        compiled = Counter(
            (layer.k, layer.n)
            for layer in find_linear_layers(Dataflow(mod[name])).values()
            if INT8.of_layer(layer.n, layer.k, rows=1) is INT8
        )
        ours = Counter()
        for layer in [one for one in reference.layers if one.function == name]:
            trial = Trial(name, frozenset(layer.weights))
            with reference.trying(trial):
                reference(name, inputs[name])
            assert set(layer.weights) <= {*params}
            if trial.at_end > 0:
                ours[layer.inputs, layer.outputs // len(layer.weights)] += len(layer.weights)
        assert ours == compiled, name


def test_layers_that_read_the_same_rows_are_one(recorded):
    reference, _ = recorded
    names = [layer.name for layer in reference.layers]
    assert "vision_encoder.backbone.layers.0.attention.{q_proj,k_proj,v_proj}" in names
    # Keys of memories have positions added, values don't.
    assert "memory_attention.layers.0.cross_attn_image.k_proj" in names
    assert "memory_attention.layers.0.cross_attn_image.v_proj" in names
    merged = next(layer for layer in reference.layers if "q_proj,k_proj,v_proj" in layer.name)
    assert (merged.inputs, merged.outputs) == (96, 288)
    assert Layer("f", ("a.b.weight", "c.weight"), 1, 2).name == "{a.b,c}"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_skipping_blocks_changes_nothing(tiny_source, recorded, name):
    """A function that never was recorded has nothing to skip."""
    reference, inputs = recorded
    fresh = ReferenceFunctions(tiny_source)
    layers = [layer for layer in reference.layers if layer.function == name]
    for layer in (layers[0], layers[len(layers) // 2], layers[-1]):
        outputs = []
        for functions in (reference, fresh):
            trial = Trial(name, frozenset(layer.weights))
            with functions.trying(trial):
                outputs.append(functions(name, inputs[name]))
            assert trial.own.relative > 0
        for skipped, whole in zip(*outputs, strict=True):
            np.testing.assert_array_equal(skipped, whole)


def test_blocks_before_a_layer_are_not_computed(tiny_source):
    reference = ReferenceFunctions(tiny_source)
    inputs = given(tiny_source, "vision_encoder")
    reference("vision_encoder", inputs)
    ran = []
    layers = reference._modules["vision_encoder"].vision_encoder.backbone.layers
    hooks = [
        block.layer_norm1.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(layers)
    ]
    trial = Trial("vision_encoder", frozenset([f"{_PREFIX}2.mlp.fc2.weight"]))
    with reference.trying(trial):
        reference("vision_encoder", inputs)
    for hook in hooks:
        hook.remove()
    assert ran == [2, 3]
    assert 0 < trial.at_end < trial.own.relative < 0.1
    assert all("forward" not in vars(block) for block in layers)


_PREFIX = "vision_encoder.backbone.layers."


def test_a_trial_is_over_when_it_is_over_and_other_inputs_are_computed_anew(tiny_source):
    reference = ReferenceFunctions(tiny_source)
    inputs, others = (given(tiny_source, "text_encoder", seed) for seed in (0, 1))
    before = [output.copy() for output in reference("text_encoder", inputs)]
    (layer, *_) = reference.layers
    trial = Trial("text_encoder", frozenset(layer.weights))
    with reference.trying(trial):
        (changed,) = reference("text_encoder", inputs)
        counted = trial.outputs[0].of
        (elsewhere,) = reference("text_encoder", others)
    # There is nothing to compare these with.
    assert trial.outputs[0].of == counted
    assert not np.array_equal(changed, before[0])
    assert not np.array_equal(elsewhere, changed)
    np.testing.assert_array_equal(reference("text_encoder", inputs)[0], before[0])


def test_errors_are_relative_and_count_what_was_added():
    error = Error()
    assert error.relative == 0
    error.add(np.array([3.0, 4.5]), np.array([3.0, 4.0]))
    assert error.relative == pytest.approx(0.1)
    error.add(torch.tensor([0.0, 0.0]), torch.tensor([0.0, 5.0]))
    assert error.relative == pytest.approx(np.sqrt(25.25 / 50))
