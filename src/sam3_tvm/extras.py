"""Packages that only extras install, each named with the extra where it is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from sam3_tvm.errors import MissingExtraError

__all__ = ["EXTRAS", "missing", "needed"]

EXTRAS = {
    "compile": ("torch", "transformers", "tvm", "huggingface_hub"),
    "video": ("av", "scipy"),
    "notebook": ("pandas", "supervision"),
    "annotate": ("pyarrow", "yaml"),
    "ray": ("ray", "pyarrow", "pandas"),
    "serve": ("fastapi", "uvicorn", "prometheus_client", "python_multipart", "shapely"),
    "cvat": ("cvat_sdk", "shapely"),
    "sign": ("minisign",),
    "geo": ("rasterio", "pyogrio", "shapely"),
}
"""Extras, and the top-level packages that are imported of each."""


OLDEST = {"compile": (3, 11)}
"""Extras whose packages need a newer Python than the base does, and which."""


def _install(extra: str) -> str:
    """How an extra is installed, to end a message."""
    oldest = OLDEST.get(extra, (0,))
    python = (
        "" if sys.version_info >= oldest else f" (Python {'.'.join(map(str, oldest))} or newer)"
    )
    return f"pip install 'sam3-tvm[{extra}]'{python}"


def missing(extra: str) -> list[str]:
    """The packages of an extra that aren't installed; none of them is imported."""
    return [package for package in EXTRAS[extra] if find_spec(package) is None]


@contextmanager
def needed(extra: str, what: str, otherwise: str = "") -> Iterator[None]:
    """Name the extra when the body imports a package that only it installs.

    Args:
        extra: one of :data:`EXTRAS`.
        what: what it is needed for, to begin the message.
        otherwise: what can be done without it, to end the message.

    Raises:
        MissingExtraError: a package of the extra is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS[extra]:
            raise
        raise MissingExtraError(
            f"{what} needs {package}, which is not installed: {_install(extra)}"
            f"{otherwise and f' ({otherwise})'}"
        ) from error
