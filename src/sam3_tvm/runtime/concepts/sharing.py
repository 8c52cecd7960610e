"""Which examples go with which phrase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Asked", "Named", "share_out"]


class Named(Protocol):
    """An example, or what will be made one."""

    @property
    def name(self) -> str | None:
        """What it is an example of; None for whatever is looked for."""


_T = TypeVar("_T", bound=Named)


@dataclass(frozen=True)
class Asked(Generic[_T]):
    """One thing that is looked for.

    Attributes:
        text: the phrase; None where there is none.
        name: what its results are called; None for the model's own word for examples.
        like: the examples.
    """

    text: str | None
    name: str | None
    like: tuple[_T, ...]


def share_out(phrases: Sequence[tuple[str, str]], examples: Sequence[_T]) -> list[Asked[_T]]:
    """Phrases and examples as what is looked for.

    An example whose name is that of phrases goes with them, one without a name with everything.
    Examples of another name are looked for by themselves, and so are those without where there is
    nothing else.

    Args:
        phrases: each with the name of what it finds, which may be itself.
        examples: in the order in which they were given.

    Returns:
        The phrases in their order, then the other names.
    """
    names = list(dict.fromkeys(name for _, name in phrases))
    others = [one.name for one in examples if one.name is not None and one.name not in names]

    def of(name: str | None) -> tuple[_T, ...]:
        return tuple(one for one in examples if one.name in (None, name))

    asked = [Asked(text, name, of(name)) for text, name in phrases]
    asked += [Asked(None, name, of(name)) for name in dict.fromkeys(others)]
    return asked or ([Asked(None, None, tuple(examples))] if examples else [])
