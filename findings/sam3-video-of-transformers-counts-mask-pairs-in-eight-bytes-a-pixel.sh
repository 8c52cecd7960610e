#!/usr/bin/env bash
# Sam3VideoModel of transformers holds the detections of a phrase to each other by mask, and takes
# eight bytes for each pixel of each pair of them; on a CPU it then throws the result away.
#
# Expected: areas and one product of the masks as matrices, some megabytes; or a byte a pixel, as
# masks are bool; and nothing where what comes next, the kernel for suppressing duplicates, isn't there.
# What happens: nms_masks calls mask_iou, which adds [N, N, H * W] of bool up; torch's sum widens
# bool to int64 before it adds. Twice as many detections take four times the memory: 1 GiB for 40 masks
# of SAM 3's 288 x 288 cells, where a product of the masks as matrices takes some megabytes.
# Without the package "kernels" and a GPU all detections stay, whatever was counted.
# Versions: transformers 5.23.0, torch 2.13.0 (CPU), NumPy 2.2.6, Linux.
# Seen:
#   transformers 5.23.0, torch 2.13.0
#   20 masks: 0.3 GiB more at the peak, 20 stay
#   40 masks: 0.9 GiB more at the peak, 40 stay
#   as a product: the same table
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet transformers==5.23.0 torch==2.13.0 numpy==2.2.6
cd "$work"
TRANSFORMERS_VERBOSITY=error "$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from resource import RUSAGE_SELF, getrusage

import torch
import transformers
from transformers.models.sam3_video.modeling_sam3_video import mask_iou, nms_masks

torch.set_num_threads(1)


def masks(count):
    # The same blob for all, so that any suppression would leave one.
    found = torch.full((count, 288, 288), -1.0)
    found[:, 100:140, 60:120] = 1.0
    return found


def peak():
    return getrusage(RUSAGE_SELF).ru_maxrss / 2**20


def grown(count):
    scores, found = torch.linspace(0.9, 0.6, count), masks(count)
    before = peak()
    kept = nms_masks(scores, found, prob_threshold=0.5, iou_threshold=0.1)
    return peak() - before, int(kept.sum())


print(f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}")
seen = {}
for count in (20, 40):
    seen[count], kept = grown(count)
    print(f"{count} masks: {seen[count]:.1f} GiB more at the peak, {kept} stay")
    if kept != count:
        sys.exit("duplicates are suppressed now")
flat = (masks(40) > 0).flatten(1).float()
shared, areas = flat @ flat.T, flat.sum(1)
lean = shared / (areas[:, None] + areas - shared).clamp(min=1)
binary = masks(40) > 0
if not torch.equal(lean, mask_iou(binary, binary)):
    sys.exit("as a product: another table")
print("as a product: the same table")
pixels = 40 * 40 * 288 * 288
if seen[40] * 2**30 < 6 * pixels or seen[40] < 2.5 * seen[20]:
    sys.exit("it takes less now")
PYTHON
