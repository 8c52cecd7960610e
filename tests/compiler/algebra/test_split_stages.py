"""What SplitStages moves into the half of the picture, what it keeps, and that both halves
compute what the whole did."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from dispatch_testing import TARGET, build, close, operators, randoms, run
from tvm import relax

from sam3_tvm.abi import BATCH, PROMPT, abi
from sam3_tvm.compiler import pipeline
from sam3_tvm.compiler.algebra.split_stages import SplitStages, stages
from sam3_tvm.compiler.codegen import generate
from sam3_tvm.compiler.graph.dataflow import static_int
from sam3_tvm.compiler.graph.stages import IMAGE_INPUTS
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.components import Component, TensorSpec
from sam3_tvm.sources import open_source

op, nn = relax.op, relax.op.nn

IMAGE, PROMPTS = ("image", ("b", 6, 8)), ("prompt", ("b", "p", 8))
WEIGHTS = [("w", (8, 8)), ("v", (8, 8))]


def _module(body, inputs=(IMAGE, PROMPTS), params=WEIGHTS, image=(0,)):
    mod = build(list(inputs), list(params), body)
    mod["main"] = mod["main"].with_attr(IMAGE_INPUTS, list(image))
    return mod


def _attend(emit, image, prompt, w, v):
    """Tokens of the picture, projected twice, and what the prompt makes of them."""
    tokens = emit(nn.relu(emit(op.matmul(image, w))))
    keys = emit(op.permute_dims(emit(op.matmul(tokens, v)), [0, 2, 1]))
    scores = emit(op.matmul(prompt, keys))
    return emit(op.add(emit(op.matmul(scores, tokens)), prompt))


def _halves(mod):
    return {g.name_hint: f for g, f in mod.functions_items()}


def _signature(func):
    count = int(func.attrs["num_input"])
    return [v.name for v in list(func.params)[:count]]


def _kept(mod):
    """Shapes of what the image half gives; symbols by name."""
    shapes = [list(ty.shape.values) for ty in mod["main_image"].ret_ty.fields]
    return [[d.name if static_int(d) is None else static_int(d) for d in s] for s in shapes]


def _run_halves(split, image, prompt, *weights):
    vm = relax.VirtualMachine(generate(split, TARGET), tvm.cpu())
    tensor = tvm.runtime.tensor
    kept = list(vm["main_image"](*map(tensor, [image, *weights])))
    names = _signature(split["main_prompt"])[len(kept) :]
    given = {"image": image, "prompt": prompt}
    return vm["main_prompt"](
        *kept, *[tensor(given[n]) for n in names], *map(tensor, weights)
    ).numpy()


def test_heavy_work_on_the_picture_becomes_a_function_of_its_own():
    split = SplitStages()(_module(_attend))
    assert set(_halves(split)) == {"main_image", "main_prompt"}
    first, second = split["main_image"], split["main_prompt"]
    assert _signature(first) == ["image"]
    assert _signature(second) == ["kept_0", "kept_1", "prompt"]
    text = second.script()
    assert text.count("R.matmul") == 2
    assert first.script().count("R.matmul") == 2
    assert "relu" not in text
    assert IMAGE_INPUTS not in second.attrs
    relax.analysis.well_formed(split)


def test_the_halves_are_the_expected_functions():
    def body(emit, image, prompt, w, v):
        return emit(op.add(emit(op.matmul(image, w)), prompt))

    def first(emit, image, w, v):
        return relax.Tuple([emit(op.matmul(image, w))])

    def second(emit, kept, prompt, w, v):
        return emit(op.add(kept, prompt))

    prompts = ("prompt", ("b", 6, 8))
    split = SplitStages()(_module(body, inputs=(IMAGE, prompts)))
    expected = {
        "main_image": build([IMAGE], WEIGHTS, first)["main"],
        "main_prompt": build([("kept_0", ("b", 6, 8)), prompts], WEIGHTS, second)["main"],
    }
    for name, func in expected.items():
        got = split[name].without_attr("stage_inputs").without_attr("global_symbol")
        tvm.ir.assert_structural_equal(got, func.without_attr("global_symbol"), True)


@pytest.mark.parametrize(("batch", "prompts"), [(1, 1), (2, 5), (3, 37)])
def test_one_half_after_the_other_gives_what_the_whole_does(batch, prompts):
    mod = _module(_attend)
    arrays = randoms((batch, 6, 8), (batch, prompts, 8), (8, 8), (8, 8))
    image, prompt, w, v = arrays
    want = run(mod, *arrays)
    np.testing.assert_array_equal(_run_halves(SplitStages()(mod), *arrays), want)
    close(
        want,
        prompt @ (np.maximum(image @ w, 0) @ v).transpose(0, 2, 1) @ np.maximum(image @ w, 0)
        + prompt,
    )


def test_cheap_work_is_done_again_where_that_keeps_less():
    def body(emit, image, prompt, w, v):
        small = emit(op.matmul(image, w))
        b = prompt.ty.shape[0]
        wide = emit(op.concat([small, emit(op.negative(small))], -1))
        total = emit(op.sum(wide, 1, keepdims=True))
        wider = emit(op.broadcast_to(emit(op.reshape(wide, (b, 6, 1, 16))), (b, 6, 7, 16)))
        more = emit(op.sum(emit(op.add(wider, emit(op.sum(prompt))))))
        return emit(op.add(emit(op.add(total, more)), emit(op.reshape(op.sum(wide), ()))))

    split = SplitStages()(_module(body))
    # The sums over the picture, and instead of 6 x 7 x 16 numbers 6 x 8.
    assert _kept(split) == [["b", 6, 8], ["b", 1, 16], []]
    assert {"concat", "negative", "broadcast_to"} <= operators(
        tvm.IRModule({"main": split["main_prompt"]})
    )


def test_what_needs_no_picture_is_not_kept():
    def body(emit, image, prompt, w, v):
        b = image.ty.shape[0]
        encoding = emit(op.broadcast_to(op.reshape(w, (1, 8, 8)), (b, 8, 8)))
        places = emit(op.arange(b, dtype="float32"))
        keys = emit(op.matmul(image, encoding))
        scores = emit(op.matmul(prompt, emit(op.permute_dims(keys, [0, 2, 1]))))
        shifted = emit(op.add(scores, emit(op.reshape(places, (b, 1, 1)))))
        return emit(op.matmul(emit(op.matmul(shifted, image)), encoding))

    mod = _module(body)
    split = SplitStages()(mod)
    # The picture itself is an input of the prompt half and isn't given back by the other.
    assert _kept(split) == [["b", 8, 6]]
    assert _signature(split["main_prompt"]) == ["kept_0", "image", "prompt"]
    arrays = randoms((2, 6, 8), (2, 3, 8), (8, 8), (8, 8))
    np.testing.assert_array_equal(_run_halves(split, *arrays), run(mod, *arrays))


def test_an_input_that_is_not_read_is_not_taken():
    inputs = (IMAGE, PROMPTS, ("fine", ("b", 24, 8)), ("unused", ("b", 4)))
    mod = _module(
        lambda emit, image, prompt, fine, unused, w, v: _attend(emit, image, prompt, w, v),
        inputs=inputs,
        image=(0, 2, 3),
    )
    split = SplitStages()(mod)
    assert _signature(split["main_image"]) == ["image"]
    assert _signature(split["main_prompt"]) == ["kept_0", "kept_1", "prompt"]


def _light(emit, image, prompt, w, v):
    return emit(op.matmul(prompt, emit(op.permute_dims(emit(nn.relu(image)), [0, 2, 1]))))


def _mixed_batch(emit, image, prompt, w, v):
    b = image.ty.shape[0]
    rows = emit(op.exp(emit(op.reshape(emit(op.matmul(image, w)), (b * 6, 8)))))
    return emit(op.matmul(rows, emit(op.reshape(op.sum(prompt, [0, 1]), (8, 1)))))


def _weights_alone(emit, image, prompt, w, v):
    merged = emit(op.matmul(w, v))
    return emit(op.matmul(emit(op.matmul(prompt, merged)), emit(op.permute_dims(image, [0, 2, 1]))))


@pytest.mark.parametrize("body", [_light, _mixed_batch, _weights_alone])
def test_what_does_not_pay_or_cannot_be_shared_stays_whole(body):
    mod = relax.transform.Normalize()(_module(body))
    tvm.ir.assert_structural_equal(SplitStages()(mod), mod)


def test_functions_without_image_inputs_stay_whole():
    mod = relax.transform.Normalize()(build([IMAGE, PROMPTS], WEIGHTS, _attend))
    tvm.ir.assert_structural_equal(SplitStages()(mod), mod)


def test_the_manifest_says_what_was_split():
    whole = Component(
        "main",
        (
            TensorSpec("fpn_2", "float32", (BATCH, 6, 8)),
            TensorSpec("prompt", "float32", (BATCH, PROMPT, 8)),
        ),
        (TensorSpec("out", "float32", (BATCH, PROMPT, 8)),),
    )
    found = stages(SplitStages()(_module(_attend)), whole)
    assert (found.image, found.prompt) == ("main_image", "main_prompt")
    assert (found.image_inputs, found.prompt_inputs) == (("fpn_2",), ("prompt",))
    assert [str(spec) for spec in found.kept] == [
        "kept_0: float32[batch, 6, 8]",
        "kept_1: float32[batch, 8, 6]",
    ]
    assert stages(_module(_attend), whole) is None


def _sam3(name):
    source = open_source("random:tiny")
    component = abi(source.sizes)[name]
    mod, _ = import_component(source, component)
    options = pipeline.Options(TARGET)
    for number in (pipeline.CANONICAL, pipeline.DISPATCH):
        mod = pipeline.run_phase(mod, number, options)
    return mod, component


def _calls(mod, name, *prefixes):
    kernels = []

    def visit(e):
        if isinstance(e, relax.Call) and e.op == tvm.ir.Op.get("relax.call_tir"):
            kernels.append(e.args[0].name_hint)

    relax.analysis.post_order_visit(mod[name], visit)
    return [k for k in kernels if k.startswith(prefixes)]


def test_the_first_self_attention_of_the_detr_encoder_sees_no_prompt():
    mod, component = _sam3("detr_encoder")
    found = stages(mod, component)
    assert found.image_inputs == ("fpn_2",)
    assert found.prompt_inputs == ("prompt", "prompt_mask")
    # The tokens, and the queries with which they look at the prompt.
    assert [spec.shape[1:] for spec in found.kept] == [(144, 64), (144, 4, 16)]
    assert len(_calls(mod, found.image, "attention")) == 1
    # Two layers of two attentions each.
    assert len(_calls(mod, found.prompt, "attention")) == 3


def test_the_geometry_encoder_keeps_the_keys_and_values_of_the_picture():
    mod, component = _sam3("geometry_encoder")
    found = stages(mod, component)
    assert found.prompt_inputs == ("boxes", "box_labels", "box_mask")
    assert [spec.shape[1:] for spec in found.kept] == [(64, 12, 12), *[(144, 4, 16)] * 4]
    assert _calls(mod, found.image, "attention") == []


def test_the_mask_decoder_convolves_the_finer_features_once_per_picture():
    mod, component = _sam3("mask_decoder")
    found = stages(mod, component)
    assert found.image_inputs == ("fpn_0", "fpn_1")
    assert found.prompt_inputs == ("queries", "memory", "prompt", "prompt_mask")
    assert [spec.shape[1:] for spec in found.kept] == [(64, 24, 24), (64, 48, 48)]
    assert len(_calls(mod, found.image, "conv3x3")) == 2
    assert _calls(mod, found.prompt, "conv3x3") == []
    assert len(_calls(mod, found.prompt, "conv_upsampled3x3")) == 2
