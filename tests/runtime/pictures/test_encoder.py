"""Which functions encode a picture: the tracker's neck runs only for what takes its features."""

from __future__ import annotations

import numpy as np
import pytest
import toy

from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.pictures.encoder import Encoder

PICTURE = np.full((9, 13, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("functions", "levels", "neck", "kept"),
    [
        (["detr_encoder", "scoring"], (), False, {"fpn_2"}),
        (["prompt_encoder", "scoring"], (), False, set()),
        (["click_decoder"], (), True, {"tracker_0", "tracker_1", "tracker_2"}),
        ([], ("tracker_1",), True, {"tracker_1"}),
        (["detr_encoder"], ("fpn_0",), False, {"fpn_0", "fpn_2"}),
        (None, (), True, {"fpn_0", "fpn_1", "fpn_2", "tracker_0", "tracker_1", "tracker_2"}),
    ],
)
def test_the_neck_runs_for_what_takes_its_features(toy_artifact, functions, levels, neck, kept):
    manifest = toy.with_clicks(toy_artifact.manifest)
    invoked = toy.ToyClickFunctions()
    call = FunctionTable(manifest.components, invoked)
    encode = Encoder(call, manifest, ImageFunctions(call, manifest), levels)
    features = encode(PICTURE, functions)
    assert features.keys() == kept
    assert invoked.calls == {"vision_encoder": 1, **({"tracker_neck": 1} if neck else {})}
