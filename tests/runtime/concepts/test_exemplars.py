"""Examples on other pictures: what they are, whom they go with, and what is refused."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import toy
from PIL import Image

from sam3_tvm.evaluate.metrics import box_iou
from sam3_tvm.runtime.concepts.exemplar import Exemplar
from sam3_tvm.runtime.concepts.likeness import confirmed
from sam3_tvm.runtime.concepts.prompts import build_prompts
from sam3_tvm.runtime.concepts.views import VIEWS
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.image import ImageError

BOX = [6, 4, 30, 24]


@pytest.fixture
def pictures():
    rng = np.random.default_rng(6)
    return [rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for _ in range(2)]


@pytest.fixture
def exemplar(model, pictures) -> Exemplar:
    return model.exemplar(pictures[0], [BOX])


def test_its_tokens_are_what_the_geometry_encoder_makes_on_its_own_picture(
    model, pictures, exemplar
):
    image = model.encode_image(pictures[0])
    width, height = 60, 40
    x0, y0, x1, y1 = BOX
    box = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
    given = np.ones((1, 1), bool), image.features["fpn_2"]
    wanted = toy.ToyFunctions.geometry_encoder(
        np.array([[box]], np.float32), np.ones((1, 1), np.int64), *given
    )
    np.testing.assert_allclose(exemplar.tokens[0], wanted[0], rtol=1e-6)
    np.testing.assert_array_equal(exemplar.meant[0], exemplar.tokens[0])
    assert repr(exemplar) == "Exemplar(1 box)"


def test_beside_a_phrase_they_lengthen_the_prompt(model, pictures, exemplar):
    here = model.encode_image(pictures[1])
    alone = model.segment(here, "dog", threshold=0)
    beside = model.segment(here, "dog", threshold=0, like=exemplar)
    assert not np.array_equal(alone.scores, beside.scores)
    assert beside.text == "dog"
    twice = model.segment(here, "dog", threshold=0, like=[exemplar, exemplar])
    assert not np.array_equal(beside.scores, twice.scores)


def test_on_its_own_picture_it_is_what_a_box_is(model, pictures, exemplar):
    boxed = model.segment(pictures[0], "dog", [BOX], threshold=0)
    shown = model.segment(pictures[0], "dog", threshold=0, like=exemplar)
    np.testing.assert_allclose(shown.scores, boxed.scores, rtol=1e-6)
    np.testing.assert_array_equal(shown.masks, boxed.masks)


def test_each_phrase_may_have_examples_of_its_own(model, pictures, exemplar):
    here = model.encode_image(pictures[1])
    phrases = ["dog", None, "cat"]
    named = exemplar.named("ball")
    found = model.segment(here, phrases, threshold=0, like=[None, named, [exemplar, exemplar]])
    assert [one.text for one in found] == ["dog", "ball", "cat"]
    each = [
        model.segment(here, "dog", threshold=0),
        model.segment(here, threshold=0, like=named),
        model.segment(here, "cat", threshold=0, like=[exemplar, exemplar]),
    ]
    for one, alone in zip(found, each, strict=True):
        np.testing.assert_array_equal(one.scores, alone.scores)
        np.testing.assert_array_equal(one.masks, alone.masks)


def test_several_pictures_take_examples_without_a_phrase(model, pictures, exemplar):
    found = model.segment(pictures, like=exemplar, threshold=0)
    assert [one.text for one in found] == ["visual", "visual"]
    alone = model.segment(pictures[1], like=exemplar, threshold=0)
    np.testing.assert_array_equal(found[1].scores, alone.scores)


class Answers:
    """Gives what finds would give back, and the tokens of each."""

    def __init__(self, where, back, tokens=None):
        self.where, self.back = where, back
        self.tokens = np.ones((9, 2, 4), np.float32) if tokens is None else tokens
        self.asked = []

    def tokens_of_boxes(self, features, boxes):
        self.asked = [box.copy() for box in boxes]
        return [(self.tokens[i][None], np.ones((1, 2), bool)) for i in range(len(boxes))]

    def look_for_tokens(self, features, tokens):
        return self.where[: len(tokens)], self.back[: len(tokens)]


AT = np.array([0.5, 0.5, 0.4, 0.4], np.float32)
AWAY = np.array([0.2, 0.2, 0.1, 0.1], np.float32)
BOXES = np.stack([AT, AT, AT])
SCORES = np.array([0.9, 0.8, 0.3], np.float32)


def shown(labels=(1,), boxes=(AT,), own=None) -> Exemplar:
    tokens = np.ones((1, 1 + len(boxes), 4), np.float32), np.ones((1, 1 + len(boxes)), bool)
    meant = np.ones((1, 1 + sum(labels), 4), np.float32), np.ones((1, 1 + sum(labels)), bool)
    scores = np.array(labels if own is None else own, np.float32)
    return Exemplar(
        np.stack(boxes), np.array(labels), tokens, meant, scores, {}, "made by", "digest"
    )


def test_a_score_is_the_product_of_what_is_given_and_given_back():
    where = np.stack([np.stack([AT, AWAY]), np.stack([AT, AWAY])])
    asks = Answers(where, np.array([[0.5, 0.9], [0.1, 0.99]], np.float32))
    made = confirmed(asks, {}, BOXES, SCORES, [shown()], 0.5)
    # The second query of each is elsewhere on the example's picture, and doesn't count. Of what
    # is below the threshold nothing is asked.
    np.testing.assert_allclose(made, [0.9 * 0.5, 0.8 * 0.1, 0.3], rtol=1e-6)
    assert len(asks.asked) == 2


def test_finds_are_measured_by_what_the_example_gets_on_its_own_picture():
    asks = Answers(np.stack([AT[None]] * 2), np.array([[0.4], [0.9]], np.float32))
    made = confirmed(asks, {}, BOXES, SCORES, [shown(own=[0.8])], 0.5)
    np.testing.assert_allclose(made, [0.5, 1, 0.3 / 0.8], rtol=1e-6)


def test_what_the_model_does_not_see_on_its_own_picture_is_no_measure():
    asks = Answers(np.stack([AT[None]] * 2), np.full((2, 1), 0.4, np.float32))
    scores = np.array([0.45, 0.1, 0.1], np.float32)
    made = confirmed(asks, {}, BOXES, scores, [shown(own=[0.001])], 0.5)
    np.testing.assert_allclose(made, [0.9 * 0.8, 0.2, 0.2], rtol=1e-6)


def test_a_find_that_is_unlike_the_example_as_a_prompt_has_a_lower_score():
    tokens = np.ones((2, 2, 4), np.float32)
    tokens[0, 0] = [1, 1, 1, -1]  # the box's: a cosine of 0.5
    tokens[1] *= [-1, -1, -1, -1]
    asks = Answers(np.stack([AT[None]] * 2), np.ones((2, 1), np.float32), 3 * tokens)
    made = confirmed(asks, {}, BOXES, SCORES, [shown()], 0.5)
    np.testing.assert_allclose(made, [0.9 * 0.75, 0, 0.3], rtol=1e-6)


def test_a_find_is_held_against_the_boxes_that_are_meant():
    example = shown((0, 1, 1), (AWAY, AT, AT))
    example.meant[0][0, 1] *= -1  # the token of the last box
    asks = Answers(np.stack([AT[None]] * 2), np.ones((2, 1), np.float32))
    made = confirmed(asks, {}, BOXES, SCORES, [example], 0.5)
    np.testing.assert_allclose(made, [0.9 * 0.5, 0.8 * 0.5, 0.3], rtol=1e-6)


class Views(Answers):
    """Gives back to each view what its features say."""

    def look_for_tokens(self, features, tokens):
        return np.stack([AT[None]] * len(tokens)), np.full((len(tokens), 1), features["back"])


def viewed(back, turned=False) -> Exemplar:
    one = dataclasses.replace(shown(), features={"back": np.float32(back)})
    if turned:
        one.meant[0][0, 0] *= -1  # the token of its box: a cosine of 0 in the mean
    return one


def test_one_example_is_the_best_and_the_mean_of_its_views():
    asks = Views(None, None)
    example = dataclasses.replace(viewed(0.2), views=(viewed(0.8, turned=True), viewed(0.4)))
    made = confirmed(asks, {}, BOXES, SCORES, [example], 0.5)
    np.testing.assert_allclose(made[:2], SCORES[:2] * 0.8 * 2 / 3, rtol=1e-6)
    # Of several, which prompts take without their views, the mean.
    made = confirmed(asks, {}, BOXES, SCORES, [viewed(0.2), viewed(0.6)], 0.5)
    np.testing.assert_allclose(made[:2], SCORES[:2] * (0.2 + 0.6) / 2, rtol=1e-6)


def test_each_view_is_measured_by_what_it_gives_to_itself():
    less = dataclasses.replace(viewed(0.3, turned=True), own=np.array([0.6], np.float32))
    example = dataclasses.replace(viewed(0.2), views=(less, viewed(0.4)))
    made = confirmed(Views(None, None), {}, BOXES, SCORES, [example], 0.5)
    given = np.minimum(SCORES[:2] / np.mean([1, 0.6, 1]), 1)
    np.testing.assert_allclose(made[:2], given * (0.3 / 0.6) * 2 / 3, rtol=1e-6)


def test_what_gives_more_to_what_is_not_meant_has_no_score():
    where = np.stack([np.stack([AT, AWAY]), np.stack([AT, AWAY])])
    asks = Answers(where, np.array([[0.5, 0.4], [0.5, 0.6]], np.float32))
    example = shown((1, 0), (AT, AWAY))
    made = confirmed(asks, {}, BOXES, SCORES, [example], 0.5)
    np.testing.assert_allclose(made, [0.9 * 0.5, 0, 0.3], rtol=1e-6)


def test_what_is_given_back_is_the_mean_over_examples():
    where = np.stack([np.stack([AT, AWAY])] * 2)
    asks = Answers(where, np.array([[0.8, 0.2], [0.8, 0.2]], np.float32))
    made = confirmed(asks, {}, BOXES, SCORES, [shown(), shown((1,), (AWAY,))], 0.5)
    np.testing.assert_allclose(made[:2], SCORES[:2] * 0.5, rtol=1e-6)


def test_an_example_keeps_what_it_gets_on_its_own_picture(model, pictures, exemplar):
    image = model.encode_image(pictures[0])
    found = model.segment(image, "visual", like=exemplar, threshold=0)
    width, height = 60, 40
    own = exemplar.boxes[0] * [width, height, width, height]
    corners = np.concatenate([own[:2] - own[2:] / 2, own[:2] + own[2:] / 2])[None]
    on_it = box_iou(np.asarray(found.boxes, np.float64), corners)[:, 0] > 0.5
    np.testing.assert_allclose(exemplar.own, [found.scores[on_it].max(initial=0)], rtol=1e-6)
    assert not model.exemplar(pictures[0], [BOX], [0]).own.any()


def test_a_find_is_asked_about_as_it_lies_in_the_picture():
    over = np.array([[0.9, 0.5, 0.4, 0.4], [1.5, 0.5, 0.4, 0.4]], np.float32)
    asks = Answers(np.stack([AT[None]]), np.ones((1, 1), np.float32))
    made = confirmed(asks, {}, over, SCORES[:2], [shown()], 0.5)
    np.testing.assert_allclose(asks.asked, [[[0.85, 0.5, 0.3, 0.4]]], rtol=1e-6)
    np.testing.assert_allclose(made, [0.9, 0])


def test_an_example_alone_is_seen_mirrored_and_closer(model, pictures, exemplar):
    plain = model.exemplar(pictures[0], [BOX], views=False)
    assert [one.tokens[0].shape for one in exemplar.views] == [exemplar.meant[0].shape] * VIEWS
    assert plain.views == ()
    assert plain.digest != exemplar.digest
    visual = model.manifest.source.reference.visual_text

    def tokens(like, text=None):
        (prompt,) = build_prompts(
            text, None, None, (1, 1), visual_text=visual, max_boxes=9, like=[like], max_like=9
        )
        # What is asked back goes by the same views.
        views = sum(len(one.views) for one in prompt.like)
        assert views == (len(prompt.tokens) - 1 if prompt.alone and len(like) == 1 else 0)
        return prompt.tokens

    assert tokens((exemplar,)) == (exemplar.meant, *(one.tokens for one in exemplar.views))
    # Of two, and beside a phrase, each is taken as it is; and where there is no room for more.
    assert tokens((exemplar, exemplar)) == (exemplar.meant, exemplar.meant)
    assert tokens((exemplar,), "dog") == (exemplar.tokens,)
    many = dataclasses.replace(exemplar, views=exemplar.views * 9)
    assert tokens((many,)) == (exemplar.meant,)


def test_what_has_no_pixels_any_more_is_seen_as_it_is(model, pictures, exemplar, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(pictures[0]).save(path)
    encoded = model.encode_image(path)
    assert model.exemplar(encoded, [BOX]) == exemplar
    encoded.save(tmp_path / "encoded")
    path.unlink()
    plain = model.exemplar(pictures[0], [BOX], views=False)
    assert model.exemplar(encoded, [BOX]) == plain
    assert model.exemplar(model.load_image(tmp_path / "encoded"), [BOX]) == plain
    assert not model.exemplar(pictures[0], [BOX], [0]).views


def test_nothing_found_asks_nothing_back():
    asks = Answers(None, None)
    np.testing.assert_array_equal(confirmed(asks, {}, BOXES, SCORES, [shown()], 0.95), SCORES)
    assert asks.asked == []


def test_it_comes_back_from_a_file_and_from_another_process(model, exemplar, tmp_path):
    path = tmp_path / "jar.safetensors"
    exemplar.named("jar").save(path)
    assert model.load_exemplar(path) == exemplar.named("jar")
    assert pickle.loads(pickle.dumps(exemplar)) == exemplar
    unmeant = dataclasses.replace(exemplar, labels=np.zeros(1, np.int64), meant=None)
    unmeant.save(path)
    assert model.load_exemplar(path) == unmeant


def test_another_artifacts_is_refused_in_a_line(model, pictures, exemplar, tmp_path):
    other = dataclasses.replace(exemplar, fingerprint="f" * 64)
    with pytest.raises(PromptError, match=r"^like: this exemplar was made with another artifact"):
        model.segment(pictures[1], like=other)
    other.save(tmp_path / "other")
    with pytest.raises(ImageError, match="another artifact"):
        model.load_exemplar(tmp_path / "other")
    model.encode_image(pictures[0]).save(tmp_path / "image")
    with pytest.raises(ImageError, match="is no exemplar"):
        model.load_exemplar(tmp_path / "image")


@pytest.mark.parametrize(
    ("like", "said"),
    [
        (3, "like takes what model.exemplar"),
        (["a.jpg"], "like takes what model.exemplar"),
        ([None], "like takes what model.exemplar"),
    ],
)
def test_what_is_no_exemplar_is_refused(model, pictures, like, said):
    with pytest.raises(PromptError, match=said):
        model.segment(pictures[1], "dog", like=like)


def test_what_can_not_be_looked_for_is_refused(model, pictures, exemplar):
    unmeant = model.exemplar(pictures[0], [BOX], [0])
    with pytest.raises(PromptError, match="say only what is not meant"):
        model.segment(pictures[1], like=unmeant)
    assert len(model.segment(pictures[1], "dog", like=unmeant, threshold=0))
    with pytest.raises(PromptError, match="too many"):
        model.segment(pictures[1], like=[exemplar] * 100)
    with pytest.raises(PromptError, match="2 entries for 1 phrases"):
        model.segment(pictures[1], ["dog"], like=[None, exemplar])
    with pytest.raises(PromptError, match="name is text"):
        model.exemplar(pictures[0], [BOX], name="")
    for boxes in ([], (), np.zeros((0, 4)), None):
        with pytest.raises(PromptError, match="an exemplar takes boxes"):
            model.exemplar(pictures[0], boxes)
    with pytest.raises(PromptError, match="takes phrases"):
        model.segment(pictures[1], [None], like=[[]])
