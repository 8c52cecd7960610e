"""The errors that a user meets: each is one line that says what is wrong and what to do."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePath

__all__ = [
    "ArtifactError",
    "MissingExtraError",
    "ResultError",
    "Sam3Error",
    "UsageError",
    "as_argument",
    "one_line",
    "printable",
]

# What moves a terminal's cursor, changes its colours or the order of letters, and halves of
# characters, which no output can encode; not tabs and line breaks.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)


def printable(text: str) -> str:
    """Text of a file or a name as it can be printed: control characters are spelt out."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """Text as :func:`printable`, with line breaks and tabs spelt out, too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def as_argument(path: str | PurePath) -> str:
    """A path as a shell takes it in a command that is suggested: quoted where it must be, and
    never taken for an option."""
    text = f"{path}"
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


class Sam3Error(Exception):
    """Base of every error with a message meant for the user.

    The command line prints it as one line and exits with code 2; anything else is a bug
    of ours and keeps its traceback. What its text quotes of a file or a name is printable.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class MissingExtraError(Sam3Error, ImportError):
    """Something was asked for that needs packages of an extra which isn't installed."""


class ResultError(Sam3Error, ValueError):
    """A result that cannot be drawn or written as asked."""


class ArtifactError(Sam3Error):
    """An artifact that is missing, damaged, too new, or made for another machine."""

    def __str__(self) -> str:
        return one_line(super().__str__())


class UsageError(Sam3Error, ValueError):
    """What was asked for makes no sense together, cannot be read, or cannot be written."""
