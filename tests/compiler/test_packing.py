"""Weights as they are stored. That results stay the same, test_driver holds."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.compiler import CompileError, packing


def test_weights_beyond_half_precision_are_refused():
    fine = np.array([65504, -6e-8, 0], "float16")
    packing._check_finite("vision_encoder.packed_3", fine)
    packing._check_finite("vision_encoder.mask", np.array([np.inf], "float32"))
    with np.errstate(over="ignore"):
        beyond = np.array([65520], "float32").astype("float16")
    with pytest.raises(CompileError, match=r"vision_encoder\.packed_3 .* 65504"):
        packing._check_finite("vision_encoder.packed_3", beyond)
