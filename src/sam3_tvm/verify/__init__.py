"""``verify``: an artifact beside its source in PyTorch."""

from __future__ import annotations

from sam3_tvm.verify.report import Bounds, EndToEndRow, FunctionRow, VerifyError, VerifyReport
from sam3_tvm.verify.running import verify

__all__ = ["Bounds", "EndToEndRow", "FunctionRow", "VerifyError", "VerifyReport", "verify"]
