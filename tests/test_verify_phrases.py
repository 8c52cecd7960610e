"""The film by phrase of ``verify``: what it compares, and that it sees what is wrong."""

from __future__ import annotations

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

from sam3_tvm import artifact
from sam3_tvm.arithmetic import INT8
from sam3_tvm.runtime import load
from sam3_tvm.runtime.video.concepts import arbiter
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import ConceptFrame
from sam3_tvm.verify import Bounds, VerifyError, VerifyReport, running, verify
from sam3_tvm.verify.phrases import (
    PhraseFilm,
    compare_phrases,
    phrase_film,
    phrase_row,
    rules_among,
    undecided,
    why_not_compared,
    without_ties,
)


def answer(index, objects, phrases, masks, scores, claimed=None, ranks=None):
    """Of the reference; without further words, objects claim what they get."""
    ranks = np.array(scores if ranks is None else ranks, np.float32)
    claimed = masks if claimed is None else claimed
    gone = frozenset(), frozenset()
    return ConceptFrame(index, objects, phrases, masks, scores, *gone, claimed, ranks)


def test_wrong_objects_phrases_masks_and_scores_of_a_frame_are_seen():
    masks = np.zeros((2, 20, 20), bool)
    masks[:, 5:15, 5:15] = True
    scores = np.array([0.9, 0.8], np.float32)
    wanted = answer(4, [0, 3], ["dog", "cat"], masks, scores)

    def row(objects=(0, 3), phrases=("dog", "cat"), masks=masks, scores=scores, index=4):
        found = SimpleNamespace(
            index=index,
            objects=[*objects],
            phrases=[*phrases],
            masks=masks,
            scores=np.array(scores, np.float32),
        )
        return phrase_row("x", found, wanted, Bounds())

    assert row().ok
    assert not row(objects=(3, 0)).ok
    assert not row(objects=(0, 4)).ok
    assert not row(phrases=("cat", "dog")).ok
    assert not row(index=5).ok
    assert not row((0,), ("dog",), masks[:1], scores[:1]).ok
    assert not row(scores=[0.9, 0.8002]).ok
    assert not row(scores=[0.9, float("nan")]).ok
    other = masks.copy()
    other[1, 5, 5] = False
    assert row(masks=other).ok, "one pixel, by whatever share"
    other[1, 5, 6] = False
    assert not row(masks=other).ok
    assert row(masks=other).iou_min == pytest.approx(0.98)


def test_a_frame_without_objects_is_the_same_on_both_sides():
    none = (4, [], [], np.zeros((0, 20, 20), bool), np.zeros(0, np.float32))
    wanted = answer(*none)
    names = ("index", "objects", "phrases", "masks", "scores")
    row = phrase_row("x", SimpleNamespace(**dict(zip(names, none, strict=True))), wanted, Bounds())
    assert row.ok
    assert (row.iou_min, row.score_error) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        # The thresholds are 0.5 and 0.7, the margin is 0.02.
        ([(0, "dog", 0.9)], [(0, "dog", 0.9), (1, "cat", 0.71)], "'cat', 0.710"),
        ([(0, "dog", 0.9), (1, "cat", 0.51)], [(0, "dog", 0.9)], "'cat', 0.510"),
        # The reference's other object has the id that ours of the same phrase has.
        ([(0, "dog", 0.9)], [(0, "dog", 0.71), (1, "dog", 0.9)], "'dog', 0.710"),
        ([(0, "cat", 0.9)], [(0, "dog", 0.69), (1, "cat", 0.9)], "'dog', 0.690"),
        # It is far from both.
        ([(0, "dog", 0.9)], [(0, "dog", 0.9), (1, "cat", 0.73)], None),
        # Another differs as well.
        ([(0, "dog", 0.9)], [(1, "cat", 0.71)], None),
        ([(0, "dog", 0.9), (1, "cat", 0.9)], [(0, "cat", 0.9), (1, "dog", 0.71)], None),
        # Both have the one that is near.
        ([(0, "cat", 0.71), (1, "dog", 0.9)], [(0, "cat", 0.7), (2, "dog", 0.9)], None),
    ],
)
def test_objects_may_differ_by_one_that_is_near_a_threshold_alone(ours, theirs, told):
    def frame(found, index=3):
        objects, phrases, scores = map(list, zip(*found, strict=True))
        return SimpleNamespace(
            index=index, objects=objects, phrases=phrases, scores=np.array(scores, np.float32)
        )

    rules = SimpleNamespace(score_threshold_detection=0.5, new_det_thresh=0.7)
    said = undecided(frame(ours), frame(theirs), rules, 0.02)
    assert (said is None) if told is None else (told in said)
    assert undecided(frame(ours), frame(theirs), rules, 0.0) is None
    assert undecided(frame(ours, 4), frame(theirs), rules, 0.02) is None


