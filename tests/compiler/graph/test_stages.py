"""Which values of a function depend on the picture alone."""

from __future__ import annotations

from dispatch_testing import build
from tvm import relax

from sam3_tvm.abi import abi
from sam3_tvm.compiler.graph.stages import IMAGE_INPUTS, image_inputs, image_values
from sam3_tvm.compiler.importing import import_component
from sam3_tvm.sources import open_source

op = relax.op


def _values(mod):
    """Names of the known variables besides the function's own parameters."""
    func = mod["main"]
    return {v.name for v in image_values(func)} - {p.name for p in func.params}


def _marked(mod, *positions):
    mod["main"] = mod["main"].with_attr(IMAGE_INPUTS, list(positions))
    return mod


def _function(body):
    inputs = [("image", ("b", 4, 6)), ("prompt", ("b", "p", 6))]
    return build(inputs, [("w", (6, 6))], body)


def test_values_are_known_that_read_the_picture_and_weights_alone():
    def body(emit, image, prompt, w):
        transposed = emit(op.permute_dims(w), "transposed")
        projected = emit(op.matmul(image, transposed), "projected")
        asked = emit(op.matmul(prompt, transposed), "asked")
        scores = emit(op.matmul(projected, op.permute_dims(asked, [0, 2, 1])), "scores")
        return op.add(scores, op.sum(projected, -1, keepdims=True))

    mod = _marked(_function(body), 0)
    known = _values(mod)
    assert {"transposed", "projected"} <= known
    assert not known & {"asked", "scores"}


def test_a_size_that_no_image_input_has_makes_a_value_unknown():
    def body(emit, image, prompt, w):
        p = prompt.ty.shape[1]
        counted = emit(op.arange(p, p + 1, dtype="float32"), "counted")
        total = emit(op.reshape(counted, ()), "total")
        batch = emit(op.arange(image.ty.shape[0], dtype="float32"), "batch")
        rows = emit(op.reshape(batch, (image.ty.shape[0], 1, 1)), "rows")
        return op.add(op.multiply(image, total), rows)

    known = _values(_marked(_function(body), 0))
    assert {"batch", "rows"} <= known
    # Its type alone, float32[1], has no symbol.
    assert "counted" not in known
    assert "total" not in known


def test_without_the_attribute_weights_alone_are_known():
    def body(emit, image, prompt, w):
        transposed = emit(op.permute_dims(w), "transposed")
        projected = emit(op.matmul(image, transposed), "projected")
        return op.sum(projected, -1)

    mod = _function(body)
    assert image_inputs(mod["main"]) == []
    assert _values(mod) == {"transposed"}


def test_components_say_which_inputs_come_from_the_picture():
    source = open_source("random:tiny")
    component = abi(source.sizes)["detr_encoder"]
    mod, _ = import_component(source, component)
    assert [v.name for v in image_inputs(mod["detr_encoder"])] == ["fpn_2"]
    names = {c.name: [c.inputs[i].name for i in c.image_inputs] for c in abi(source.sizes).values()}
    assert {name for name, found in names.items() if found} == {
        "geometry_encoder",
        "detr_encoder",
        "mask_decoder",
        "click_decoder",
        "without_memory",
        "memory_attention",
        "memory_encoder",
    }
    assert names["mask_decoder"] == ["fpn_0", "fpn_1", "fpn_2"]
    assert names["memory_attention"] == ["tracker_2"]
