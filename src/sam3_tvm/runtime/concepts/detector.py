"""Objects of a kind: which of the detector's queries answer a prompt, with boxes and masks."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.abi import BATCH
from sam3_tvm.locks import Lock
from sam3_tvm.manifest import Manifest
from sam3_tvm.progress import Progress
from sam3_tvm.runtime.concepts.prompts import Prompt, build_prompts
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.pictures.arguments import PromptError, brief
from sam3_tvm.runtime.pictures.encoded import EncodedImage
from sam3_tvm.runtime.pictures.masks import LazyMasks
from sam3_tvm.runtime.pictures.scores import sigmoid

__all__ = ["ConceptDetector", "PhraseWarning", "Tokenize"]

# Prompts that go through the detector together. More gain little: by then every matrix
# product is large, and memory grows with each.
_PROMPTS_AT_ONCE = 8

# A phrase's features are 32 KB at SAM 3's size.
_CACHED_PHRASES = 256


class Tokenize(Protocol):
    """Phrases to tokens, such as a :class:`~sam3_tvm.runtime.tokenizer.Tokenizer`."""

    def __call__(self, phrases: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and mask, int64 [phrases, tokens] each."""

    def read(self, phrase: str) -> str:
        """The beginning of a phrase that fits into the tokens."""


class PhraseWarning(UserWarning):
    """A phrase that is longer than the model reads.

    Attributes:
        phrase: the phrase.
        read: its beginning, which is searched.
    """

    phrase = read = ""


_Features = tuple[NDArray[np.float32], NDArray[np.bool_]]

#: What a picture was encoded to, by name.
_Encoded = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Scored:
    """What the detector makes of B prompts on a picture.

    Attributes:
        queries: float32 [B, Q, D].
        boxes: float32 [B, Q, 4].
        scores: float32 [B, Q].
        memory, prompt, prompt_mask: what the mask decoder takes beside queries.
    """

    queries: NDArray[np.float32]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    memory: NDArray[np.float32]
    prompt: NDArray[np.float32]
    prompt_mask: NDArray[np.bool_]