def test_what_two_objects_of_a_phrase_claim_may_be_eithers_where_ranks_are_nearly_equal():
    left, right = np.zeros((2, 20, 20), bool)
    left[:, :12], right[:, 8:] = True, True
    claimed = np.stack([left, right])
    first, second = np.stack([left, right & ~left]), np.stack([left & ~right, right])

    def settled(masks, margin=0.02, phrases=("dog", "dog"), ranks=(0.9, 0.89)):
        scores = np.array([0.9, 0.8], np.float32)
        wanted = answer(0, [0, 1], [*phrases], first, scores, claimed, ranks)
        return without_ties(masks, wanted, margin)

    np.testing.assert_array_equal(settled(second), first)
    for given in ({"margin": 0.0}, {"phrases": ("dog", "cat")}, {"ranks": (0.9, 0.8)}):
        np.testing.assert_array_equal(settled(second, **given), second)
    # What only one claims is that one's.
    swapped = settled(first[::-1])
    assert not swapped[0, :, :8].any()
    assert not swapped[1, :, 12:].any()
    moved = np.roll(first, 1, axis=1)
    moved[0, 3, 3] = False
    assert not settled(moved)[0, 3, 3]


def test_frames_from_an_undecided_object_on_are_left_out():
    def frame(index, objects, phrases, scores):
        masks = np.ones((len(objects), 2, 2), bool)
        of = (index, objects, phrases, masks, np.array(scores, np.float32))
        return answer(*of)

    one = ([0], ["dog"], [0.9])
    two = ([0, 1], ["dog", "cat"], [0.9, 0.71])
    wanted = [frame(0, *one), frame(1, *two), frame(2, *two)]

    class Session:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def add_text(self, phrase):
            pass

        def propagate(self):
            return (frame(index, *one) for index in range(3))

    rules = open_source("random:tiny").video_concepts
    model = SimpleNamespace(
        manifest=SimpleNamespace(video_concepts=rules), track=lambda frames, rules: Session()
    )
    film = PhraseFilm("x", [np.zeros((2, 2, 3), np.uint8)] * 3, ("dog", "cat"), {})
    rows, why = compare_phrases(model, film, wanted, Bounds(score=0.02, margin=0.02))
    assert [(row.frame, row.ok) for row in rows] == [(0, True)]
    assert why == (
        "the film by phrase from frame 1 on: a score of 'cat', 0.710, is within 0.02 of a threshold"
    )
    rows, why = compare_phrases(model, film, wanted, Bounds())
    assert [row.ok for row in rows] == [True, False, False]
    assert why is None


def test_phrases_that_score_alike_are_looked_for_with_thresholds_among_their_scores():
    def falling(best):
        return np.array([best, best - 0.01, best - 0.02, best - 0.03], np.float32)

    best = {"dog": 0.9, "cat": 0.31, "tree": 0.1, "car": 0.3, "hand": 0.32, "blue": 0.5}
    phrases, rules = rules_among({phrase: falling(score) for phrase, score in best.items()})
    assert phrases == ("car", "cat", "hand")
    # Of the lowest three detections count, and two begin objects.
    assert rules["score_threshold_detection"] == pytest.approx(0.275)
    assert rules["new_det_thresh"] == pytest.approx(0.285)


@pytest.fixture(scope="module")
def film():
    """The film of ``random:tiny``, and what the reference finds in it."""
    source = open_source("random:tiny")
    film = phrase_film(source)
    reference = source.reference_concept_tracker()
    rules = film.rules(source.video_concepts)
    return film, list(reference.find(film.frames, film.phrases, rules))


def test_random_weights_find_objects_of_three_phrases_that_come_and_go(film):
    film, wanted = film
    assert film.exact_only
    assert {phrase for frame in wanted for phrase in frame.phrases} == {*film.phrases}
    assert len(film.phrases) == 3
    assert len({name for frame in wanted for name in frame.objects}) > 4
    assert len({tuple(frame.objects) for frame in wanted}) > 2
    assert wanted[-1].removed


def test_the_compiled_model_finds_the_same_objects(film, tiny_artifact):
    film, wanted = film
    rows, why = compare_phrases(load(tiny_artifact), film, wanted, Bounds())
    assert why is None
    assert [row.frame for row in rows] == list(range(len(film.frames)))
    assert [row for row in rows if not row.ok] == []


def test_the_reference_follows_no_film_that_no_artifact_is_held_to(monkeypatch):
    """Random weights' scores lie closer together than eight bits keep them."""
    source, asked = open_source("random:tiny"), []

    class Reference:
        def find(self, *given):
            asked.append(given)
            return []

    monkeypatch.setattr(source, "reference_concept_tracker", Reference)
    manifest = SimpleNamespace(schemes=[INT8])
    report = VerifyReport("made", "random:tiny", Bounds.of(INT8))
    subject = running._Subject(SimpleNamespace(manifest=manifest), report)
    running._compare_phrases(source, [subject], 3, SimpleNamespace(begin=lambda *_: None))
    assert asked == []
    (said,) = report.left_out
    assert said.endswith("scores lie closer together than int8 keeps them")


