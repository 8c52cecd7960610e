"""Which engines there are, and what one does beside calling functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sam3_tvm.abi import abi
from sam3_tvm.bench import engines
from sam3_tvm.bench.engines import (
    ENGINES,
    EngineInfo,
    lacking,
    our_engines,
    select_engines,
)
from sam3_tvm.bench.engines.ours import _Remembering
from sam3_tvm.bench.parts import BenchError
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.sizes import Sizes

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


def test_an_engine_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(
        engines.ENGINES,
        "other",
        EngineInfo("other", "Other", ("no_such_package",)),
    )
    with pytest.raises(BenchError) as caught:
        select_engines(["other"])
    assert "\n" not in f"{caught.value}"
    assert "no_such_package" in f"{caught.value}"
    assert "pip install 'sam3-tvm[bench]'" in f"{caught.value}"
    # Of all it is one, which says what it lacks.
    listed = {e.name: e for e in select_engines(None)}
    assert lacking(listed["other"]) == ["no_such_package"]


def test_an_unknown_engine_lists_the_known():
    with pytest.raises(BenchError, match=r"'tensorrt'; accepted are torch, .*openvino"):
        select_engines(["tensorrt"])


def test_every_engine_of_the_table_can_be_opened():
    assert set(engines._CLASSES) == {engines.OURS, *ENGINES}


def test_one_artifact_is_ours_and_several_are_told_apart_by_their_folders(tmp_path):
    (one,) = our_engines([tmp_path / "sam3"])
    assert (one.name, one.title, one.ours) == ("sam3-tvm", "sam3-tvm", True)
    folders = [Path(p) for p in ("a/sam3-f32", "a/sam3", "b/sam3")]
    several = our_engines(folders)
    assert [e.title for e in several] == ["sam3-f32", "a/sam3", "b/sam3"]
    assert [e.artifact for e in several] == folders
    assert all(e.ours for e in several)
    assert len({e.name for e in several}) == 3
    assert not any(e.ours for e in ENGINES.values())
