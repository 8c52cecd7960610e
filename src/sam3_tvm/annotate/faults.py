"""Why a collection isn't annotated, as kinds: a caller adds to each what its own user can do.

None of the texts names an option of a command line or an argument of a function.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sam3_tvm.errors import UsageError

__all__ = ["OtherRun", "PictureGone", "Refused", "Unfinished"]


class Refused(UsageError):
    """Something that was given cannot be used.

    Args:
        given: what it was given as.
        text: begins with the value, where there is one.
        has_value: whether there is one.
    """

    def __init__(
        self,
        given: Literal[
            "pictures",
            "images",
            "phrases",
            "classes",
            "formats",
            "dataset",
            "cluster",
            "address",
            "like",
        ],
        text: str,
        has_value: bool = True,
    ) -> None:
        super().__init__(text)
        self.given = given
        self.has_value = has_value


class OtherRun(UsageError):
    """A dataset's folder holds what was made of something else, or is in use.

    Args:
        path: the file that says so.
        reason: what is wrong with it.
        kind: decides what can be done.
    """

    def __init__(
        self, path: Path, reason: str, kind: Literal["other", "in use", "damaged"]
    ) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason
        self.kind = kind


class PictureGone(UsageError):
    """A picture that a format needs cannot be read any more."""


class Unfinished(UsageError):
    """Something went wrong on the way; what was found before is kept, to be gone on with.

    Args:
        fault: what went wrong.
    """

    def __init__(self, fault: UsageError) -> None:
        super().__init__(f"{fault}; when that is mended, the same call goes on")
        self.fault = fault
