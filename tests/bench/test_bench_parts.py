"""Parts of the work: how functions are wired, and how results are compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sam3_tvm.abi import abi
from sam3_tvm.bench.parts import (
    EIGHT,
    FILM,
    KEPT,
    OBJECTS,
    BenchError,
    Part,
    Step,
    chain,
    compare,
    default_parts,
    external_inputs,
    kept_queries,
    load_arrays,
    run_part,
    save_arrays,
    select_parts,
    usual_sizes,
)
from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.sizes import ClickSizes, Sizes, VideoSizes

SIZES = Sizes(image=168, grid=12, hidden=8, text_tokens=5, queries=30, heads=2)
ABI = abi(SIZES)
TRACKING = abi(replace(SIZES, clicks=ClickSizes(16, 4), video=VideoSizes(4, 10)))
DETECT = next(p for p in default_parts(ABI) if p.name == "one_prompt")

ROWS = Dim("queries", 1, 30)
TOY = {
    "detect": Component(
        "detect",
        (TensorSpec("x", "float32", (1, 30)),),
        (TensorSpec("queries", "float32", (1, 30)), TensorSpec("score", "float32", (1,))),
    ),
    "draw": Component(
        "draw",
        (TensorSpec("queries", "float32", (1, ROWS)), TensorSpec("y", "float32", (1,))),
        (TensorSpec("masks", "float32", (1, ROWS)),),
    ),
}
CHAIN = Part("chain", "Chain", chain("detect", "draw"), keeps=True)


def toy(name, inputs):
    if name == "detect":
        return inputs[0] * 2, inputs[0][:, 0]
    return (inputs[0] + inputs[1],)


def toy_inputs():
    return {"x": np.arange(30, dtype=np.float32)[None], "y": np.ones(1, np.float32)}


def test_a_parts_inputs_are_what_its_functions_do_not_make():
    names = [spec.name for spec in external_inputs(DETECT, ABI)]
    assert names == ["fpn_2", "prompt", "prompt_mask", "fpn_0", "fpn_1"]
    assert [s.name for s in external_inputs(CHAIN, TOY)] == ["x", "y"]


def test_outputs_feed_the_next_function():
    outputs = run_part(CHAIN, TOY, toy_inputs(), toy)
    assert list(outputs) == ["queries", "score", "masks"]
    np.testing.assert_array_equal(outputs["masks"], outputs["queries"] + 1)


def test_kept_queries_alone_go_on_and_are_compared_with_their_own():
    kept = kept_queries(30)
    seen = {}

    def call(name, inputs):
        seen[name] = inputs[0].shape
        return toy(name, inputs)

    got = run_part(CHAIN, TOY, toy_inputs(), call, kept)
    assert seen == {"detect": (1, 30), "draw": (1, KEPT)}
    reference = run_part(CHAIN, TOY, toy_inputs(), toy)
    assert compare(CHAIN, TOY, got, reference, kept).largest == 0.0
    assert compare(CHAIN, TOY, got, reference, None).rms == np.inf
    got["masks"] = got["masks"][:, ::-1]
    assert compare(CHAIN, TOY, got, reference, kept).rms > 0.5


@pytest.mark.parametrize("queries", [1, 19, 20, 200])
def test_kept_queries_are_distinct_and_in_range(queries):
    kept = kept_queries(queries)
    assert len(set(kept.tolist())) == len(kept) == min(KEPT, queries)
    assert kept.min() == 0
    assert kept.max() == queries - 1


def test_not_a_number_anywhere_is_never_within_a_bound():
    reference = run_part(CHAIN, TOY, toy_inputs(), toy)
    for name in ("queries", "masks"):
        got = {**reference, name: np.full_like(reference[name], np.nan)}
        assert compare(CHAIN, TOY, got, reference, None).off


def test_parts_and_functions_are_selected_by_name():
    named = [p.name for p in select_parts(None, ABI)]
    assert named == ["encode_image", "text", "one_prompt", "eight_prompts"]
    chosen = select_parts(["mask_decoder", "text", "mask_decoder"], ABI)
    assert [p.functions for p in chosen] == [("mask_decoder",), ("text_encoder",)]
    # Alone, the mask decoder does the same work in every engine.
    assert not chosen[0].keeps
    with pytest.raises(BenchError, match=r"'masks'; accepted are encode_image, .*mask_decoder"):
        select_parts(["masks"], ABI)


def test_a_click_is_a_part_where_there_are_functions_for_it():
    assert "click" in [p.name for p in default_parts(TRACKING)]
    (part,) = select_parts(["click"], TRACKING)
    names = [spec.name for spec in external_inputs(part, TRACKING)]
    assert names[:4] == ["clicks", "click_labels", "mask_logits", "mask_given"]
    assert names[4:] == ["tracker_0", "tracker_1", "tracker_2"]
    with pytest.raises(BenchError, match="nothing to measure named 'click'"):
        select_parts(["click"], ABI)


TWICE = Part(
    "twice",
    "Twice",
    (
        Step("detect", gives={"score": "first"}),
        Step("draw", takes={"y": "first"}, gives={"masks": "first_masks"}),
        Step("detect", takes={"x": "first_masks"}, gives={"score": "second"}),
    ),
)


def test_a_function_runs_again_on_what_goes_by_other_names():
    x = np.arange(1.0, 31.0, dtype=np.float32)[None]
    outputs = run_part(TWICE, TOY, {"x": x}, toy)
    assert list(outputs) == ["queries", "first", "first_masks", "second"]
    np.testing.assert_array_equal(outputs["first_masks"], 2 * x + 1)
    # What keeps its name is that of the last call.
    np.testing.assert_array_equal(outputs["queries"], 2 * (2 * x + 1))
    assert TWICE.functions == ("detect", "draw")
    assert [s.name for s in external_inputs(TWICE, TOY)] == ["x"]
    got = {**outputs, "second": outputs["second"] + 100}
    assert compare(TWICE, TOY, got, outputs, None).off


def test_a_frame_of_a_film_is_encoded_once_and_looked_through_for_every_object():
    (part,) = select_parts([FILM], TRACKING)
    calls = []

    def call(name, inputs):
        calls.append(name)
        given = dict(zip((s.name for s in TRACKING[name].inputs), inputs, strict=True))
        if name == "click_decoder":
            # Of the features that remember, each object has its own.
            assert given["tracker_2"] == f"conditioned of call {decoded[len(seen)]}"
            seen.append(given["tracker_2"])
        if name == "memory_encoder":
            assert given["tracker_2"] == "tracker_2 of call 1"
        return [f"{spec.name} of call {len(calls) - 1}" for spec in TRACKING[name].outputs]

    seen: list[str] = []
    decoded = [6 + 5 * number for number in range(OBJECTS)]
    inputs = {spec.name: spec.name for spec in external_inputs(part, TRACKING)}
    outputs = run_part(part, TRACKING, inputs, call)
    assert calls[:2] == ["vision_encoder", "tracker_neck"]
    for once in ("vision_encoder", "tracker_neck", "detr_encoder", "mask_decoder"):
        assert calls.count(once) == 1
    for each in ("memory_attention", "click_decoder", "memory_encoder"):
        assert calls.count(each) == OBJECTS
    # Nothing overwrites what another object made, or the detector.
    assert len(set(outputs.values())) == len(outputs)
    assert {"masks", "masks_of_object_0", f"memory_of_object_{OBJECTS - 1}"} <= set(outputs)
    assert "pointers" in inputs


def test_a_film_is_measured_only_where_it_is_asked_for():
    assert FILM not in [p.name for p in select_parts(None, TRACKING)]
    with pytest.raises(BenchError, match="nothing to measure named 'film'"):
        select_parts([FILM], ABI)


def test_every_part_is_of_functions_or_of_eight_prompts():
    for part in default_parts(TRACKING):
        assert part.functions or part.name == EIGHT


def test_a_function_is_measured_at_the_sizes_that_the_contract_calls_usual():
    assert usual_sizes(TRACKING["resize_masks"]) == {"masks": 20, "height": 1080, "width": 1920}
    memories = {"batch": 1, "memories": 7, "pointers": 16}
    assert usual_sizes(TRACKING["memory_attention"]) == memories
    assert usual_sizes(TRACKING["scoring"]) == {"batch": 1, "prompt": SIZES.text_tokens}


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.array([True])}
    save_arrays(tmp_path / "new", {**arrays, "size": (4, 5)})
    back = load_arrays(tmp_path / "new")
    assert set(back) == {"a", "b", "size"}
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)
    assert tuple(back["size"]) == (4, 5)
