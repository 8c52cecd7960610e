"""transformers' tracker and Meta's on one film with the same weights: how far they are apart.

Prints the numbers of docs/reference-implementations.md (pytest -s).
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from meta_tiny import needs_meta
from track_harness import moving_shapes, shape

from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import ShowSpec, pixel_values
from sam3_tvm.sources.huggingface.video_reference import ReferenceFilm
from sam3_tvm.sources.meta.environment import meta_environment
from sam3_tvm.sources.meta.tracker_reference import MetaFilm
from sam3_tvm.verify.end_to_end import mask_iou

pytestmark = needs_meta

PROMPTS = {
    "point": ShowSpec(1, 0, points=((34.0, 65.0),), labels=(1,)),
    "box": ShowSpec(1, 0, box=(90.0, 36.0, 150.0, 94.0)),
    "mask": ShowSpec(1, 0, mask=shape(0, 0)),
}


@pytest.fixture(scope="module")
def frames():
    return moving_shapes(8)


@pytest.fixture(scope="module")
def theirs(transformers_folder):
    return open_source(str(transformers_folder))


@pytest.fixture(scope="module")
def metas(meta_folder):
    return open_source(str(meta_folder))


def film_of(source, frames):
    return MetaFilm(source.model, source.tracker, source.preprocessing, frames)


def apart(title, one, other):
    """The masks' IoU and the largest difference of scores, by frame."""
    pairs = list(zip(one, other, strict=True))
    assert [a.index for a, _ in pairs] == [b.index for _, b in pairs]
    ious = np.array([mask_iou(a.masks[0], b.masks[0]) for a, b in pairs])
    error = max(float(np.abs(a.scores - b.scores).max()) for a, b in pairs)
    print(f"{title:24}IoU {ious.min():.4f} (mean {ious.mean():.4f}), scores {error:.1e}")
    return ious, error


@pytest.mark.parametrize("kind", PROMPTS)
def test_both_trackers_follow_one_object_alike(theirs, metas, frames, kind):
    film = ReferenceFilm(theirs.video_tracker, theirs.preprocessing, frames)
    film.show(PROMPTS[kind])
    ours = list(film.propagate(0))
    other = film_of(metas, frames)
    other.show(PROMPTS[kind])
    ious, error = apart(kind, ours, list(other.propagate(0)))
    assert ious.min() > (0.95 if kind == "mask" else 0.99)
    # Memories differ, where a mask has an edge, and so does all that looks at them.
    assert 1e-6 < error < 0.02


def test_memory_selection_is_another_film_where_an_object_is_away(metas, frames):
    """It is on in Meta's video model, and off in the tracker of its image model."""
    head = metas.tracker.sam_mask_decoder.pred_obj_score_head.layers[-1].bias
    found = []
    with torch.no_grad():
        head -= 1.5
    try:
        for chosen in (False, True):
            metas.tracker.use_memory_selection = chosen
            film = film_of(metas, frames)
            film.show(PROMPTS["point"])
            found.append(list(film.propagate(0)))
    finally:
        metas.tracker.use_memory_selection = False
        with torch.no_grad():
            head += 1.5
    _, error = apart("memory selection", *found)
    assert error > 1e-4


def test_two_objects_on_one_frame_exclude_each_other_in_meta_s_memory(metas, frames):
    first, second = PROMPTS["point"], ShowSpec(2, 0, points=((40.0, 80.0),), labels=(1,))
    alone, together = film_of(metas, frames), film_of(metas, frames)
    alone.show(first)
    for prompt in (first, second):
        together.show(prompt)
    _, error = apart("two objects", list(alone.propagate(0)), _first(together.propagate(0)))
    assert error > 1e-6


def _first(found):
    """The first object alone."""
    return [
        type(frame)(frame.index, frame.objects[:1], frame.masks[:1], frame.scores[:1])
        for frame in found
    ]


def test_the_pointer_of_a_shown_mask_is_another_mask_s(theirs, metas):
    """transformers takes that of the best of three, Meta that of the first."""
    side = theirs.sizes.image
    # All of the picture: resized, it is the same whatever the order.
    masks = torch.ones(1, 1, side, side)
    generator = torch.Generator().manual_seed(0)
    d, s = theirs.sizes.hidden, theirs.sizes.grid
    shapes = ((d // 8, 4 * s), (d // 4, 2 * s), (d, s))
    features = [torch.randn(1, c, n, n, generator=generator) for c, n in shapes]
    with torch.no_grad():
        out = theirs.video_tracker._use_mask_as_output(features[2], features[:2], masks)
    with torch.no_grad(), meta_environment():
        *_, pointer, _ = metas.tracker._use_mask_as_output(features[2], features[:2], masks)
    assert (out.object_pointer.flatten() - pointer.flatten()).abs().max() > 0.1


def test_of_more_than_16_points_meta_takes_the_first_8_and_the_last_8(metas, frames):
    spots = np.random.default_rng(0).uniform(10, 170, (20, 2)).tolist()
    labels = (1, 0) * 10
    found = []
    for taken in (range(20), [*range(8), *range(12, 20)], range(16)):
        film = film_of(metas, frames[:1])
        film.show(
            ShowSpec(1, 0, tuple(tuple(spots[i]) for i in taken), tuple(labels[i] for i in taken))
        )
        (only,) = film.propagate(0)
        found.append(only)
    every, chosen, others = found
    np.testing.assert_array_equal(every.scores, chosen.scores)
    np.testing.assert_array_equal(every.masks, chosen.masks)
    assert (every.scores != others.scores).all()


def test_logits_of_a_click_are_cut_by_meta_s_predictor(metas, frames):
    clicker = metas.reference_clicker()
    heads = metas.tracker.sam_mask_decoder.output_hypernetworks_mlps
    lasts = [head.layers[-1].weight for head in heads]
    with meta_environment(), torch.no_grad():
        for weight in lasts:
            weight *= 64
        try:
            pixels = pixel_values(frames[0], metas.preprocessing)
            out = metas.model.backbone.forward_image(pixels)["sam2_backbone_out"]
            state = {
                "original_height": frames[0].shape[0],
                "original_width": frames[0].shape[1],
                "backbone_out": {"sam2_backbone_out": narrowed(metas.tracker, out)},
            }
            predictor = clicker._predictor()
            owner = SimpleNamespace(inst_interactive_predictor=predictor)
            given = {"point_coords": np.array([[34.0, 65.0]]), "point_labels": np.array([1])}
            _, _, logits = type(metas.model).predict_inst(owner, state, **given)
            shown, _, _ = type(metas.model).predict_inst(owner, state, **given, return_logits=True)
        finally:
            for weight in lasts:
                weight /= 64
    assert np.abs(logits).max() == 32 < np.abs(shown).max()


def narrowed(tracker, features):
    """The finer two levels as the decoder takes them."""
    decoder, levels = tracker.sam_mask_decoder, features["backbone_fpn"]
    features["backbone_fpn"] = [decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]), levels[2]]
    return features
