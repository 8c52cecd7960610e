"""Packages that only the extra ``[annotate]`` installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sam3_tvm.errors import MissingExtraError

__all__ = ["needed"]

_PACKAGES = ("pyarrow", "yaml")


@contextmanager
def needed(what: str) -> Iterator[None]:
    """Name the extra when the body imports a package that only it installs.

    Args:
        what: what it is needed for, to begin the message.

    Raises:
        MissingExtraError: a package of the extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        raise MissingExtraError(
            f"{what} needs {package}, which is not installed: pip install 'sam3-tvm[annotate]'"
        ) from error
