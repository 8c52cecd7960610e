"""Files that come with the package: photographs to try a model on, and the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sam3_tvm.errors import Sam3Error

__all__ = ["Demonstration", "demonstration", "photographs"]

_HERE = Path(__file__).parent


class Demonstration(NamedTuple):
    """The demonstration's folders: the model's checkpoint, and pictures and a film to look at."""

    checkpoint: Path
    examples: Path


def photographs() -> list[Path]:
    """The photographs, sorted by name; ``LICENSES.txt`` beside them says whose they are."""
    return sorted((_HERE / "photos").glob("*.jpg"))


def demonstration() -> Demonstration:
    """Where the demonstration lies: within an installed package, or else in the clone that the
    package runs from, as ``checkpoints/shapes`` and ``examples``.

    Raises:
        Sam3Error: in neither, as where the package was copied by hand.
    """
    installed = _HERE / "demo"
    clone = _HERE.parents[2]
    places = (
        Demonstration(installed / "shapes", installed / "examples"),
        Demonstration(clone / "checkpoints" / "shapes", clone / "examples"),
    )
    for place in places:
        if (place.checkpoint / "config.json").is_file() and place.examples.is_dir():
            return place
    raise Sam3Error(
        f"the demonstration's checkpoint is neither in {installed} nor in a clone around the "
        "package; install sam3-tvm by pip, or run it from a clone"
    )
