"""Whether what an example found on another picture is of its kind: the question asked back.

A box on the picture itself is always on something that is there, and models were trained so. Of
another picture, where there may be nothing of the kind, a box finds what is nearest to it. So each
find is made an example itself, and has to find the first example on its own picture. Its score is
the product of the two: what the example gives to the find, and what the find gives back. What is
found because something has to be found seldom finds its way back. ``docs/exemplars.md`` has what
this is worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.runtime.concepts.exemplar import Exemplar, Tokens

__all__ = ["Asks", "confirmed"]

# A query is on the example if its box overlaps the example's by more than this intersection over
# union, as in evaluations.
_ON_IT = 0.5

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
    """Scores of finds, each times what it gives back to the examples, in the mean over them.

    What gives more to a box around what is not meant than to the examples gets no score.

    Args:
        asks: the detector.
        features: of the picture that was searched.
        boxes: float32 [Q, 4] of the queries, centre x, centre y, width, height as fractions.
        scores: float32 [Q], what the examples give to the queries.
        like: the examples.
        threshold: nothing is asked back of finds whose scores aren't higher.

    Returns:
        float32 [Q]; those that nothing was asked of are as they were, at most the threshold.
    """
    found = np.flatnonzero(scores > threshold)
    made = scores.copy()
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
    meant: list[NDArray[np.float32]] = []
    unmeant: list[NDArray[np.float32]] = []
    for example in like if tokens else ():
        where, back = asks.look_for_tokens(example.features, tokens)
        for box, label in zip(example.boxes, example.labels, strict=True):
            on_it = np.where(_overlap(where, box) > _ON_IT, back, 0).max(1)
            (meant if label else unmeant).append(on_it)
    if meant:
        given = np.mean(meant, 0)
        # What is rather like something that isn't meant is none of the kind.
        made[found] *= np.where(given > np.max([np.zeros_like(given), *unmeant], 0), given, 0)
    return made


def _overlap(boxes: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of boxes [..., 4] with one [4], centres and sizes each."""
    low = np.maximum(boxes[..., :2] - boxes[..., 2:] / 2, other[:2] - other[2:] / 2)
    high = np.minimum(boxes[..., :2] + boxes[..., 2:] / 2, other[:2] + other[2:] / 2)
    both = (high - low).clip(0).prod(-1)
    either = boxes[..., 2:].prod(-1) + other[2:].prod(-1) - both
    iou: NDArray[np.float32] = both / np.maximum(either, np.float32(1e-12))
    return iou
