"""Why a collection isn't annotated, as kinds: a caller adds to each what its own user can do.

None of the texts names an option of a command line or an argument of a function.
"""

from __future__ import annotations

from typing import Literal

from sam3_tvm.errors import UsageError

__all__ = ["OtherRun", "Refused", "Unfinished"]


class Refused(UsageError):
    """Something that was given cannot be used.

    Args:
        given: what it was given as.
        text: begins with the value, where there is one.
    """

    def __init__(
        self, given: Literal["pictures", "phrases", "classes", "formats", "dataset"], text: str
    ) -> None:
        super().__init__(text)
        self.given = given


class OtherRun(UsageError):
    """A dataset's folder holds what was made of something else."""


class Unfinished(UsageError):
    """Something went wrong on the way; what was found before is kept, to be gone on with.

    Args:
        fault: what went wrong.
    """

    def __init__(self, fault: UsageError) -> None:
        super().__init__(f"{fault}; when that is mended, the same call goes on")
        self.fault = fault
