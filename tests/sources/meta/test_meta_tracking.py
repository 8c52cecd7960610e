"""Films and clicks beside Meta's own predictors, on the same weights; and where those differ from
what the runtime does with prompts, how far."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from meta_tiny import needs_meta
from track_harness import Studio, compare, moving_shapes, shape, show

from sam3_tvm.sources.base import ShowSpec
from sam3_tvm.sources.meta.tracker_reference import MetaFilm
from sam3_tvm.verify.clicks import click_prompts
from sam3_tvm.verify.end_to_end import mask_iou
from tests.video_scenes import frame

pytestmark = needs_meta

DISC = ShowSpec(1, 0, points=((34.0, 65.0),), labels=(1,))


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio("random:meta-tiny")


def both(studio, frames, *prompts):
    """Our session and Meta's with the same prompts."""
    source = studio.source
    film = MetaFilm(source.model, source.tracker, source.preprocessing, frames)
    session = studio.model.track(frames)
    for prompt in prompts:
        film.show(prompt)
        show(session, prompt)
    return session, film


@pytest.mark.parametrize(
    "prompt",
    [
        DISC,
        ShowSpec(7, 0, points=((60.0, 76.0), (160.0, 160.0)), labels=(1, 0)),
        ShowSpec(7, 0, box=(90.0, 36.0, 150.0, 94.0)),
        ShowSpec(7, 0, points=((60.0, 76.0),), labels=(1,), box=(10.0, 50.0, 72.0, 110.0)),
    ],
    ids=["point", "points", "box", "box-and-point"],
)
def test_an_object_is_followed_as_by_meta_s_predictor(studio, prompt):
    session, film = both(studio, moving_shapes(9), prompt)
    compare(session.propagate(), film.propagate(0))


def test_a_film_of_pictures_of_another_size():
    session, film = both(Studio("random:meta-tiny", image_size=126), moving_shapes(5), DISC)
    compare(session.propagate(), film.propagate(0))


def test_from_the_middle_to_both_ends(studio):
    session, film = both(studio, moving_shapes(9), ShowSpec(1, 4, box=(40.0, 70.0, 80.0, 120.0)))
    compare(session.propagate(), film.propagate(4))
    compare(session.propagate(reverse=True), film.propagate(4, reverse=True))


def test_of_many_frames_with_prompts_those_looked_at_give_pointers(studio):
    # transformers takes the pointers of all six, and the memories of four.
    prompts = [
        ShowSpec(1, frame, points=((40.0 + 4 * frame, 80.0),), labels=(1,))
        for frame in (7, 0, 10, 4, 2, 13)
    ]
    session, film = both(studio, moving_shapes(17), *prompts)
    compare(session.propagate(), film.propagate(0))


def test_an_object_that_is_not_there_is_remembered_as_absent():
    studio = Studio("random:meta-tiny")
    with torch.no_grad():
        studio.source.tracker.sam_mask_decoder.pred_obj_score_head.layers[-1].bias -= 1.5
    session, film = both(studio, moving_shapes(9), DISC)
    compare(session.propagate(), film.propagate(0), share=0)


def test_a_mask_of_the_size_of_the_model_s_picture_is_taken_as_by_meta_s_predictor(studio):
    side = studio.source.sizes.image
    scenes = [frame(index, (side, side)) for index in range(6)]
    prompt = ShowSpec(4, 0, mask=scenes[0].masks[0])
    session, film = both(studio, [scene.rgb for scene in scenes], prompt)
    compare(session.propagate(), film.propagate(0))


@pytest.mark.parametrize("number", [0, 2])
def test_a_mask_of_another_size_is_resized_once_as_by_meta_s_predictor(studio, number):
    session, film = both(studio, moving_shapes(6), ShowSpec(4, 0, mask=shape(0, number)))
    compare(session.propagate(), film.propagate(0))


def test_a_correction_is_taken_without_memory_by_meta_s_predictor(studio):
    session, film = both(studio, moving_shapes(6), DISC)
    compare(session.propagate(), film.propagate(0))
    correction = ShowSpec(1, 3, points=((116.0, 68.0),), labels=(1,))
    ours = show(session, correction)
    film.show(correction)
    (theirs,) = film.propagate(3, last=3)
    assert mask_iou(ours.masks[0], theirs.masks[0]) < 0.9


def test_clicks_are_answered_as_by_meta_s_predictor(studio):
    """With the embedding that says that there is no memory, which transformers leaves out."""
    rgb = moving_shapes(1)[0]
    prompts = click_prompts(rgb)
    wanted = studio.source.reference_clicker().click(rgb, prompts)
    image = studio.model.encode_image(rgb)
    for prompt, theirs in zip(prompts, wanted, strict=True):

        def answer(mask, prompt=prompt):
            points, labels = list(prompt.points) or None, list(prompt.labels) or None
            return studio.model.click(image, points, labels, prompt.box, mask, prompt.multimask)

        ours = answer(None)
        if prompt.refined:
            ours = answer(ours.logits[ours.best])
        np.testing.assert_allclose(ours.iou, theirs.iou, atol=1e-5)
        assert ours.masks.shape == theirs.masks.shape
        for mask, other in zip(ours.masks, theirs.masks, strict=True):
            assert mask_iou(mask, other) >= 0.999


def test_without_that_embedding_clicks_would_be_answered_otherwise(studio):
    rgb = moving_shapes(1)[0]
    tracker = studio.source.tracker
    prompts = click_prompts(rgb)[:1]
    with_it = studio.source.reference_clicker().click(rgb, prompts)[0]
    kept = tracker.no_mem_embed.data
    try:
        tracker.no_mem_embed.data = torch.zeros_like(kept)
        without = studio.source.reference_clicker().click(rgb, prompts)[0]
    finally:
        tracker.no_mem_embed.data = kept
    assert np.abs(with_it.iou - without.iou).max() > 1e-3
