"""What the values of an input may look like: the rule by which examples of it are drawn.

A rule belongs to the contract: whoever adds a function says with each input what it holds, and
tracing, ``verify`` and ``bench`` draw it so. How a rule is drawn in PyTorch is in
:mod:`sam3_tvm.sources.sampling`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Alternating",
    "Binary",
    "Boxes",
    "Choice",
    "Integers",
    "Normal",
    "Padding",
    "TokenIds",
    "Uniform",
    "Values",
]


@dataclass(frozen=True)
class Normal:
    """Real numbers of the standard normal distribution: features, logits, embeddings."""


@dataclass(frozen=True)
class Uniform:
    """Real numbers in 0..1: coordinates as fractions of the picture, ages as fractions."""


@dataclass(frozen=True)
class Integers:
    """Whole numbers from ``low`` to below ``high``."""

    low: int
    high: int


@dataclass(frozen=True)
class Choice:
    """Whole numbers, each one of ``among``."""

    among: tuple[int, ...]


@dataclass(frozen=True)
class TokenIds:
    """Whole numbers from 0 to below the size of the source's vocabulary."""


@dataclass(frozen=True)
class Boxes:
    """Centre x, centre y, width and height on the last axis, as fractions of the picture: no
    smaller than 0.02 of it, and with a centre that isn't at its edge."""


@dataclass(frozen=True)
class Binary:
    """Real numbers that are 0 or 1, as often one as the other: a mask as a picture."""


@dataclass(frozen=True)
class Padding:
    """``[B, N]``: 1 where a value counts, then 0 for padding. Rows are of lengths of their own, of
    which none is empty, and the first row is full."""


@dataclass(frozen=True)
class Alternating:
    """``[B]``: true for every other row, beginning with the first: options of a row."""


Values = Normal | Uniform | Integers | Choice | TokenIds | Boxes | Binary | Padding | Alternating
"""Any of the rules."""
