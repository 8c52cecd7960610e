"""What a caller gave, for a prompt: numbers, lists and arrays, checked before they are used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam3_tvm.errors import Sam3Error

__all__ = [
    "PromptError",
    "as_array",
    "brief",
    "checked_flag",
    "checked_integer",
    "count_entries",
    "is_integer",
    "is_number",
]


class PromptError(Sam3Error, ValueError):
    """A phrase, box, point, label or threshold that cannot be used; the message says why."""


def brief(value: Any) -> str:
    """What was given, for a message of one line."""
    try:
        words = " ".join(f"{value!r}".split())
    except Exception:  # an object's own
        words = f"a {type(value).__name__}"
    return words if len(words) <= 100 else f"{words[:97]}..."


def as_array(given: Any, takes: str, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """What was given as an array, in its own type or in ``dtype``.

    Args:
        given: numbers, nested in lists or in an array; booleans too where no ``dtype`` is asked.
        takes: how the message begins, such as "points are x, y each".
        dtype: of the array.

    Raises:
        PromptError: lists of unequal lengths, or anything but numbers: text, dates, objects,
            complex numbers.
    """
    try:
        array = np.asarray(given)
        accepted = "biuf" if dtype is None else "iuf"
        if array.size and (array.dtype.kind not in accepted or _hides_bools(given, array)):
            raise TypeError("no numbers")
        return array if dtype is None else np.asarray(given, dtype)
    # Besides what NumPy raises, whatever an object's own conversion to an array does.
    except Exception as error:
        raise PromptError(f"{takes}, not {brief(given)}") from error


def _hides_bools(given: Any, array: NDArray[Any]) -> bool:
    """Whether lists mix booleans with numbers, of which NumPy makes numbers."""
    if array.dtype.kind == "b" or isinstance(given, np.ndarray):
        return False
    if isinstance(given, list | tuple):
        return any(_hides_bools(entry, array) for entry in given)
    return isinstance(given, bool | np.bool_)


def count_entries(name: str, given: Any) -> int:
    """How many entries a list has.

    Raises:
        PromptError: it is no list.
    """
    try:
        return len(given)
    except Exception as error:  # an object's own length
        raise PromptError(
            f"{name} takes a list with an entry for each, not {brief(given)}"
        ) from error


def is_number(value: Any) -> bool:
    """Whether it is one number, and no list or array with an axis."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "iufb"
    # NumPy counts durations among the integers.
    return isinstance(value, int | float | np.integer | np.floating | np.bool_) and not isinstance(
        value, np.timedelta64
    )


def is_integer(value: Any) -> bool:
    """Whether it is one whole number of Python's or NumPy's; booleans and durations are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool | np.timedelta64)


def checked_integer(what: str, given: Any) -> int:
    """One whole number.

    Raises:
        PromptError: it is none, as :func:`is_integer` has it.
    """
    if not is_integer(given):
        raise PromptError(f"{what} is an integer, not {brief(given)}")
    return int(given)


def checked_flag(what: str, given: Any) -> bool:
    """True or False.

    Raises:
        PromptError: it is neither.
    """
    if not isinstance(given, bool | np.bool_):
        raise PromptError(f"{what} is True or False, not {brief(given)}")
    return bool(given)
