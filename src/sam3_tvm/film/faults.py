"""Why a film isn't followed, as kinds: a caller adds to each what its own user can do.

None of the texts names an option of a command line or an argument of a function.
"""

from __future__ import annotations

from typing import Literal

from sam3_tvm.errors import UsageError

__all__ = ["CannotGoOn", "NothingSaved", "OtherRun", "Refused", "Unfinished"]


class Refused(UsageError):
    """Something that was given cannot be used.

    Args:
        given: what it was given as.
        text: begins with the value.
    """

    def __init__(self, given: Literal["output", "fps", "mask"], text: str) -> None:
        super().__init__(text)
        self.given = given


class CannotGoOn(UsageError):
    """An interrupted run cannot be gone on with; it can be begun anew."""


class NothingSaved(CannotGoOn):
    """There is nothing to go on from, or nothing that can be read."""


class OtherRun(CannotGoOn):
    """What was interrupted was asked for something else."""


class Unfinished(UsageError):
    """Something went wrong after a checkpoint was written, from which the run can be gone on with.

    Args:
        fault: what went wrong.
    """

    def __init__(self, fault: UsageError) -> None:
        super().__init__(f"{fault}; when that is mended, the run can be gone on with")
        self.fault = fault
