"""What to type, added to what kept a run from being carried out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sam3_tvm.cli.prompts import long_phrase
from sam3_tvm.cli.terminal import complain
from sam3_tvm.errors import UsageError
from sam3_tvm.files import PlaceError

__all__ = ["said_in_a_line", "warnings_in_a_line", "what_to_type"]

_OPTIONS = {"output": "-o", "fps": "--fps", "mask": "--mask"}


@contextmanager
def what_to_type() -> Iterator[None]:
    """Errors of runs that can be gone on with, in terms of the command's options.

    Raises:
        UsageError: what the library raised, with the option that is meant.
    """
    try:
        yield
    except UsageError as error:
        if (text := _told(error)) == f"{error}":
            raise
        raise UsageError(text) from error


@contextmanager
def said_in_a_line(category: type[Warning]) -> Iterator[None]:
    """Say warnings of a category as the command says other things."""
    with warnings.catch_warnings():
        otherwise = warnings.showwarning

        def show(message: Warning | str, *about: Any) -> None:
            if isinstance(message, category):
                complain(f"{message}")
            else:
                otherwise(message, *about)

        warnings.simplefilter("always", category)
        # Python's documented way to redirect warnings; mypy wants each parameter spelt out.
        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Say what is warned of a phrase as the command says other things."""
    from sam3_tvm.runtime.concepts.detector import PhraseWarning

    said: set[str] = set()
    with warnings.catch_warnings():
        otherwise = warnings.showwarning

        def show(message: Warning | str, *about: Any) -> None:
            if not isinstance(message, PhraseWarning):
                otherwise(message, *about)
            elif message.phrase not in said:
                said.add(message.phrase)
                complain(long_phrase(message.phrase, message.read))

        warnings.simplefilter("always", PhraseWarning)
        # Python's documented way to redirect warnings; mypy wants each parameter spelt out.
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def _told(error: UsageError) -> str:
    # Here, so that --help needs no library of films.
    from sam3_tvm.film.faults import CannotGoOn, NothingSaved, OtherRun, Refused, Unfinished

    if isinstance(error, Refused):
        return f"{_OPTIONS[error.given]} {error}"
    if isinstance(error, PlaceError) and error.option is None:
        return f"{error} with -o"
    if isinstance(error, Unfinished):
        return f"{_told(error.fault)}; when that is mended, the same command with --resume goes on"
    anew = "run the command without --resume"
    if isinstance(error, OtherRun):
        return f"{error}; give the same options and --resume, or {anew} to begin anew"
    if isinstance(error, NothingSaved):
        return f"{error}; {anew} to begin anew"
    if isinstance(error, CannotGoOn):
        return f"{error}; {anew}"
    return f"{error}"
