"""A ``tokenizer.json`` of Hugging Face's ``tokenizers`` library, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tokenizers

from sam3_tvm.json_file import parse_json

__all__ = ["encode", "parse_tokenizer"]

_T = TypeVar("_T")

# Phrases that any tokenizer has to take: what rules do shows with text only.
_PHRASES = ("visual", "A red  ball, 3.5 m\u00e9tres", "")


def parse_tokenizer(raw: bytes) -> tokenizers.Tokenizer:
    """A tokenizer from the contents of its file.

    Raises:
        ValueError: it is no JSON, no tokenizer, or one that fails on simple phrases. The message is
            one line.
    """
    parse_json(raw)
    text = raw.decode("utf-8-sig")
    tokenizer = _guarded(lambda: tokenizers.Tokenizer.from_str(text), "it is no tokenizer")
    encode(tokenizer, _PHRASES)
    return tokenizer


def encode(tokenizer: tokenizers.Tokenizer, phrases: Sequence[str]) -> list[Any]:
    """The library's encodings of phrases.

    Raises:
        ValueError: the tokenizer's rules fail on them.
    """
    # One at a time: a batch would start threads, which a forked child would miss.
    return _guarded(lambda: [tokenizer.encode(p) for p in phrases], "its rules fail on text")


def _guarded(call: Callable[[], _T], what: str) -> _T:
    """``call()``; what goes wrong in the library is a ValueError.

    It raises plain exceptions, and where its Rust code panics one that no ``except Exception``
    sees.
    """
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what}: {reason}") from error
