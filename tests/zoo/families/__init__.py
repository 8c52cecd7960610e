"""The models by family. A file here declares ``ENTRIES``, a list of entries."""

from __future__ import annotations

import importlib
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache

from tests.zoo.entry import Entry

__all__ = ["FAMILIES", "entries", "find"]

FAMILIES = (
    "backbones",
    "vision_transformers",
    "detection",
    "segmentation",
    "promptable",
    "video",
    "vision_language",
    "encoders",
    "decoders",
    "sequence_to_sequence",
    "audio",
    "time_series",
    "convolutional",
    "recurrent",
    "attention",
    "sampling",
    "numeric",
)


@cache
def entries() -> tuple[Entry, ...]:
    """Every model of the zoo, in the order of the table."""
    found = []
    for family in FAMILIES:
        declared = importlib.import_module(f"tests.zoo.families.{family}").ENTRIES
        found += [replace(entry, family=family) for entry in declared]
    names = [entry.name for entry in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"declared more than once: {', '.join(sorted(twice))}")
    return tuple(found)


def find(pattern: str) -> tuple[Entry, ...]:
    """The models whose name, or family, matches a glob, whatever their letters' case."""
    pattern = pattern.lower()
    return tuple(
        entry
        for entry in entries()
        if fnmatchcase(entry.name.lower(), pattern) or entry.family == pattern
    )
