"""What looks for objects in a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam3_tvm.annotate.classes import Phrase, categories, phrases_of
from sam3_tvm.annotate.records import AnnotatedObject
from sam3_tvm.runtime.concepts.prompts import check_threshold
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.model import Model, load

__all__ = ["Finder", "PhraseFinder", "load_phrase_finder"]


class Finder(Protocol):
    """Looks for objects. Any number of threads may call one at the same time.

    Attributes:
        categories: those of the objects that it may find; their places are class numbers.
    """

    categories: tuple[str, ...]

    def __call__(self, rgb: NDArray[np.uint8]) -> Iterable[AnnotatedObject]:
        """The objects in a picture, in an order that is the same every time.

        Args:
            rgb: the picture, uint8 [H, W, 3].

        Raises:
            Sam3Error: nothing can be looked for in this picture.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What decides what is found, as plain data by names that make sense in a sentence."""
        ...


class PhraseFinder:
    """Looks for phrases with a model.

    Args:
        model: any number of threads may use it.
        phrases: phrases, also as ``phrase=category``.
        threshold: objects with a higher score are kept, 0 to 1.

    Attributes:
        phrases: as they are looked for, each once.
        categories: of them.
        read: for phrases that are longer than the model reads, the beginning that it reads; known
            once a picture was looked at.

    Raises:
        Refused: no phrase, or one that cannot be used.
        PromptError: a threshold that is no number from 0 to 1.
    """

    def __init__(
        self, model: Model, phrases: Iterable[str | Phrase], threshold: float = 0.5
    ) -> None:
        check_threshold(threshold)
        self._model = model
        self._threshold = float(threshold)
        self.phrases = phrases_of(phrases)
        self.categories = categories(self.phrases)
        self.read: dict[str, str] = {}

    def __call__(self, rgb: NDArray[np.uint8]) -> Iterator[AnnotatedObject]:
        texts = [phrase.text for phrase in self.phrases]
        results = self._model.segment(rgb, texts, threshold=self._threshold)
        for phrase, result in zip(self.phrases, results, strict=True):
            if result.text_read != result.text:
                self.read[phrase.text] = result.text_read
            yield from _objects(phrase, result)

    def settings(self) -> dict[str, Any]:
        """The artifact's fingerprint, the phrases with their categories, and the threshold."""
        return {
            "the artifact": self._model.fingerprint,
            "the phrases": [[phrase.text, phrase.category] for phrase in self.phrases],
            "the threshold": self._threshold,
        }


def load_phrase_finder(
    artifact: str | os.PathLike[str],
    phrases: Iterable[str | Phrase],
    threshold: float = 0.5,
    threads: int | None = None,
) -> PhraseFinder:
    """What looks for phrases, with a model that is loaded for it; as :class:`PhraseFinder`.

    With its first arguments given by :func:`functools.partial` it is what workers of a cluster
    load.

    Raises:
        ArtifactError: an artifact that cannot be used here.
    """
    return PhraseFinder(load(artifact, threads=threads), phrases, threshold)


def _objects(phrase: Phrase, result: Result) -> Iterator[AnnotatedObject]:
    """A result's objects, without those whose mask has no pixel."""
    height, width = result.size
    for box, entry in zip(result.boxes, result.to_coco(), strict=True):
        if not entry["area"]:
            continue
        runs = entry["segmentation"]
        x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height]).tolist()
        if x1 <= x0 or y1 <= y0:  # it lies outside, and the mask doesn't
            x0, y0, w, h = coco.toBbox({**runs, "counts": runs["counts"].encode()}).tolist()
            x1, y1 = x0 + w, y0 + h
        yield AnnotatedObject(
            phrase.text,
            phrase.category,
            entry["score"],
            (x0, y0, x1, y1),
            entry["area"],
            runs["counts"],
        )
