"""What a model's reference does around its functions: sources state it, the runtime follows it.

The rules are part of an artifact's manifest, and so need no more than plain data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from sam3_tvm.errors import ArtifactError

__all__ = ["ClickRules", "ConceptVideoRules", "Preprocessing", "ReferenceRules", "VideoRules"]


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


@dataclass(frozen=True)
class ConceptVideoRules:
    """How objects of phrases are found in a film, held to what is found later, and hidden.

    Named as in transformers' ``Sam3VideoConfig``. Scores and IoU are between 0 and 1, areas in
    pixels of masks as the model gives them, and delays in frames.

    Attributes:
        score_threshold_detection: the score above which a detection counts.
        det_nms_thresh: the IoU above which the lesser of two detections of a phrase goes; 0 keeps
            all.
        assoc_iou_thresh: the IoU from which a detection is of an object.
        trk_assoc_iou_thresh: the IoU from which a detection confirms an object.
        new_det_thresh: the score from which a detection that is of no object begins one.
        recondition_on_trk_masks: whether an object that is conditioned anew is remembered by the
            tracker's mask; else by the detection's.
        hotstart_delay: frames that results are held back for, and in which an object may still be
            removed; 0 gives results at once, and removes nothing.
        hotstart_unmatch_thresh: unconfirmed frames for which an object is removed.
        hotstart_dup_thresh: frames for which an object is removed on which a detection was of it
            and of an older one.
        suppress_unmatched_only_within_hotstart: whether objects are never hidden for being
            unconfirmed, beside being removed.
        init_trk_keep_alive, max_trk_keep_alive, min_trk_keep_alive: of the number that rises with
            each frame on which a detection is of the object and falls with each on which none
            confirms it, and that hides it at 0 or below: at first, at most, at least.
        suppress_overlapping_based_on_recent_occlusion_threshold: the IoU from which the one of two
            objects is emptied that was hidden later; 0 for none.
        decrease_trk_keep_alive_for_empty_masklets: whether that number falls, too, where the object
            isn't seen.
        fill_hole_area: the largest area of holes that are filled and sprinkles that are removed.
        max_num_objects: that are followed at a time.
        recondition_every_nth_frame: the frames on which objects are conditioned anew; 0 for none.
        high_conf_thresh, high_iou_thresh: the score and the IoU that a detection must have for it.
    """

    score_threshold_detection: float
    det_nms_thresh: float
    assoc_iou_thresh: float
    trk_assoc_iou_thresh: float
    new_det_thresh: float
    recondition_on_trk_masks: bool
    hotstart_delay: int
    hotstart_unmatch_thresh: int
    hotstart_dup_thresh: int
    suppress_unmatched_only_within_hotstart: bool
    init_trk_keep_alive: int
    max_trk_keep_alive: int
    min_trk_keep_alive: int
    suppress_overlapping_based_on_recent_occlusion_threshold: float
    decrease_trk_keep_alive_for_empty_masklets: bool
    fill_hole_area: int
    max_num_objects: int
    recondition_every_nth_frame: int
    high_conf_thresh: float
    high_iou_thresh: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value, name = getattr(self, field.name), f"video_concepts.{field.name}"
            # Those that may be negative are bounds of a counter.
            if field.type == "int" and not field.name.endswith("keep_alive") and value < 0:
                raise ArtifactError(f"{name} is {value}, not 0 or more")
            # Written so that NaN fails, too.
            if field.type == "float" and not 0 <= value <= 1:
                raise ArtifactError(f"{name} is {value}, not between 0 and 1")
        if self.min_trk_keep_alive > self.max_trk_keep_alive:
            raise ArtifactError(
                f"video_concepts.min_trk_keep_alive is {self.min_trk_keep_alive}, more than "
                f"max_trk_keep_alive, {self.max_trk_keep_alive}"
            )
        for name in ("hotstart_unmatch_thresh", "hotstart_dup_thresh"):
            if 0 < self.hotstart_delay < getattr(self, name):
                raise ArtifactError(
                    f"video_concepts.{name} is {getattr(self, name)}, more than hotstart_delay, "
                    f"{self.hotstart_delay}"
                )
