"""Packages that only the extras ``[annotate]`` and ``[ray]`` install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sam3_tvm.errors import MissingExtraError

__all__ = ["needed"]

_EXTRAS = {"pyarrow": "annotate", "yaml": "annotate", "ray": "ray", "pandas": "ray"}


@contextmanager
def needed(what: str) -> Iterator[None]:
    """Name the extra when the body imports a package that only it installs.

    Args:
        what: what it is needed for, to begin the message.

    Raises:
        MissingExtraError: a package of an extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        extra = _EXTRAS.get(package)
        if extra is None:
            raise
        raise MissingExtraError(
            f"{what} needs {package}, which is not installed: pip install 'sam3-tvm[{extra}]'"
        ) from error
