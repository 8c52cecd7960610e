"""Files that come with the package: photographs to try a model on."""

from __future__ import annotations

from pathlib import Path

__all__ = ["photographs"]


def photographs() -> list[Path]:
    """The photographs, sorted by name; ``LICENSES.txt`` beside them says whose they are."""
    return sorted((Path(__file__).parent / "photos").glob("*.jpg"))
