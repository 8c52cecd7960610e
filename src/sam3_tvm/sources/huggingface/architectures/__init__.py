"""The detectors of transformers' that are served, by the ``model_type`` of their ``config.json``.

Another one that has SAM 3's parts is a file here with an
:class:`~sam3_tvm.sources.huggingface.architectures.base.Architecture`, and its place in the list.
"""

from __future__ import annotations

from typing import Any

from sam3_tvm.sources.huggingface.architectures.base import Architecture, RandomModel
from sam3_tvm.sources.huggingface.architectures.sam3 import SAM3
from sam3_tvm.sources.huggingface.architectures.sam3_lite_text import SAM3_LITE_TEXT

__all__ = [
    "ARCHITECTURES",
    "SAM3",
    "SAM3_LITE_TEXT",
    "Architecture",
    "RandomModel",
    "architecture_of",
    "find_random",
]

ARCHITECTURES: dict[str, Architecture] = {one.model_type: one for one in (SAM3, SAM3_LITE_TEXT)}
"""By ``model_type``."""


def architecture_of(config: Any) -> Architecture:
    """The architecture that a configuration of transformers' describes.

    Raises:
        KeyError: one that isn't served.
    """
    return ARCHITECTURES[config.model_type]


def find_random(name: str) -> tuple[Architecture, RandomModel] | None:
    """The model of random weights of a name, and its architecture; None if there is none."""
    for architecture in ARCHITECTURES.values():
        if name in architecture.random:
            return architecture, architecture.random[name]
    return None
