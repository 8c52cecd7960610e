"""Phrases to token ids, with the ``tokenizers`` library and the checkpoint's tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from sam3_tvm.errors import ArtifactError

__all__ = ["Tokenizer"]


class Tokenizer:
    """Encodes phrases to a fixed length.

    Args:
        path: Hugging Face's ``tokenizer.json``.
        length: tokens per phrase. Longer phrases lose their last words, but keep the token
            that ends a phrase; shorter ones are padded.
        pad_id: the id to pad with.
        mask_by_id: mask this id wherever it stands, and not just after the phrase.

    Raises:
        ArtifactError: a file that cannot be read, or without the token to pad with.
    """

    def __init__(self, path: Path, length: int, pad_id: int, mask_by_id: bool = False) -> None:
        self._masked = pad_id if mask_by_id else None
        try:
            text = path.read_text(encoding="utf-8")
            json.loads(text)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{path}: cannot be read ({error}); compile it again") from error
        self._tokenizer = tokenizers.Tokenizer.from_str(text)
        pad = self._tokenizer.id_to_token(pad_id)
        if pad is None:
            raise ArtifactError(f"{path}: has no token {pad_id} to pad with; compile it again")
        # Special tokens are counted: the post-processor's end of text survives the cut.
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(length=length, pad_id=pad_id, pad_token=pad)

    def __call__(self, phrases: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Encode phrases.

        Returns:
            Token ids and attention mask (1 for tokens, 0 for padding), both int64 of shape
            [phrases, length].
        """
        # One at a time: a batch would start threads, which a forked child would miss.
        encoded = [self._tokenizer.encode(phrase) for phrase in phrases]
        ids = np.array([e.ids for e in encoded], np.int64)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        if self._masked is not None:
            mask = (ids != self._masked).astype(np.int64)
        return ids, mask

    def read(self, phrase: str) -> str:
        """The beginning of a phrase that fits into the tokens; mostly all of it."""
        encoded = self._tokenizer.encode(phrase)
        if not encoded.overflowing:
            return phrase
        return phrase[: max(end for _, end in encoded.offsets)]
