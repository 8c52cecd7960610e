"""Runs artifacts: needs neither torch nor a compiler."""

from __future__ import annotations

from sam3_tvm.runtime.clicks import ClickResult
from sam3_tvm.runtime.detector import PhraseWarning
from sam3_tvm.runtime.encoded import EncodedImage
from sam3_tvm.runtime.image import ImageError
from sam3_tvm.runtime.prompts import PromptError
from sam3_tvm.runtime.results import Result
from sam3_tvm.runtime.segmenter import Model, load
from sam3_tvm.runtime.track_result import FrameResult
from sam3_tvm.runtime.tracking import TrackSession

__all__ = [
    "ClickResult",
    "EncodedImage",
    "FrameResult",
    "ImageError",
    "Model",
    "PhraseWarning",
    "PromptError",
    "Result",
    "TrackSession",
    "load",
]
