"""A film through the compiled tracker, beside transformers' on the same weights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from track_harness import compare, moving_shapes, shape, show

from sam3_tvm.runtime import load
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import ShowSpec
from sam3_tvm.sources.huggingface.video_reference import ReferenceFilm

PROMPTS = [
    ShowSpec(1, 0, points=((34.0, 65.0),), labels=(1,)),
    ShowSpec(7, 3, box=(90.0, 36.0, 150.0, 94.0)),
    ShowSpec(4, 0, mask=shape(0, 2)),
]


def test_shapes_that_are_hidden_leave_and_come_back_are_followed_as_by_the_reference(tiny_artifact):
    source, frames = open_source("random:tiny"), moving_shapes(42)
    film = ReferenceFilm(source.video_tracker, source.preprocessing, frames, len(frames))
    with load(tiny_artifact).track(frames) as session:
        for prompt in PROMPTS:
            film.show(prompt)
            film.look(prompt.frame)
            show(session, prompt)
        found = compare(session.propagate(), film.propagate())
    assert len(found) == 42
    assert {name for frame in found for name in frame.objects} == {1, 7, 4}
