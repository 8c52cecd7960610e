"""Encoded pictures, bounded by bytes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi")

from sam3_tvm.runtime import EncodedImage
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.problems import Problem
from sam3_tvm.serve.store import Store, bytes_of


def encoded(size: int) -> EncodedImage:
    return EncodedImage({"x": np.zeros(size, np.uint8)}, (1, 1), "")


def test_what_was_not_used_for_longest_makes_room():
    store = Store(100, Metrics())
    store.add("a", encoded(40))
    store.add("b", encoded(40))
    store.get("a")
    store.add("c", encoded(40))
    assert store.find("b") is None
    assert store.find("a")
    assert store.find("c")


def test_the_same_again_takes_its_room_once():
    store = Store(100, Metrics())
    for _ in range(3):
        store.add("a", encoded(60))
    store.add("b", encoded(40))
    assert store.find("a")
    assert store.remove("a")
    assert not store.remove("a")


def test_what_takes_more_than_all_may_is_refused_and_the_others_stay():
    store = Store(100, Metrics())
    store.add("a", encoded(40))
    with pytest.raises(Problem, match="101 bytes") as told:
        store.add("b", encoded(101))
    assert told.value.status_code == 413
    assert store.find("a")


def test_the_picture_that_is_kept_for_drawing_counts():
    kept = KeptPicture(np.zeros((2, 3, 3), np.uint8))
    assert bytes_of(EncodedImage({"x": np.zeros(5, np.float32)}, (2, 3), "", kept)) == 20 + 18
