"""What an engine does beside calling functions."""

from __future__ import annotations

import numpy as np

from sam3_tvm.abi import Sizes, abi
from sam3_tvm.bench.engines import _Remembering
from sam3_tvm.runtime.execution.functions import FunctionTable

ABI = abi(Sizes(image=28, grid=2, hidden=8, text_tokens=5, queries=3, heads=2))


def test_a_picture_is_encoded_once_however_its_features_are_asked_for():
    calls = []

    def invoke(name, inputs):
        calls.append(name)
        shapes = [
            [d if isinstance(d, int) else 1 for d in spec.shape] for spec in ABI[name].outputs
        ]
        return [np.full(shape, len(calls), np.float32) for shape in shapes]

    functions = _Remembering(FunctionTable(ABI, invoke))
    pixels = np.zeros((1, 3, 28, 28), np.float32)
    named = functions.named("vision_encoder", pixels)
    assert list(named) == ["fpn_0", "fpn_1", "fpn_2"]
    plain = functions("vision_encoder", pixels)
    assert [a is b for a, b in zip(named.values(), plain, strict=True)] == [True] * 3
    assert calls == ["vision_encoder"]
    for _ in range(2):
        functions("text_encoder", np.zeros((1, 5), np.int64), np.ones((1, 5), np.int64))
    assert calls == ["vision_encoder", "text_encoder", "text_encoder"]
