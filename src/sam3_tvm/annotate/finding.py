"""What looks for objects in a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sam3_tvm.annotate.classes import Phrase, categories, phrases_of
from sam3_tvm.annotate.faults import Refused
from sam3_tvm.annotate.records import AnnotatedObject
from sam3_tvm.runtime.concepts.exemplar import Exemplar
from sam3_tvm.runtime.concepts.prompts import check_threshold
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.concepts.sharing import share_out
from sam3_tvm.runtime.loading import load
from sam3_tvm.runtime.model import Model
from sam3_tvm.tiles import TiledResult, Tiling, Windows, open_windows, segment_tiled

__all__ = ["Finder", "PhraseFinder", "TiledPhraseFinder", "load_phrase_finder"]


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
    """Looks for phrases, and for what looks like examples on other pictures, with a model.

    Args:
        model: any number of threads may use it.
        phrases: phrases, also as ``phrase=category``; none where there are examples.
        threshold: objects with a higher score are kept, 0 to 1.
        like: examples. One whose name is a category goes with the phrases of it, one without a
            name with everything; of another name it is a category of its own.

    Attributes:
        phrases: as they are looked for, each once.
        categories: of them, then those that have examples alone.
        read: for phrases that are longer than the model reads, the beginning that it reads; known
            once a picture was looked at.

    Raises:
        Refused: no phrase and no example, or one that cannot be used.
        PromptError: a threshold that is no number from 0 to 1.
    """

    def __init__(
        self,
        model: Model,
        phrases: Iterable[str | Phrase],
        threshold: float = 0.5,
        like: Sequence[Exemplar] = (),
    ) -> None:
        check_threshold(threshold)
        given = [*phrases]
        self._model = model
        self._threshold = float(threshold)
        self._like = tuple(like)
        self.phrases = phrases_of(given) if given or not like else ()
        asked = share_out([(p.text, p.category) for p in self.phrases], self._like)
        # What is looked for by examples alone goes by its category.
        self._looked_for = [
            (one.text, one.like, Phrase(one.text or one.name or "", one.name or ""))
            for one in asked
        ]
        self.categories = categories([phrase for _, _, phrase in self._looked_for])
        if "" in self.categories:
            raise Refused("like", "an example without a phrase needs a name: the category", False)
        self.read: dict[str, str] = {}

    def __call__(self, rgb: NDArray[np.uint8]) -> Iterator[AnnotatedObject]:
        texts = [text for text, _, _ in self._looked_for]
        like = [of for _, of, _ in self._looked_for]
        results = self._model.segment(rgb, texts, threshold=self._threshold, like=like)
        return self._found(results)

    def _found(self, results: Sequence[Result | TiledResult]) -> Iterator[AnnotatedObject]:
        for (_, _, phrase), result in zip(self._looked_for, results, strict=True):
            if result.text_read != result.text:
                self.read[phrase.text] = result.text_read
            yield from _objects(phrase, result)

    def settings(self) -> dict[str, Any]:
        """The artifact's fingerprint, the phrases with their categories, the threshold, and the
        examples where there are any."""
        settings = {
            "the artifact": self._model.fingerprint,
            "the phrases": [[phrase.text, phrase.category] for phrase in self.phrases],
            "the threshold": self._threshold,
        }
        if self._like:
            settings["the examples"] = [[one.name, one.digest] for one in self._like]
        return settings


class TiledPhraseFinder(PhraseFinder):
    """As a :class:`PhraseFinder`, tile by tile, for large pictures, which are read by windows.

    Args:
        model, phrases, threshold, like: as there.
        tiling: how pictures are cut; by default tiles of 1008 pixels that overlap by 0.15 of that.
    """

    def __init__(
        self,
        model: Model,
        phrases: Iterable[str | Phrase],
        threshold: float = 0.5,
        like: Sequence[Exemplar] = (),
        tiling: Tiling | None = None,
    ) -> None:
        super().__init__(model, phrases, threshold, like)
        self.tiling = tiling or Tiling()

    def __call__(self, rgb: NDArray[np.uint8]) -> Iterator[AnnotatedObject]:
        with open_windows(rgb) as windows:
            return self.in_windows(windows)

    def in_windows(self, windows: Windows) -> Iterator[AnnotatedObject]:
        """The objects in a picture that is read by windows."""
        texts = [text for text, _, _ in self._looked_for]
        like = [of for _, of, _ in self._looked_for]
        results: list[TiledResult] = segment_tiled(
            self._model, windows, texts, threshold=self._threshold, like=like, tiling=self.tiling
        )
        return self._found(results)

    def settings(self) -> dict[str, Any]:
        """As those of phrases, with the tiles."""
        of = self.tiling
        return {**super().settings(), "the tiles": [of.tile, of.overlap, of.again]}


def load_phrase_finder(
    artifact: str | os.PathLike[str],
    phrases: Iterable[str | Phrase],
    threshold: float = 0.5,
    threads: int | None = None,
    like: Sequence[Exemplar] = (),
    tiling: Tiling | None = None,
) -> PhraseFinder:
    """What looks for phrases, with a model that is loaded for it; as :class:`PhraseFinder`, or with
    a tiling as :class:`TiledPhraseFinder`.

    With its other arguments than ``threads`` given by :func:`functools.partial` it is what workers
    of a cluster load.

    Raises:
        ArtifactError: an artifact that cannot be used here.
    """
    model = load(artifact, threads=threads)
    if tiling is None:
        return PhraseFinder(model, phrases, threshold, like)
    return TiledPhraseFinder(model, phrases, threshold, like, tiling)


def _objects(phrase: Phrase, result: Result | TiledResult) -> Iterator[AnnotatedObject]:
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
