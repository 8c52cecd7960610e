"""torch -> Relax, for any model. Nothing in here knows of SAM 3."""

from __future__ import annotations

from sam3_tvm.importer.errors import UnsupportedOperators
from sam3_tvm.importer.frontend import import_module, import_program, symbolic_bounds
from sam3_tvm.importer.registry import Context, converter

__all__ = [
    "Context",
    "UnsupportedOperators",
    "converter",
    "import_module",
    "import_program",
    "symbolic_bounds",
]