class ConceptDetector:
    """Finds what prompts ask for in encoded pictures.

    Args:
        call: calls the artifact's functions.
        on_image: those that take features of the picture.
        tokenize: phrases to tokens.
        manifest: sizes and rules.
    """

    def __init__(
        self,
        call: Callable[..., tuple[NDArray[Any], ...]],
        on_image: ImageFunctions,
        tokenize: Tokenize,
        manifest: Manifest,
    ) -> None:
        self._call = call
        self._on_image = on_image
        self._tokenize = tokenize
        self._manifest = manifest
        self._phrases: OrderedDict[str, _Features] = OrderedDict()
        self._phrases_lock = Lock()

    def build(
        self,
        text: Any,
        boxes: Any,
        box_labels: Any,
        points: Any,
        point_labels: Any,
        size: tuple[int, int],
    ) -> list[Prompt]:
        """The prompts of a call; see :func:`~sam3_tvm.runtime.concepts.prompts.build_prompts`.

        Raises:
            PromptError: prompts that cannot be used, or points for an artifact that takes none.

        Warns:
            PhraseWarning: a phrase that is longer than the model reads; its end goes unheard.
        """
        prompts = build_prompts(
            text,
            boxes,
            box_labels,
            size,
            visual_text=self._manifest.source.reference.visual_text,
            max_boxes=self._bound("geometry_encoder", "boxes"),
            points=points,
            point_labels=point_labels,
            max_points=self._bound("geometry_encoder", "points") if self._takes_points else None,
        )
        self._warn_of_long(prompts, stacklevel=4)  # the caller of Model.segment
        return prompts

    def _warn_of_long(self, prompts: Sequence[Prompt], stacklevel: int) -> None:
        for phrase in dict.fromkeys(prompt.text for prompt in prompts):
            if (read := self._tokenize.read(phrase)) != phrase:
                warning = PhraseWarning(
                    f"a phrase of more than {self._manifest.sizes.text_tokens} tokens: what is "
                    f"searched is {brief(read)} alone"
                )
                warning.phrase, warning.read = phrase, read
                warnings.warn(warning, stacklevel=stacklevel)

    def detect(
        self, image: EncodedImage, prompts: Sequence[Prompt], threshold: float, progress: Progress
    ) -> list[Result]:
        """What each prompt finds in a picture.

        Args:
            image: the picture.
            prompts: as :meth:`build` makes them.
            threshold: objects with a higher score are kept.
            progress: called when a step begins, with the prompts done and all of them.
        """
        results: dict[int, Result] = {}
        for chunk in self._chunks(prompts):
            progress("detect", len(results), len(prompts))
            chosen = [prompts[i] for i in chunk]
            scored = self._score(image.features, chosen)
            for row, index in enumerate(chunk):
                progress("masks", len(results), len(prompts))
                scores = scored.scores[row]
                kept = np.flatnonzero(scores > threshold)
                kept = kept[np.argsort(-scores[kept], kind="stable")]
                masks = self._masks(image.features, scored, row, kept)
                results[index] = Result(
                    chosen[row].text,
                    _to_pixels(scored.boxes[row, kept], image.size),
                    scores[kept],
                    kept,
                    LazyMasks(image.size, masks, self._resize_masks),
                    image.picture,
                    self._tokenize.read(chosen[row].text),
                )
        return [results[i] for i in range(len(prompts))]

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that take features of the picture, for phrases alone."""
        geometry = self._manifest.source.reference.geometry_without_boxes
        return (*(["geometry_encoder"] if geometry else []), "detr_encoder", "mask_decoder")

    def check_phrase(self, phrase: Any) -> None:
        """Refuse a phrase that can't be looked for.

        Raises:
            PromptError: it is no text, or empty.

        Warns:
            PhraseWarning: it is longer than the model reads.
        """
        if not isinstance(phrase, str):
            raise PromptError(f"a phrase is text, not {brief(phrase)}")
        if not phrase.strip():
            raise PromptError("the phrase is empty: say what to look for")
        # The caller of TrackSession.add_text.
        self._warn_of_long(self._phrase_prompts([phrase]), stacklevel=5)

    def find_phrases(
        self, features: _Encoded, phrases: Sequence[str], threshold: float
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """What each phrase finds in an encoded picture, as it comes from the model.

        Args:
            features: what was kept of the picture for :attr:`functions`.
            phrases: what to look for.
            threshold: objects with a higher score are kept.

        Returns:
            Of each phrase the scores, float32 [K], in the order of the detector's queries, and the
            masks' logits, float32 [K, 4S, 4S].
        """
        prompts = self._phrase_prompts(phrases)
        found: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        for chunk in self._chunks(prompts):
            scored = self._score(features, [prompts[i] for i in chunk])
            for row, index in enumerate(chunk):
                kept = np.flatnonzero(scored.scores[row] > threshold)
                masks = self._masks(features, scored, row, kept)
                found[index] = scored.scores[row, kept], masks
        return [found[i] for i in range(len(prompts))]

    def _phrase_prompts(self, phrases: Sequence[str]) -> list[Prompt]:
        visual = self._manifest.source.reference.visual_text
        return build_prompts(list(phrases), None, None, (1, 1), visual_text=visual, max_boxes=0)

    def _score(self, features: _Encoded, prompts: Sequence[Prompt]) -> _Scored:
        """Queries, boxes and scores of prompts that go through the detector together."""
        prompt, prompt_mask = self._encode_prompts(features, prompts)
        (memory,) = self._on_image("detr_encoder", features, prompt, prompt_mask)
        queries, boxes, presence = self._call("detr_decoder", memory, prompt, prompt_mask)
        (logits,) = self._call("scoring", queries, prompt, prompt_mask)
        scores = sigmoid(logits) * sigmoid(presence)
        return _Scored(queries, boxes, scores, memory, prompt, prompt_mask)

    def _chunks(self, prompts: Sequence[Prompt]) -> Iterator[list[int]]:
        """Indices of prompts that go through the detector together.

        Geometry lengthens the prompt, even by its CLS token alone: prompts that have it and
        prompts that don't are kept apart, so that each is what the reference makes of it.
        """
        for geometry in (False, True):
            chosen = [i for i, p in enumerate(prompts) if self._has_geometry(p) == geometry]
            step = min(_PROMPTS_AT_ONCE, self._bound("detr_encoder", BATCH.name))
            yield from (chosen[i : i + step] for i in range(0, len(chosen), step))

    def _has_geometry(self, prompt: Prompt) -> bool:
        if self._manifest.source.reference.geometry_without_boxes:
            return True
        return len(prompt.boxes) > 0 or len(prompt.points) > 0

    @property
    def _takes_points(self) -> bool:
        return self._manifest.sizes.points

    def _encode_prompts(self, image: _Encoded, prompts: Sequence[Prompt]) -> _Features:
        """The prompts' tokens: float32 [B, P, D], and which of them count, bool [B, P]."""
        phrases = [p.text for p in prompts]
        cached = self._encode_phrases(phrases)
        features = np.concatenate([cached[phrase][0] for phrase in phrases])
        mask = np.concatenate([cached[phrase][1] for phrase in phrases])
        if not self._has_geometry(prompts[0]):
            return features, mask
        geometry_inputs = _padded([p.boxes for p in prompts], [p.labels for p in prompts])
        if self._takes_points:
            points = _padded([p.points for p in prompts], [p.point_labels for p in prompts])
            geometry_inputs = (*geometry_inputs, *points)
        # One at a time: a prompt's few tokens look at the whole picture, so that a batch would
        # take more to repeat the picture's keys and values than it saves.
        rows = [slice(row, row + 1) for row in range(len(prompts))]
        encoded = [
            self._on_image("geometry_encoder", image, *(x[at] for x in geometry_inputs))
            for at in rows
        ]
        geometry = np.concatenate([row[0] for row in encoded])
        geometry_mask = np.concatenate([row[1] for row in encoded])
        return (
            np.concatenate([features, geometry], 1),
            np.concatenate([mask, geometry_mask], 1),
        )

    def _encode_phrases(self, phrases: Sequence[str]) -> dict[str, _Features]:
        """Each phrase's features and mask, with one call for those that are not cached."""
        found: dict[str, _Features] = {}
        with self._phrases_lock:
            for phrase in phrases:
                if phrase in self._phrases:
                    self._phrases.move_to_end(phrase)
                    found[phrase] = self._phrases[phrase]
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in found]
        if not new:
            return found
        ids, mask = self._tokenize(new)
        (features,) = self._call("text_encoder", ids, mask)
        for row, phrase in enumerate(new):
            # A copy, or one phrase would keep the whole batch in memory.
            found[phrase] = (features[row : row + 1].copy(), mask[row : row + 1].astype(np.bool_))
        with self._phrases_lock:
            self._phrases.update((phrase, found[phrase]) for phrase in new)
            while len(self._phrases) > _CACHED_PHRASES:
                self._phrases.popitem(last=False)
        return found

    def _masks(
        self,
        image: _Encoded,
        scored: _Scored,
        row: int,
        kept: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Mask logits of the kept queries of one prompt: float32 [K, 4S, 4S].

        One prompt at a time: the finest features are 85 MB at SAM 3's size.
        """
        if len(kept) == 0:
            side = 4 * self._manifest.sizes.grid
            return np.zeros((0, side, side), np.float32)
        at = slice(row, row + 1)
        masks, _semantic = self._on_image(
            "mask_decoder",
            image,
            scored.queries[at, kept],
            scored.memory[at],
            scored.prompt[at],
            scored.prompt_mask[at],
        )
        logits: NDArray[np.float32] = masks[0]
        return logits

    def _resize_masks(
        self, logits: NDArray[np.float32], size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        (resized,) = self._call("resize_masks", logits, size)
        return resized

    def _bound(self, function: str, dim: str) -> int:
        """The most that a dimension of a function may be."""
        return self._manifest.components[function].dims[dim].max


def _padded(
    values: Sequence[NDArray[np.float32]], labels: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[Any], ...]:
    """Boxes or points of several prompts, filled up with zeros to the longest: values
    [B, N, ...], their labels, int64 [B, N], and which of them count, bool [B, N]."""
    count = max(map(len, values))
    padded = np.zeros((len(values), count, values[0].shape[1]), np.float32)
    of_each = np.zeros((len(values), count), np.int64)
    given = np.zeros((len(values), count), np.bool_)
    for row, (ours, label) in enumerate(zip(values, labels, strict=True)):
        padded[row, : len(ours)] = ours
        of_each[row, : len(ours)] = label
        given[row, : len(ours)] = True
    return padded, of_each, given


def _to_pixels(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Centre, width and height as fractions to x0, y0, x1, y1 in pixels."""
    centre, half = boxes[:, :2], boxes[:, 2:] * np.float32(0.5)
    scale = np.array([size[1], size[0]] * 2, np.float32)
    corners: NDArray[np.float32] = np.concatenate([centre - half, centre + half], 1) * scale
    return corners
