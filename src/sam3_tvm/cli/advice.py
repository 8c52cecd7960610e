"""What to type, added to what kept a run from being carried out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO, TypeVar

from sam3_tvm.cli.prompts import long_phrase
from sam3_tvm.cli.terminal import complain
from sam3_tvm.errors import UsageError
from sam3_tvm.files import PlaceError

__all__ = ["said_in_a_line", "warnings_in_a_line", "what_to_type"]

_WarningT = TypeVar("_WarningT", bound=Warning)

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
def said_in_a_line(
    kind: type[_WarningT], words: Callable[[_WarningT], str | None] = str
) -> Iterator[None]:
    """Say warnings of a kind as the command says other things.

    Args:
        kind: others are shown as they would be.
        words: the line for a warning; None for none.
    """
    with warnings.catch_warnings():
        otherwise = warnings.showwarning

        # Python's documented way to redirect warnings.
        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not isinstance(message, kind):
                otherwise(message, category, filename, lineno, file, line)
            elif (said := words(message)) is not None:
                complain(said)

        warnings.simplefilter("always", kind)
        warnings.showwarning = show
        yield


@contextmanager
def warnings_in_a_line() -> Iterator[None]:
    """Say what is warned of a phrase as the command says other things, of each phrase once."""
    from sam3_tvm.runtime.concepts.detector import PhraseWarning

    said: set[str] = set()

    def words(warning: PhraseWarning) -> str | None:
        if warning.phrase in said:
            return None
        said.add(warning.phrase)
        return long_phrase(warning.phrase, warning.read)

    with said_in_a_line(PhraseWarning, words):
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
