"""What prompts become before the detector takes them: phrases, boxes and points, and examples."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.locks import Lock
from sam3_tvm.manifest import Manifest
from sam3_tvm.runtime.concepts.exemplar import Tokens
from sam3_tvm.runtime.concepts.prompts import Prompt
from sam3_tvm.runtime.execution.image_functions import ImageFunctions

__all__ = ["PromptEncoder", "Tokenize"]

# A phrase's features are 32 KB at SAM 3's size.
_CACHED_PHRASES = 256

#: What a picture was encoded to, by name.
_Encoded = Mapping[str, NDArray[Any]]


class Tokenize(Protocol):
    """Phrases to tokens, such as a :class:`~sam3_tvm.runtime.tokenizer.Tokenizer`."""

    def __call__(self, phrases: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and mask, int64 [phrases, tokens] each."""

    def read(self, phrase: str) -> str:
        """The beginning of a phrase that fits into the tokens."""


class PromptEncoder:
    """Makes prompts the tokens that the detector takes.

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
        self._points = manifest.sizes.points
        self._always = manifest.source.reference.geometry_without_boxes
        self._phrases: OrderedDict[str, Tokens] = OrderedDict()
        self._phrases_lock = Lock()

    def form(self, prompt: Prompt) -> tuple[bool, int]:
        """What prompts that go through the detector together have in common.

        Geometry lengthens the prompt, even by its CLS token alone, and so do examples: those of
        different lengths are kept apart, so that each is what the reference makes of it.

        Returns:
            Whether there is geometry on the picture itself, and how many tokens of examples.
        """
        examples = sum(mask.shape[1] for _, mask in prompt.tokens)
        given = len(prompt.boxes) > 0 or len(prompt.points) > 0
        # Examples bring the CLS token that the reference always has.
        return given or (self._always and not examples), examples

    def __call__(self, image: _Encoded, prompts: Sequence[Prompt]) -> Tokens:
        """The tokens of prompts of one :meth:`form`: float32 [B, P, D], and which count, bool
        [B, P]."""
        phrases = [p.text for p in prompts]
        cached = self._encode_phrases(phrases)
        parts = [_stacked([cached[phrase] for phrase in phrases])]
        geometry, examples = self.form(prompts[0])
        if geometry:
            parts.append(self.geometry(image, prompts))
        if examples:
            parts.append(_stacked([_joined(p.tokens) for p in prompts]))
        return _joined(parts)

    def geometry(self, image: _Encoded, prompts: Sequence[Prompt]) -> Tokens:
        """The tokens of boxes and points on the picture itself, and which count."""
        inputs = _padded([p.boxes for p in prompts], [p.labels for p in prompts])
        if self._points:
            points = _padded([p.points for p in prompts], [p.point_labels for p in prompts])
            inputs = (*inputs, *points)
        # One at a time: a prompt's few tokens look at the whole picture, so that a batch would
        # take more to repeat the picture's keys and values than it saves.
        rows = [slice(row, row + 1) for row in range(len(prompts))]
        encoded = [
            self._on_image("geometry_encoder", image, *(x[at] for x in inputs)) for at in rows
        ]
        return _stacked([(tokens, mask) for tokens, mask in encoded])

    def _encode_phrases(self, phrases: Sequence[str]) -> dict[str, Tokens]:
        """Each phrase's features and mask, with one call for those that are not cached."""
        found: dict[str, Tokens] = {}
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


def _stacked(prompts: Sequence[Tokens]) -> Tokens:
    """Those of several prompts, equally long, in a batch."""
    tokens, masks = zip(*prompts, strict=True)
    return np.concatenate(tokens), np.concatenate(masks)


def _joined(parts: Sequence[Tokens]) -> Tokens:
    """Parts of a prompt, one after the other."""
    return np.concatenate([one[0] for one in parts], 1), np.concatenate(
        [one[1] for one in parts], 1
    )


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
