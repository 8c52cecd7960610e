"""Where each tensor of a function lies in its workspace, for every size that a call may have.

Two tensors may share memory when one is dead before the other is written. Which lies above which
is decided at the smallest sizes (a batch of 1) by the greedy rule of Pisarchyk and Lee,
"Efficient Memory Management for Deep Neural Net Inference" (2020): the largest tensor first, each
into the tightest gap among those that live at the same time. What a call asks for then follows
from that order alone: a tensor begins where the highest of the tensors below it that live at the
same time ends. So the plan holds for all sizes, and no two tensors ever meet that must not.

Sizes are polynomials in a function's symbolic sizes with coefficients that are multiples of
:data:`ALIGNMENT`, so ends are aligned without rounding, and most of the "highest of" are decided
when the plan is made: one end is at least another for all sizes. The rest get a name that stands
for the maximum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["ALIGNMENT", "Bytes", "Lifetime", "Plan", "plan"]

ALIGNMENT = 64
"""Bytes to a multiple of which every tensor is placed: a cache line, a vector of AVX-512."""

# Sizes of this model are often multiples of 4 KiB. Tensors that far apart compete for the same
# sets of the first cache, and their loads wait for stores that only look like the same address.
_STAGGERED_FROM = 1 << 16
_STAGGER = 5 * ALIGNMENT

Monomial = tuple[str, ...]


@dataclass(frozen=True)
class Bytes:
    """A number of bytes: a polynomial in named sizes.

    Attributes:
        terms: the coefficient of each product of sizes; a product is its names, sorted, and
            ``()`` is the constant. No coefficient is 0.
    """

    terms: Mapping[Monomial, int] = field(default_factory=dict)

    @staticmethod
    def of(value: int) -> Bytes:
        """A constant."""
        return Bytes({(): value} if value else {})

    @staticmethod
    def named(name: str) -> Bytes:
        """A size by its name."""
        return Bytes({(name,): 1})

    def __add__(self, other: Bytes) -> Bytes:
        return _collected(itertools.chain(self.terms.items(), other.terms.items()))

    def __mul__(self, other: Bytes) -> Bytes:
        return _collected(
            (tuple(sorted(a + b)), x * y)
            for a, x in self.terms.items()
            for b, y in other.terms.items()
        )

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def at(self, sizes: Mapping[str, int]) -> int:
        """Its value for given sizes."""
        return sum(c * math.prod(sizes[n] for n in names) for names, c in self.terms.items())

    def aligned(self) -> Bytes:
        """At least as many bytes, with coefficients that are multiples of :data:`ALIGNMENT`."""
        return Bytes({m: -(-c // ALIGNMENT) * ALIGNMENT for m, c in self.terms.items()})

    def beyond(self, lower: Mapping[str, int]) -> Bytes:
        """The same number written in what each size exceeds its lower bound by."""
        shifted = Bytes()
        for names, coefficient in self.terms.items():
            product = Bytes.of(coefficient)
            for name in names:
                product = product * (Bytes.named(name) + Bytes.of(lower.get(name, 0)))
            shifted = shifted + product
        return shifted

    def at_least(self, other: Bytes, lower: Mapping[str, int]) -> bool:
        """Whether it is provably at least ``other`` for all sizes from their lower bounds on.

        Written in what sizes exceed their bounds by, a difference without negative coefficients
        is never negative.
        """
        return self.beyond(lower).covers(other.beyond(lower))

    def covers(self, other: Bytes) -> bool:
        """Whether no coefficient is less than the one in ``other``."""
        mine, its = self.terms, other.terms
        return all(mine.get(names, 0) >= c for names, c in its.items()) and all(
            c >= 0 for names, c in mine.items() if names not in its
        )


def _collected(terms: Iterable[tuple[Monomial, int]]) -> Bytes:
    total: dict[Monomial, int] = {}
    for names, coefficient in terms:
        total[names] = total.get(names, 0) + coefficient
    return Bytes({names: c for names, c in total.items() if c})


@dataclass(frozen=True)
class Lifetime:
    """A tensor to be placed.

    Attributes:
        size: its bytes, with aligned coefficients.
        first: the step that writes it.
        last: the last step that reads it.
    """

    size: Bytes
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are needed at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass
class Plan:
    """Offsets of tensors in a workspace.

    Attributes:
        offsets: of each tensor, in the order given, multiples of :data:`ALIGNMENT`.
        maxima: names that stand for the largest of several numbers of bytes, in an order in
            which each needs only those before it.
        ends: the workspace needs the largest of these.
    """

    offsets: list[Bytes]
    maxima: dict[str, tuple[Bytes, ...]]
    ends: tuple[Bytes, ...]

    def evaluate(self, sizes: Mapping[str, int]) -> tuple[list[int], int]:
        """The offsets and the bytes of the workspace for given sizes."""
        known = dict(sizes)
        for name, choices in self.maxima.items():
            known[name] = max(c.at(known) for c in choices)
        return [o.at(known) for o in self.offsets], max((e.at(known) for e in self.ends), default=0)


def plan(tensors: Sequence[Lifetime], lower: Mapping[str, int]) -> Plan:
    """Place tensors so that those that are needed at the same time never overlap.

    Args:
        tensors: what to place.
        lower: the smallest value of each size that their bytes are made of; the order is
            decided there, a size that may be 0 counted as 1.
    """
    smallest = {name: max(1, bound) for name, bound in lower.items()}
    spaced = [
        Lifetime(
            t.size + Bytes.of(_STAGGER if t.size.at(smallest) >= _STAGGERED_FROM else 0),
            t.first,
            t.last,
        )
        for t in tensors
    ]
    order = _greedy_order([(t, t.size.at(smallest)) for t in spaced])
    result = Plan([Bytes()] * len(tensors), {}, ())
    names: dict[frozenset[Bytes], str] = {}
    beyond: dict[Bytes, Bytes] = {}
    ends: dict[int, Bytes] = {}
    for position in order:
        tensor = spaced[position]
        below = [ends[i] for i in ends if spaced[i].meets(tensor)]
        highest = _undominated(below, beyond)
        if len(highest) > 1:
            key = frozenset(highest)
            if key not in names:
                names[key] = f"above_{len(names)}"
                result.maxima[names[key]] = tuple(highest)
            highest = [Bytes.named(names[key])]
        offset = highest[0] if highest else Bytes()
        result.offsets[position] = offset
        ends[position] = end = offset + tensor.size
        beyond.setdefault(end, end.beyond(lower))
    result.ends = tuple(_undominated(list(ends.values()), beyond))
    return result


def _undominated(choices: Sequence[Bytes], beyond: Mapping[Bytes, Bytes]) -> list[Bytes]:
    """The choices among which the largest is, whatever the sizes.

    ``beyond`` has each choice written in what sizes exceed their lower bounds by.
    """
    kept: list[Bytes] = []
    for choice in dict.fromkeys(choices):
        if any(beyond[k].covers(beyond[choice]) for k in kept):
            continue
        kept = [k for k in kept if not beyond[choice].covers(beyond[k])]
        kept.append(choice)
    return kept


def _greedy_order(tensors: Sequence[tuple[Lifetime, int]]) -> list[int]:
    """Positions from the lowest to the highest in a plan for fixed numbers of bytes."""
    placed: dict[int, int] = {}
    for i in sorted(range(len(tensors)), key=lambda i: (-tensors[i][1], tensors[i][0].first)):
        lifetime, size = tensors[i]
        taken = sorted((placed[j], tensors[j][1]) for j in placed if tensors[j][0].meets(lifetime))
        end, best, tightest = 0, None, None
        for offset, length in taken:
            gap = offset - end
            if gap >= size and (tightest is None or gap < tightest):
                best, tightest = end, gap
            end = max(end, offset + length)
        placed[i] = end if best is None else best
    return sorted(placed, key=lambda i: (placed[i], tensors[i][0].first))
