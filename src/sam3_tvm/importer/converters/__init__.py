"""One module per family of operators; importing a module registers its converters."""

from __future__ import annotations

import importlib

FAMILIES = (
    "identity",
    "symbolic",
    "shapes",
    "indexing",
    "scatter",
    "arithmetic",
    "elementwise",
    "creation",
    "reductions",
    "sorting",
    "attention",
    "linear",
    "norms",
    "roi_align",
    "resampling",
    "antialias",
    "grid_sampling",
    "convolution",
    "pooling",
    "activations",
    "padding",
    "strides",
    "control_flow",
    "scans",
    "searching",
    "distances",
    "grouped",
    "bits",
    "matrices",
    "special",
)
"""The modules of this package, in the order in which they are loaded."""


def load() -> None:
    """Import every family, once."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