def test_a_film_has_as_many_frames_as_are_asked_for():
    film = phrase_film(open_source("random:tiny"), 17)
    assert len(film.frames) == 17


@pytest.mark.parametrize(
    ("side", "frames", "rules"),
    [
        (128, 12, {"max_num_objects": 12, "hotstart_delay": 4}),
        # Where PyTorch takes a minute a frame, few objects of which none is removed.
        (1008, 8, {"max_num_objects": 4, "hotstart_delay": 0}),
    ],
)
def test_a_large_models_film_is_short_and_keeps_its_objects(side, frames, rules):
    class Segmenter:
        def segment(self, image, prompts):
            return [SimpleNamespace(scores=np.linspace(0.1, 0.2, 20, dtype="f4"))] * len(prompts)

    own = open_source("random:tiny").video_concepts
    source = SimpleNamespace(
        video_concepts=own,
        sizes=SimpleNamespace(image=side),
        reference_segmenter=Segmenter,
    )
    film = phrase_film(source)
    assert len(film.frames) == frames
    assert rules.items() <= film.changed.items()


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("non_maximum_suppression", lambda masks, scores, threshold: np.arange(len(scores))),
        ("fill_and_clean", lambda logits, area: logits.copy()),
        ("give_pixels", lambda masks, ranks, phrases: None),
    ],
)
def test_a_rule_that_is_not_followed_is_seen(film, tiny_artifact, monkeypatch, rule, wrong):
    film, wanted = film
    monkeypatch.setattr(arbiter, rule, wrong)
    rows, _ = compare_phrases(load(tiny_artifact), film, wanted, Bounds())
    assert any(not row.ok for row in rows)


def test_other_rules_than_the_checkpoints_are_refused(tiny_artifact, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_artifact, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["video_concepts"]["new_det_thresh"] = 0.25
    (other / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(VerifyError, match=r"new_det_thresh is 0\.7, the artifact has 0\.25"):
        verify(other, functions=["scoring"])


@pytest.fixture
def compared(tiny_artifact, monkeypatch):
    """Compares a film in which nothing is found with an artifact that keeps such bounds."""

    def compare(bounds: Bounds, changed: dict) -> VerifyReport:
        class Finds:
            def find(self, frames, phrases, rules):
                return iter(())

        source = open_source("random:tiny")
        monkeypatch.setattr(source, "reference_concept_tracker", Finds)
        film = PhraseFilm("x", [np.zeros((8, 8, 3), np.uint8)], ("dog",), changed)
        monkeypatch.setattr(running, "phrase_film", lambda source, frames: film)
        monkeypatch.setattr(running, "compare_phrases", lambda *given: (["compared"], "the rest"))
        report = VerifyReport("a", "random:tiny", bounds)
        subject = running._Subject(artifact.open(tiny_artifact), report)
        steps = running._Steps(lambda *step: None, 2, named=False)
        running._compare_phrases(source, [subject], None, steps)
        return report

    return compare


def test_rounded_random_weights_are_not_held_to_the_ids_of_exact_ones(compared):
    found = compared(Bounds(margin=5e-3), {"new_det_thresh": 0.1})
    assert found.phrase_frames == []
    assert "the weights are random" in found.left_out[0]
    assert compared(Bounds(margin=5e-3), {}).phrase_frames == ["compared"]
    assert compared(Bounds(), {"new_det_thresh": 0.1}).phrase_frames == ["compared"]


def test_what_a_film_leaves_out_is_said(compared):
    assert compared(Bounds(margin=5e-3), {}).left_out[-1] == "the rest"


def test_a_film_in_which_nothing_is_found_is_said_to_be_one(compared):
    assert "finds none" in compared(Bounds(), {}).left_out[0]


def test_where_films_by_phrase_cannot_be_compared_it_is_said(monkeypatch):
    source = open_source("random:tiny")
    assert why_not_compared(source) is None
    assert "isn't for video" in why_not_compared(open_source("random:tiny", ["concepts"]))
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    assert "pip install 'sam3-tvm[video]'" in why_not_compared(source)
    monkeypatch.setattr(source, "reference_concept_tracker", lambda: None)
    assert "Meta" in why_not_compared(source)


@pytest.mark.slow
def test_a_trained_model_follows_its_own_rules(shapes_artifact):
    source = open_source("checkpoints/shapes")
    film = phrase_film(source)
    assert not film.exact_only
    wanted = list(
        source.reference_concept_tracker().find(film.frames, film.phrases, source.video_concepts)
    )
    assert {phrase for frame in wanted for phrase in frame.phrases} == {*film.phrases}
    rows, _ = compare_phrases(load(shapes_artifact), film, wanted, Bounds())
    assert len(rows) == len(film.frames)
    assert [row for row in rows if not row.ok] == []
