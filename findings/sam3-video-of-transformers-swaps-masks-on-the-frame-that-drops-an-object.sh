#!/usr/bin/env bash
# On the frame on which Sam3VideoModel drops an object (its hot start does, of objects that the
# detector doesn't confirm), the objects behind that one are given each other's masks and scores.
#
# Expected: an object keeps its mask; the dropped one is gone.
# What happens: the ids are taken from the session when the object has been dropped, the masks from
# before, and both are paired by their places. So object 1 has the mask of the dropped 0, object 2
# that of 1, for this one frame, in a film and in a stream. The frame after is right again.
# The networks are stood in for by squares at fixed places, so that it shows whose mask is whose; what
# finds, confirms, drops and hands out objects is the model's own code.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), NumPy 2.2.6.
# Seen:
#   transformers 5.23.0
#   frame 7: objects [0, 1, 2] have the masks of ABC
#   frame 8: objects [1, 2] have the masks of AB
#   frame 9: objects [1, 2] have the masks of BC
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0 numpy==2.2.6
cd "$work"
TRANSFORMERS_VERBOSITY=error "$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
import transformers
from transformers.models.sam3_video.modeling_sam3_video import (
    Sam3VideoConfig,
    Sam3VideoInferenceSession,
    Sam3VideoModel,
)

print("transformers", transformers.__version__)
SIDE = 32
NAMES = "ABC"


def mask(name):
    """Logits of a square, each object's in a place of its own."""
    logits = torch.full((SIDE, SIDE), -5.0)
    left = 10 * NAMES.index(name)
    logits[8:16, left : left + 8] = 5.0
    return logits


def seen(masks):
    """Which object's square each mask is."""
    return "".join(next(n for n in NAMES if torch.equal(m > 0, mask(n) > 0)) for m in masks)


class Scripted(Sam3VideoModel):
    """The model's own rules, with networks that always see the same: A, B and C are tracked, and
    from the second frame on A is no longer detected."""

    def __init__(self, config):
        torch.nn.Module.__init__(self)
        self.config = config
        for name in (
            "assoc_iou_thresh trk_assoc_iou_thresh new_det_thresh high_conf_thresh high_iou_thresh "
            "hotstart_delay hotstart_unmatch_thresh hotstart_dup_thresh init_trk_keep_alive "
            "max_trk_keep_alive min_trk_keep_alive decrease_trk_keep_alive_for_empty_masklets "
            "suppress_unmatched_only_within_hotstart max_num_objects recondition_every_nth_frame "
            "suppress_overlapping_based_on_recent_occlusion_threshold fill_hole_area "
            "recondition_on_trk_masks"
        ).split():
            setattr(self, name, getattr(config, name))
        self.detector_model = torch.nn.Module()
        self.detector_model.get_vision_features = lambda pixel_values: None
        self.frame = 0

    def get_vision_features_for_tracker(self, vision_embeds):
        return [], []

    def run_detection(self, inference_session, vision_embeds):
        names = NAMES if self.frame == 0 else NAMES[1:]
        masks = torch.stack([mask(n) for n in names])
        count = len(names)
        return {0: {"bbox": torch.zeros(count, 4), "mask": masks, "scores": torch.full((count,), 0.9)}}

    def run_tracker_propagation(self, inference_session, frame_idx, reverse):
        ids = inference_session.obj_ids
        masks = [mask(NAMES[i]) for i in ids]
        return torch.stack(masks) if ids else torch.zeros(0, SIDE, SIDE), torch.full((len(ids),), 4.0)

    def _tracker_update_memories(self, *args, **kwargs):
        pass

    def _tracker_add_new_objects(self, inference_session, frame_idx, new_obj_ids, new_obj_masks, reverse):
        for name in new_obj_ids:
            inference_session.obj_id_to_idx(name)


model = Scripted(Sam3VideoConfig())
session = Sam3VideoInferenceSession(video=torch.zeros(12, 3, 4, 4), dtype=torch.float32)
session.add_prompt("square")
removed_at, found = None, {}
for index in range(12):
    model.frame = index
    out = model(session, frame_idx=index)
    found[index] = (list(out.obj_id_to_mask), seen(m[0] for m in out.obj_id_to_mask.values()))
    if removed_at is None and out.removed_obj_ids:
        removed_at = index
for index in (removed_at - 1, removed_at, removed_at + 1):
    print(f"frame {index}: objects {found[index][0]} have the masks of {found[index][1]}")
same = [([0, 1, 2], "ABC"), ([1, 2], "AB"), ([1, 2], "BC")]
sys.exit(0 if [found[8 + step] for step in (-1, 0, 1)] == same else "this behaves otherwise now")
PYTHON
