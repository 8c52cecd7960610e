"""``verify``: an artifact beside its source in PyTorch."""

from __future__ import annotations

from sam3_tvm.verify.report import (
    Bounds,
    ClickRow,
    EndToEndRow,
    FrameRow,
    FunctionRow,
    PhraseRow,
    VerifyError,
    VerifyReport,
)
from sam3_tvm.verify.running import PARTS, verify

__all__ = [
    "PARTS",
    "Bounds",
    "ClickRow",
    "EndToEndRow",
    "FrameRow",
    "FunctionRow",
    "PhraseRow",
    "VerifyError",
    "VerifyReport",
    "verify",
]
