"""``bench``: how fast a compiled SAM 3 is, beside what else a user could pick."""

from __future__ import annotations

from sam3_tvm.bench.measuring import Options, bench
from sam3_tvm.bench.parts import BenchError
from sam3_tvm.bench.report import BenchReport

__all__ = ["BenchError", "BenchReport", "Options", "bench"]
