"""What torch's own decompositions lack: operators as compositions of simpler ones.

A decomposition is a function of the operator's arguments that is written with torch itself and
traced, so that it holds for symbolic sizes and can be read as a formula::

    @decomposition(aten.hypot.default)
    def hypot(self: Tensor, other: Tensor) -> Tensor: ...

One that can't take its arguments returns ``NotImplemented``; the operator then stays in the
graph and is refused with the others that have no converter.
"""

from __future__ import annotations

from sam3_tvm.importer.decompositions import elementwise, indexing, ordering, products
from sam3_tvm.importer.decompositions.registry import TABLE

__all__ = ["TABLE", "elementwise", "indexing", "ordering", "products"]
