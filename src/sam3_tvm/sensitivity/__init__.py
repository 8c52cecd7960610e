"""Which linear layers lose most in eight bits, measured in PyTorch, layer by layer."""

from __future__ import annotations

from sam3_tvm.sensitivity.calibration import Choice, Fold, calibrate
from sam3_tvm.sensitivity.measuring import measure
from sam3_tvm.sensitivity.report import ALL, SensitivityReport, SensitivityRow

__all__ = ["ALL", "Choice", "Fold", "SensitivityReport", "SensitivityRow", "calibrate", "measure"]
