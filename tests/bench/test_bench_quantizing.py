"""What engines in eight bits are calibrated on."""

from __future__ import annotations

import numpy as np
import pytest

from sam3_tvm.bench.parts import load_arrays
from sam3_tvm.bench.quantizing import load_samples, save_sample


def test_a_sample_has_what_a_function_is_given_first_in_the_order_of_its_inputs(tmp_path):
    many = [np.full(2, place, np.float32) for place in range(12)]
    save_sample(tmp_path, 0, "attend", many)
    save_sample(tmp_path, 0, "attend", many[::-1])
    save_sample(tmp_path, 1, "attend", many[::-1])
    first, second = load_samples(tmp_path, "attend")
    np.testing.assert_array_equal(first, many)
    np.testing.assert_array_equal(second, many[::-1])
    assert load_samples(tmp_path, "decode") == []


def test_samples_differ_from_each_other_and_from_what_is_measured(tmp_path):
    pytest.importorskip("torch")
    from sam3_tvm.bench.prepare import reference

    reference("random:tiny", ["concepts"], None, ["detr_encoder"], 1, 0, f"{tmp_path}", samples=2)
    measured = [*load_arrays(tmp_path / "inputs" / "detr_encoder").values()]
    first, second = load_samples(tmp_path, "detr_encoder")
    assert [one.shape for one in first] == [one.shape for one in second]
    drawn = [one for one in first if one.dtype == np.float32]
    assert drawn
    for one in drawn:
        assert not any(np.array_equal(one, other) for other in [*second, *measured])
