"""Objects of a kind: which of the detector's queries answer a prompt, with boxes and masks."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.abi import BATCH
from sam3_tvm.manifest import Manifest
from sam3_tvm.progress import Progress
from sam3_tvm.runtime.concepts.encoding import PromptEncoder, Tokenize
from sam3_tvm.runtime.concepts.exemplar import Exemplar, Tokens
from sam3_tvm.runtime.concepts.likeness import confirmed, given_to
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


class PhraseWarning(UserWarning):
    """A phrase that is longer than the model reads.

    Attributes:
        phrase: the phrase.
        read: its beginning, which is searched.
    """

    phrase = read = ""


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
        self._encode = PromptEncoder(call, on_image, tokenize, manifest)

    def build(
        self,
        text: Any,
        boxes: Any,
        box_labels: Any,
        points: Any,
        point_labels: Any,
        size: tuple[int, int],
        like: Sequence[tuple[Exemplar, ...]] | None = None,
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
            like=like,
            max_like=self._bound("detr_encoder", "prompt") - self._manifest.sizes.text_tokens,
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
                if (prompt := chosen[row]).alone and prompt.like:
                    where, like = scored.boxes[row], prompt.like
                    scores = confirmed(self, image.features, where, scores, like, threshold)
                kept = np.flatnonzero(scores > threshold)
                kept = kept[np.argsort(-scores[kept], kind="stable")]
                masks = self._masks(image.features, scored, row, kept)
                results[index] = Result(
                    prompt.name,
                    _to_pixels(scored.boxes[row, kept], image.size),
                    scores[kept],
                    kept,
                    LazyMasks(image.size, masks, self._resize_masks),
                    image.picture,
                    prompt.name if prompt.alone else self._tokenize.read(prompt.text),
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

    @property
    def _visual(self) -> Prompt:
        """A prompt of the model's own word for examples, without any."""
        return self._phrase_prompts([self._manifest.source.reference.visual_text])[0]

    def _phrase_prompts(self, phrases: Sequence[str]) -> list[Prompt]:
        visual = self._manifest.source.reference.visual_text
        return build_prompts(list(phrases), None, None, (1, 1), visual_text=visual, max_boxes=0)

    def _score(self, features: _Encoded, prompts: Sequence[Prompt]) -> _Scored:
        """Queries, boxes and scores of prompts that go through the detector together."""
        prompt, prompt_mask = self._encode(features, prompts)
        (memory,) = self._on_image("detr_encoder", features, prompt, prompt_mask)
        queries, boxes, presence = self._call("detr_decoder", memory, prompt, prompt_mask)
        (logits,) = self._call("scoring", queries, prompt, prompt_mask)
        scores = sigmoid(logits) * sigmoid(presence)
        return _Scored(queries, boxes, scores, memory, prompt, prompt_mask)

    def _chunks(self, prompts: Sequence[Prompt]) -> Iterator[list[int]]:
        """Indices of prompts that go through the detector together; see PromptEncoder.form."""
        forms: dict[tuple[bool, int], list[int]] = {}
        for i, prompt in enumerate(prompts):
            forms.setdefault(self._encode.form(prompt), []).append(i)
        step = min(_PROMPTS_AT_ONCE, self._bound("detr_encoder", BATCH.name))
        for _, chosen in sorted(forms.items()):
            yield from (chosen[i : i + step] for i in range(0, len(chosen), step))

    @property
    def _takes_points(self) -> bool:
        return self._manifest.sizes.points

    def exemplar(
        self,
        image: EncodedImage,
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
        name: str | None,
        views: Iterable[tuple[EncodedImage, NDArray[np.float32]]] = (),
    ) -> Exemplar:
        """An example for other pictures; see :meth:`Model.exemplar`.

        Args:
            image: the picture.
            boxes: float32 [N, 4], centre x, centre y, width, height as fractions of it.
            labels: int64 [N].
            name: what to call what it finds.
            views: other views of the picture, and where the boxes are there that are labelled 1.
        """
        every, meant = labels >= 0, labels == 1
        tokens = [
            self.tokens_of_boxes(image.features, [boxes[rows]], [labels[rows]])[0]
            for rows in ([every] if meant.all() or not meant.any() else [every, meant])
        ]
        names = self._on_image.kept("detr_encoder")
        features = {key: image.features[key] for key in names}
        own = np.zeros(len(boxes), np.float32)
        if meant.any():
            where, scores = self.look_for_tokens(features, tokens[-1:])
            own = np.array([given_to(box, where[0], scores[0]) for box in boxes], np.float32)
        digest = hashlib.sha256()
        for array in (boxes, labels, *(features[key] for key in sorted(features))):
            digest.update(np.ascontiguousarray(array).data)
        seen = [
            self.exemplar(view, where, np.ones(len(where), np.int64), None) for view, where in views
        ]
        for one in seen:
            digest.update(one.digest.encode())
        return Exemplar(
            boxes,
            labels,
            tokens[0],
            tokens[-1] if meant.any() else None,
            own,
            features,
            image.fingerprint,
            digest.hexdigest(),
            name,
            tuple(seen),
        )

    def tokens_of_boxes(
        self,
        features: _Encoded,
        boxes: Sequence[NDArray[np.float32]],
        labels: Sequence[NDArray[np.int64]] | None = None,
    ) -> list[Tokens]:
        """What the geometry encoder makes of boxes on a picture.

        Args:
            features: of the picture.
            boxes: of each prompt float32 [N, 4], centre x, centre y, width, height as fractions
                of the picture.
            labels: of each prompt int64 [N]; by default all 1.

        Returns:
            For each prompt its tokens, float32 [1, N + 1, D], and which count, bool [1, N + 1].
        """
        of_each = labels or [np.ones(len(box), np.int64) for box in boxes]
        prompts = [
            replace(self._visual, boxes=box, labels=label)
            for box, label in zip(boxes, of_each, strict=True)
        ]
        return [self._encode.geometry(features, [prompt]) for prompt in prompts]

    def look_for_tokens(
        self, features: _Encoded, tokens: Sequence[Tokens]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The queries that examples on other pictures find, each example alone.

        Args:
            features: of the picture to be searched.
            tokens: of each example.

        Returns:
            Boxes, float32 [N, Q, 4], as the detector gives them, and scores, float32 [N, Q].
        """
        prompts = [replace(self._visual, tokens=(one,)) for one in tokens]
        found: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
        for chunk in self._chunks(prompts):
            scored = self._score(features, [prompts[i] for i in chunk])
            found.update(zip(chunk, zip(scored.boxes, scored.scores, strict=True), strict=True))
        each = [found[i] for i in range(len(prompts))]
        return np.stack([boxes for boxes, _ in each]), np.stack([scores for _, scores in each])

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


def _to_pixels(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Centre, width and height as fractions to x0, y0, x1, y1 in pixels."""
    centre, half = boxes[:, :2], boxes[:, 2:] * np.float32(0.5)
    scale = np.array([size[1], size[0]] * 2, np.float32)
    corners: NDArray[np.float32] = np.concatenate([centre - half, centre + half], 1) * scale
    return corners
