"""SAM 3 from Meta's own ``sam3`` package, run on a CPU as it is."""

from __future__ import annotations

from sam3_tvm.sources.meta.source import MetaSource

__all__ = ["MetaSource"]
