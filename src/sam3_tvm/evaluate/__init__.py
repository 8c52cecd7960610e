"""``evaluate``: an artifact on annotated pictures, by the field's usual figures."""

from __future__ import annotations

from sam3_tvm.evaluate.agreement import Agreement, agreement
from sam3_tvm.evaluate.dataset import Dataset, DatasetError, read_dataset
from sam3_tvm.evaluate.headers import check_headers
from sam3_tvm.evaluate.metrics import Counts, Figures
from sam3_tvm.evaluate.report import Evaluation, Outcome
from sam3_tvm.evaluate.running import Detections, Detector, ModelDetector, evaluate

__all__ = [
    "Agreement",
    "Counts",
    "Dataset",
    "DatasetError",
    "Detections",
    "Detector",
    "Evaluation",
    "Figures",
    "ModelDetector",
    "Outcome",
    "agreement",
    "check_headers",
    "evaluate",
    "read_dataset",
]
