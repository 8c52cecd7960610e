"""Which linear layers of an artifact's checkpoint lose most in int8."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm import artifact
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.sensitivity import SensitivityReport, measure
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import PromptSpec
from sam3_tvm.verify.end_to_end import picture_prompts
from sam3_tvm.verify.report import VerifyError
from sam3_tvm.verify.running import photographs

__all__ = ["sensitivity"]


def sensitivity(
    path: str | os.PathLike[str],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    functions: Sequence[str] | None = None,
    layers: str | None = None,
    phrases: Sequence[str] = (),
    progress: Progress = silent,
) -> SensitivityReport:
    """Measure what each linear layer that is in int8 costs, alone, in PyTorch.

    Nothing of the artifact is run: it names the checkpoint, the size and the tasks, and its own
    arithmetic doesn't matter.

    Args:
        path: an artifact.
        images: pictures to ask; by default the first photograph of the package.
        functions: those whose layers are measured; None for all that have any in int8.
        layers: those alone whose names match, as a shell matches files.
        phrases: what to look for; by default what ``verify`` asks of any picture.
        progress: told of each picture and layer.

    Raises:
        Sam3Error: no artifact or source that can be opened, a picture that can't be read, or no
            such layer.
    """
    manifest = artifact.open(path).manifest
    if unknown := [name for name in functions or () if name not in manifest.components]:
        raise VerifyError(
            f"no function {unknown[0]!r}; the artifact has {', '.join(manifest.components)}"
        )
    pictures: list[Any] = [*images] or [next(photographs())]
    for picture in pictures:
        read_picture(Path(picture))  # what is wrong with one shows before a checkpoint is read
    source = open_source(manifest.source.checkpoint, manifest.sizes.tasks, manifest.sizes.image)

    def prompts(rgb: NDArray[np.uint8]) -> Sequence[PromptSpec]:
        return [PromptSpec(phrase) for phrase in phrases] or picture_prompts(
            rgb, source.sizes.points
        )

    return measure(
        source,
        [Path(picture) for picture in pictures],
        prompts,
        functions=functions,
        pattern=layers,
        progress=progress,
    )
