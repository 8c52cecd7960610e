"""Runs artifacts: needs neither torch nor a compiler."""

from __future__ import annotations

from sam3_tvm.runtime.clicks.clicker import ClickResult
from sam3_tvm.runtime.concepts.detector import PhraseWarning
from sam3_tvm.runtime.concepts.exemplar import Exemplar
from sam3_tvm.runtime.concepts.results import Result
from sam3_tvm.runtime.execution.ranks import giving_way
from sam3_tvm.runtime.loading import load
from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.encoded import EncodedImage
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.runtime.video.session import TrackSession

__all__ = [
    "ClickResult",
    "EncodedImage",
    "Exemplar",
    "FrameResult",
    "ImageError",
    "Model",
    "PhraseWarning",
    "PromptError",
    "Result",
    "TrackSession",
    "giving_way",
    "load",
]
