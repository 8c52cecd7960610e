"""Faults of a collection, in terms of what is typed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sam3_tvm.errors import UsageError, one_line

__all__ = ["what_to_type"]

_OPTIONS = {
    "images": "--images",
    "phrases": "--text",
    "classes": "--classes",
    "formats": "--format",
    "like": "--like",
    "dataset": "-o",
    "cluster": "--ray",
    "address": "--ray-address",
}

_ADVICE = {
    "other": "give what was given then, or another folder",
    "in use": "wait for it, or give another folder",
    "damaged": "give another folder",
}


@contextmanager
def what_to_type(output: Path) -> Iterator[None]:
    """Errors of the library, in terms of the command's options.

    Args:
        output: the dataset's folder, as it was typed.

    Raises:
        UsageError: what the library raised, with the option that is meant.
    """
    try:
        yield
    except UsageError as error:
        # Here, so that --help needs no library of pictures.
        from sam3_tvm.annotate.faults import OtherRun, Refused, Unfinished

        if isinstance(error, Refused) and error.given in _OPTIONS:
            option = _OPTIONS[error.given] + ("" if error.has_value else ":")
            raise UsageError(f"{option} {one_line(f'{error}')}") from error
        if isinstance(error, OtherRun):
            raise UsageError(f"-o {output}: {error.reason}; {_ADVICE[error.kind]}") from error
        if isinstance(error, Unfinished):
            raise UsageError(
                f"{error.fault}; when that is mended, the same command goes on"
            ) from error
        raise
