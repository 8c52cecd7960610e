"""How long work reports where it is, without knowing who looks."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, int, int], None]
"""``progress(step, done, total)``: ``step`` begins, ``done`` of ``total`` steps lie behind."""


def silent(step: str, done: int, total: int) -> None:
    """The progress of those who don't look."""
