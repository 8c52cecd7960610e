"""Phrases to token ids, with the ``tokenizers`` library and the checkpoint's tokenizer.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import ArtifactError
from sam3_tvm.json_file import read_regular
from sam3_tvm.tokenizer_file import encode, parse_tokenizer

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
            self._tokenizer = parse_tokenizer(read_regular(path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ArtifactError(f"{path}: cannot be read ({reason}); compile it again") from error
        pad = self._tokenizer.id_to_token(pad_id)
        if pad is None:
            raise ArtifactError(f"{path}: has no token {pad_id} to pad with; compile it again")
        # Special tokens are counted: the post-processor's end of text survives the cut.
        self._tokenizer.enable_truncation(length)
        self._tokenizer.enable_padding(length=length, pad_id=pad_id, pad_token=pad)
        self._path, self._length = path, length
        self(["visual"])

    def __call__(self, phrases: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Encode phrases.

        Returns:
            Token ids and attention mask (1 for tokens, 0 for padding), both int64 of shape
            [phrases, length].

        Raises:
            ArtifactError: the tokenizer's rules fail on a phrase.
        """
        encoded = self._encode(phrases)
        ids = np.array([e.ids for e in encoded], np.int64)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        if self._masked is not None:
            mask = (ids != self._masked).astype(np.int64)
        return ids, mask

    def read(self, phrase: str) -> str:
        """The beginning of a phrase that fits into the tokens; mostly all of it."""
        (encoded,) = self._encode([phrase])
        if not encoded.overflowing:
            return phrase
        return phrase[: max(end for _, end in encoded.offsets)]

    def _encode(self, phrases: Sequence[str]) -> list[Any]:
        try:
            encoded = encode(self._tokenizer, phrases)
        except ValueError as error:
            raise ArtifactError(f"{self._path}: {error}; compile it again") from error
        if wrong := [len(e.ids) for e in encoded if len(e.ids) != self._length]:
            raise ArtifactError(
                f"{self._path}: gives {wrong[0]} tokens where the text encoder takes "
                f"{self._length}; compile it again"
            )
        return encoded
