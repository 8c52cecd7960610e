"""``tune``: which tile sizes make our kernels fastest on the machine at hand."""

from __future__ import annotations

from sam3_tvm.tune.families import FAMILIES
from sam3_tvm.tune.search import FamilyResult, Trial, TuneError, TuneReport, tune

__all__ = ["FAMILIES", "FamilyResult", "Trial", "TuneError", "TuneReport", "tune"]
