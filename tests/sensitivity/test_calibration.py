"""What pictures decide about int8: factors for channels that stick out, layers that lose most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sam3_tvm.sensitivity import Fold, calibrate, measure
from sam3_tvm.sources.base import PromptSpec

PREFIX = "text_encoder.text_model.encoder.layers.1."
FOLD = Fold(
    f"{PREFIX}layer_norm2.weight", f"{PREFIX}layer_norm2.bias", (f"{PREFIX}mlp.fc1.weight",)
)
QKV = Fold(
    f"{PREFIX}layer_norm1.weight",
    f"{PREFIX}layer_norm1.bias",
    tuple(f"{PREFIX}self_attn.{n}_proj.weight" for n in "qkv"),
)
PICTURES = [np.random.default_rng(i).integers(0, 256, (40, 30, 3), np.uint8) for i in range(2)]


def ask(rgb):
    return [PromptSpec("dog"), PromptSpec("two small cats")]


@pytest.fixture(scope="module")
def outliers():
    """A model of its own, two of whose norms give a few channels that are far larger than the
    others, and whose layers take that back."""
    from sam3_tvm.sources import open_source

    source = open_source("random:tiny", ["concepts"])
    parameters = dict(source.component("text_encoder").named_parameters())
    with torch.no_grad():
        for fold in (FOLD, QKV):
            factor = torch.ones(64)
            factor[[3, 40]] = 60
            for name in (fold.scale, fold.shift):
                parameters[name] *= factor
            for name in fold.weights:
                parameters[name] /= factor
    return source


def calibrated(source, bound=1.0, **options):
    return calibrate(source, PICTURES, ask, {"text_encoder": [FOLD, QKV]}, bound, **options)


def test_channels_that_stick_out_are_smoothed_and_int8_loses_less(outliers, noise):
    told = []
    choice = calibrated(outliers, progress=lambda *step: told.append(step))["text_encoder"]
    assert set(choice.factors) == {FOLD, QKV}
    for factors in choice.factors.values():
        assert factors.dtype == np.float32
        others = np.delete(factors, [3, 40])
        assert factors[[3, 40]].min() > 5 * others.max()
    assert [done for _, done, _ in told] == list(range(len(told)))
    assert told[-1][2] == len(told)
    smoothing = {
        weight: torch.from_numpy(values)
        for fold, values in choice.factors.items()
        for weight in fold.weights
    }
    plain, smoothed = (
        measure(
            outliers,
            [noise],
            ask,
            functions=["text_encoder"],
            pattern="*layers.1.*",
            smoothing={"text_encoder": some},
        )
        for some in ({}, smoothing)
    )
    errors = [{r.layer: r.own for r in one.rows} for one in (plain, smoothed)]
    for name in (f"{PREFIX}mlp.fc1", f"{PREFIX}self_attn.{{q_proj,k_proj,v_proj}}"):
        assert errors[1][name] < 0.5 * errors[0][name]
    # A layer that no norm feeds is what it was.
    assert errors[1][f"{PREFIX}mlp.fc2"] == errors[0][f"{PREFIX}mlp.fc2"]


def test_layers_above_the_bound_are_excepted_and_no_others(outliers):
    errors = calibrated(outliers)["text_encoder"].errors
    ranked = sorted(errors.values())
    bound = (ranked[-3] + ranked[-2]) / 2
    choice = calibrated(outliers, bound)["text_encoder"]
    assert [choice.errors[layer] > bound for layer in choice.excepted] == [True, True]
    assert not calibrated(outliers, 1.0)["text_encoder"].excepted


def test_a_channel_that_is_always_zero_has_nothing_to_give(outliers):
    parameters = dict(outliers.component("text_encoder").named_parameters())
    before = [parameters[name].clone() for name in (FOLD.scale, FOLD.shift)]
    with torch.no_grad():
        for name in (FOLD.scale, FOLD.shift):
            parameters[name][7] = 0
        try:
            factors = calibrated(outliers)["text_encoder"].factors[FOLD]
        finally:
            for name, values in zip((FOLD.scale, FOLD.shift), before, strict=True):
                parameters[name].copy_(values)
    assert factors[7] == 1
    assert np.isfinite(factors).all()
    assert (factors > 0).all()
