#!/usr/bin/env bash
# Pillow scrambles an uncompressed TIFF of orientation 5 to 8 that is opened by its name, and reads
# the same bytes right from a file object.
#
# Expected: the same pixels, whichever way the file is opened.
# What happens: opened by name the pixels are mapped into memory with the turned picture's width and
# height, before it is turned: rows are cut in other places, and nothing says so. Labelling tools
# and data loaders open by name, so masks lie on a picture that nobody sees.
# Versions: Pillow 13.0.0, NumPy 2.2.6.
# Seen:
#   Pillow 13.0.0
#   orientation 1: by name right, from a file object right
#   orientation 3: by name right, from a file object right
#   orientation 6: by name wrong, from a file object right
#   orientation 8: by name wrong, from a file object right
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet pillow==13.0.0 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import PIL
from PIL import Image, ImageOps

print("Pillow", PIL.__version__)
stored = np.arange(48, dtype=np.uint8).reshape(6, 8)
turned = {1: stored, 3: np.rot90(stored, 2), 6: np.rot90(stored, 3), 8: np.rot90(stored, 1)}
seen = {}
for orientation, upright in turned.items():
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save("x.tif", exif=exif)

    def right(image):
        # Whether the pixels are those of the upright picture, turned by Pillow or by its helper.
        return np.array_equal(np.asarray(ImageOps.exif_transpose(image)), upright)

    by_name = right(Image.open("x.tif"))
    with open("x.tif", "rb") as file:
        from_file = right(Image.open(file))
    seen[orientation] = (by_name, from_file)
    word = {True: "right", False: "wrong"}
    print(f"orientation {orientation}: by name {word[by_name]}, from a file object {word[from_file]}")
same = {1: (True, True), 3: (True, True), 6: (False, True), 8: (False, True)}
sys.exit(0 if seen == same else "this behaves otherwise now")
PYTHON
