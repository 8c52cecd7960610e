"""Numbers, ids and flags of annotation files, in the spellings that tools and tables give them.

A table that went through a data frame has 7.0 for 7, one through a spreadsheet or XML "7". Each is
taken where it has one meaning; what has none is the caller's to refuse.
"""

from __future__ import annotations

from typing import Any

__all__ = ["flag", "key", "number", "whole"]

_FLAGS = {"0": False, "1": True, "false": False, "true": True}


def number(value: Any) -> bool:
    """Whether it is a number, which True isn't."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole(value: Any) -> int | None:
    """A whole number from 7, 7.0 or "7"; None for anything else."""
    if isinstance(value, str):
        # As it would be written, so that "007" stays a name.
        return int(value) if value.isascii() and len(value) < 20 and _written(value) else None
    if not number(value) or not abs(value) < 1 << 63 or value != int(value):
        return None
    return int(value)


def _written(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isdigit() and str(int(digits)) == digits


def key(value: Any) -> int | str | None:
    """An id as a key, the same in all spellings of a number; None for what can't be one."""
    found = whole(value)
    return value if found is None and isinstance(value, str) else found


def flag(value: Any) -> bool | None:
    """Yes or no from true, 1, 1.0, "1" or "true" and their opposites; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _FLAGS.get(value.strip().lower())
    return bool(value) if number(value) and value in (0, 1) else None
