#!/usr/bin/env bash
# A mask that supervision writes to a COCO file as a polygon is a row and a column smaller when
# pycocotools reads it; a polygon of COCO's is a row and a column larger when supervision reads it.
#
# Expected: both read one file as the same pixels, the "area" that is written beside the polygon.
# What happens: to supervision (OpenCV's contours and its fillPoly) a point is the middle of a pixel,
# and pixels on the outline belong to the object; to pycocotools it is a place between pixels, 0 to
# the width, and an object ends at its outline. Each gives its own files back as they were, so a
# dataset seems right until it goes from one to the other: 16 pixels become 9, or 25. The file's
# "area" says 16 all the while. Of a small or thin object that is much: IoU 0.56 and 0.64 here.
# Run lengths have no such doubt: pycocotools makes and reads them to the pixel.
# Versions: supervision 0.31.2, pycocotools 2.0.11, NumPy 2.4.6; Python 3.11.7.
# Seen:
#   a square of 16 pixels, written by supervision: area 16.0, supervision reads 16, pycocotools 9
#   the same by COCO's coordinates: pycocotools reads 16, supervision 25
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet supervision==0.31.2 pycocotools==2.0.11 numpy==2.4.6
cd "$work"
cat > square.py <<'PYTHON'
import contextlib
import io
import json
import os

import numpy as np
import supervision
from PIL import Image
from pycocotools.coco import COCO

os.mkdir("pictures")
Image.new("RGB", (32, 32)).save("pictures/a.png")
mask = np.zeros((1, 32, 32), bool)
mask[0, 8:12, 8:12] = True
square = supervision.Detections(
    xyxy=np.array([[8.0, 8.0, 12.0, 12.0]]), mask=mask, class_id=np.array([0])
)
supervision.DetectionDataset(
    classes=["square"], images=["pictures/a.png"], annotations={"pictures/a.png": square}
).as_coco(annotations_path="written.json")
with open("written.json") as file:
    document = json.load(file)
(written,) = document["annotations"]
area = written["area"]
written["segmentation"] = [[8, 8, 12, 8, 12, 12, 8, 12]]
with open("corners.json", "w") as file:
    json.dump(document, file)


def by_pycocotools(name: str) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        read = COCO(name)
    return int(read.annToMask(*read.loadAnns(read.getAnnIds())).sum())


def by_supervision(name: str) -> int:
    read = supervision.DetectionDataset.from_coco("pictures", name, force_masks=True)
    return int(next(iter(read))[2].mask.sum())


ours, theirs = by_supervision("written.json"), by_pycocotools("written.json")
print(
    f"a square of {mask.sum()} pixels, written by supervision: area {area}, supervision reads "
    f"{ours}, pycocotools {theirs}"
)
assert (area, ours, theirs) == (16, 16, 9), "both read what supervision writes alike"
ours, theirs = by_supervision("corners.json"), by_pycocotools("corners.json")
print(f"the same by COCO's coordinates: pycocotools reads {theirs}, supervision {ours}")
assert (ours, theirs) == (25, 16), "both read COCO's coordinates alike"
PYTHON
env/bin/python -W ignore square.py
