"""Whether what an example found on another picture is of its kind: the question asked back.

A box on the picture itself is always on something that is there, and models were trained so. Of
another picture, where there may be nothing of the kind, a box finds what is nearest to it. So each
find is made an example itself, and has to find the first example on its own picture. Its score is
the product of three numbers between 0 and 1:

1. what the example gives to the find,
2. what the find gives back to the example,
3. how alike the two are as prompts: the cosine between what the geometry encoder makes of the one
   and of the other, in the mean over the box's token and the prompt's own (CLS), at least 0.

The first two are shares of what the example gives to itself on its own picture, at most 1: one that
the model is less sure of even there, say because it is small, isn't to be held to more elsewhere.
One example alone is given and asked as it is, mirrored and seen closer
(:mod:`sam3_tvm.runtime.concepts.views`): what is given back to the best of these counts, and the
mean of the cosines. Several examples, which differ more, are taken as they are.

What is found because something has to be found seldom passes all three. The third costs nothing, as
the tokens are there, and sees what the detector overlooks when it looks for the nearest.
``docs/exemplars.md`` has what this is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.concepts.exemplar import Exemplar, Tokens

__all__ = ["Asks", "confirmed", "given_to"]

# A query is on the example if its box overlaps the example's by more than this intersection over
# union, as in evaluations.
_ON_IT = 0.5

# An example that gets less than this on its own picture is no measure for others: the model sees
# nothing there.
_LEAST_MEASURE = np.float32(0.5)

_Features = Mapping[str, NDArray[Any]]


class Asks(Protocol):
    """Asks a picture for what looks like a box on another, such as a detector."""

    def tokens_of_boxes(
        self, features: _Features, boxes: Sequence[NDArray[np.float32]]
    ) -> list[Tokens]:
        """What the geometry encoder makes of the boxes of each prompt, float32 [N, 4]: centre x,
        centre y, width, height as fractions of the picture that has the features."""

    def look_for_tokens(
        self, features: _Features, tokens: Sequence[Tokens]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes, float32 [N, Q, 4], and scores, float32 [N, Q], of each example alone."""


def confirmed(
    asks: Asks,
    features: _Features,
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    like: Sequence[Exemplar],
    threshold: float,
) -> NDArray[np.float32]:
    """Scores of finds, by what the examples give, what they get back and how alike they are.

    Over several examples the last two are multiplied for each, and the mean is taken; of one,
    over its views, the best of what it gets back and the mean of how alike they are. What gives
    more to a box around what is not meant than to the examples gets no score.

    Args:
        asks: the detector.
        features: of the picture that was searched.
        boxes: float32 [Q, 4] of the queries, centre x, centre y, width, height as fractions.
        scores: float32 [Q], what the examples give to the queries.
        like: the examples, at least one of them of what is meant.
        threshold: nothing is asked back of finds whose scores, as shares of what the examples give
            to themselves, aren't higher.

    Returns:
        float32 [Q]; of those that nothing was asked of the share, at most the threshold.
    """
    views = [(one, *one.views) for one in like]
    measures = np.concatenate([one.own[one.labels == 1] for of in views for one in of])
    measure = np.maximum(measures, _LEAST_MEASURE).mean(dtype=np.float32)
    made: NDArray[np.float32] = np.minimum(scores / measure, np.float32(1))
    found = np.flatnonzero(made > threshold)
    if not len(found):
        return made
    centre, half = boxes[found, :2], boxes[found, 2:] * np.float32(0.5)
    low, high = (centre - half).clip(0, 1), (centre + half).clip(0, 1)
    # What lies outside the picture but for a line of no width can't be an example.
    there = (high - low).min(1) > 1e-6
    made[found[~there]] = 0
    found = found[there]
    cut = np.concatenate([(low + high) / 2, high - low], 1)[there]
    tokens = asks.tokens_of_boxes(features, [box[None] for box in cut])
    shares: list[NDArray[np.float32]] = []
    meant: list[NDArray[np.float32]] = []
    unmeant: list[NDArray[np.float32]] = []
    for of in views if tokens else ():
        answers = [_answers(asks, one, tokens) for one in of]
        meant += answers[0].meant
        unmeant += answers[0].unmeant
        for number in range(len(answers[0].meant)):
            back = np.max([answer.shares[number] for answer in answers], 0)
            shares.append(back * np.mean([answer.alike[number] for answer in answers], 0))
    if meant:
        # What is rather like something that isn't meant is none of the kind.
        kind = np.mean(meant, 0) > np.max([np.zeros_like(meant[0]), *unmeant], 0)
        made[found] *= np.where(kind, np.mean(shares, 0), 0)
    return made


def given_to(
    box: NDArray[np.float32], where: NDArray[np.float32], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The best score of the queries that are on a box.

    Args:
        box: float32 [4], centre x, centre y, width, height.
        where: boxes of the queries, float32 [..., Q, 4].
        scores: float32 [..., Q].

    Returns:
        float32 [...]; 0 where none is on it.
    """
    best: NDArray[np.float32] = np.where(_overlap(where, box) > _ON_IT, scores, 0).max(-1)
    return best


@dataclass
class _Answers:
    """What N finds, asked back, say of the boxes of an example; float32 [N] each.

    Attributes:
        meant, unmeant: what they give to each box that is meant, and to each that isn't.
        shares: of what those that are meant get from themselves, at most 1.
        alike: how alike they are to those as prompts, from 0 to 1.
    """

    meant: list[NDArray[np.float32]]
    unmeant: list[NDArray[np.float32]]
    shares: list[NDArray[np.float32]]
    alike: list[NDArray[np.float32]]


def _answers(asks: Asks, example: Exemplar, tokens: Sequence[Tokens]) -> _Answers:
    where, back = asks.look_for_tokens(example.features, tokens)
    made = _Answers([], [], [], [])
    theirs = _unit(np.concatenate([one[:, [0, -1]] for one, _ in tokens]))
    for box, label, own in zip(example.boxes, example.labels, example.own, strict=True):
        given = given_to(box, where, back)
        if not label:
            made.unmeant.append(given)
            continue
        assert example.meant is not None
        ours = _unit(example.meant[0][0, [len(made.meant), -1]])
        made.meant.append(given)
        made.shares.append(np.minimum(given / np.maximum(own, _LEAST_MEASURE), 1))
        made.alike.append((ours * theirs).sum(-1).mean(-1).clip(0))
    return made


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(length, np.float32(1e-12))
    return unit


def _overlap(boxes: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes [..., 4] with one [4], centres and sizes each."""
    low = np.maximum(boxes[..., :2] - boxes[..., 2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(boxes[..., :2] + boxes[..., 2:] / 2, other[:2] + other[2:] / 2)
    both = (high - low).clip(0).prod(-1)
    either = boxes[..., 2:].prod(-1) + other[2:].prod(-1) - both
    iou: NDArray[np.float32] = both / np.maximum(either, np.float32(1e-12))
    return iou
