"""The errors that a user meets: each is one line that says what is wrong and what to do."""

from __future__ import annotations

__all__ = ["ArtifactError", "MissingExtraError", "ResultError", "Sam3Error", "UsageError"]


class Sam3Error(Exception):
    """Base of every error with a message meant for the user.

    The command line prints it as one line and exits with code 2; anything else is a bug
    of ours and keeps its traceback.
    """


class MissingExtraError(Sam3Error, ImportError):
    """Something was asked for that needs packages of an extra which isn't installed."""


class ResultError(Sam3Error, ValueError):
    """A result that cannot be drawn or written as asked."""


class ArtifactError(Sam3Error):
    """An artifact that is missing, damaged, too new, or made for another machine."""


class UsageError(Sam3Error, ValueError):
    """What was asked for makes no sense together, cannot be read, or cannot be written."""
