"""What a model's reference does around its functions: sources state it, the runtime follows it.

The rules are part of an artifact's manifest, and so need no more than plain data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sam3_tvm.errors import ArtifactError

__all__ = ["ClickRules", "Preprocessing", "ReferenceRules", "VideoRules"]


@dataclass(frozen=True)
class Preprocessing:
    """From 8-bit RGB to the network's input: ``(x * rescale - mean) / std`` per channel.

    Attributes:
        image_size: side of the square to which every picture is resized, pixels.
        mean, std: one value per channel, in the scale after ``rescale``.
        rescale: factor on 8-bit values (1 / 255).
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise ArtifactError("preprocessing needs three means and three non-zero deviations")
        if not all(map(math.isfinite, (*self.mean, *self.std, self.rescale))):
            raise ArtifactError("preprocessing has a mean, deviation or factor that is not finite")


@dataclass(frozen=True)
class ReferenceRules:
    """Where reference implementations differ, and what this artifact's reference does.

    Attributes:
        geometry_without_boxes: whether geometry is encoded (its CLS token) without any box.
        mask_resize: what is interpolated to the picture's size: ``"probabilities"`` (sigmoid,
            then resize) or ``"logits"`` (resize, then sigmoid). Built into ``resize_masks``.
        visual_text: the phrase that goes with boxes alone.
        default_threshold: the score above which the reference keeps an object.
    """

    geometry_without_boxes: bool
    mask_resize: str
    visual_text: str
    default_threshold: float

    def __post_init__(self) -> None:
        if self.mask_resize not in ("probabilities", "logits"):
            raise ArtifactError(
                f"mask_resize is 'probabilities' or 'logits', not {self.mask_resize!r}"
            )
        if not 0 <= self.default_threshold <= 1:
            raise ArtifactError(
                f"default_threshold is {self.default_threshold}, not between 0 and 1"
            )


@dataclass(frozen=True)
class ClickRules:
    """How one mask is chosen for a click: the first if it is stable, else the best of the others.

    A mask's stability is the IoU of the mask at a threshold a little above and a little below
    that of its outline. The best is the one of the highest predicted IoU.

    Attributes:
        stability_delta: how far the thresholds lie from 0, in logits.
        stability_threshold: the least stability of a stable mask, 0 to 1.
    """

    stability_delta: float
    stability_threshold: float

    def __post_init__(self) -> None:
        # Written so that NaN fails, too.
        if not self.stability_delta >= 0:
            raise ArtifactError(f"clicks.stability_delta is {self.stability_delta}, not 0 or more")
        if not 0 <= self.stability_threshold <= 1:
            raise ArtifactError(
                f"clicks.stability_threshold is {self.stability_threshold}, not between 0 and 1"
            )


@dataclass(frozen=True)
class VideoRules:
    """What a video's objects are remembered by, and how one mask of a frame is chosen.

    Attributes:
        shown_frames: frames on which an object was shown whose memories are looked at together,
            the nearest.
        last_frames: frames just before (or, backwards, behind) whose memories are, too.
        pointer_frames: the current frame and those before it that give object pointers; fewer in
            a shorter film.
        multimask_points: least and most points on a frame for which the best mask of all but the
            first is taken; others get the first, if it is stable.
        multimask_tracking: whether that goes for frames without a prompt and corrections, too.
        absent_logit: every logit of the mask of an object that isn't there.
        masks_like_points: whether a mask that shows an object is remembered as one that came of
            points is: brought from the frame's size to the decoder's, and with the first mask's
            object pointer. Else it is brought to the size of the model's picture, remembered so,
            and with the pointer of the best of all but the first.
        pointers_of_chosen: whether frames on which the object was shown give object pointers only
            where their memories are looked at, too, or as one of the last frames do.
    """

    shown_frames: int
    last_frames: int
    pointer_frames: int
    multimask_points: tuple[int, int]
    multimask_tracking: bool
    absent_logit: float
    masks_like_points: bool = False
    pointers_of_chosen: bool = False

    def __post_init__(self) -> None:
        least = {"shown_frames": 1, "last_frames": 0, "pointer_frames": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ArtifactError(f"video.{name} is {getattr(self, name)}, not {bound} or more")
        if min(self.multimask_points) < 0:
            raise ArtifactError(f"video.multimask_points has {min(self.multimask_points)} points")
