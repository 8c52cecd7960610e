#!/usr/bin/env bash
# A frame without its last row gets other colours in all its rows, if its height is odd then.
#
# Expected: to_ndarray(format="rgb24") of a 4:2:0 frame gives a pixel the colour of its own luma and
# the chroma around it, however many rows the frame has.
# What happens: where the height is even each two by two pixels share one value of chroma, as it is
# stored; where it is odd swscale takes another path, which interpolates chroma between rows. Pixels
# at the edge of colours differ by as much as the colours do. An odd width changes nothing. So a
# film that was cropped to 1079 rows shows a model other edges than the film it was cropped from.
# Versions: av 18.1.0, NumPy 2.3.5; Python 3.11.7, x86-64.
# Seen:
#   64 x 48 and 63 x 48: 0 of 8280 values differ, by 0 at most
#   64 x 48 and 64 x 46: 0 of 8280 values differ, by 0 at most
#   64 x 48 and 64 x 47: 7876 of 8280 values differ, by 190 at most
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet av==18.1.0 numpy==2.3.5
cd "$work"
cat > rows.py <<'PYTHON'
import av
import numpy as np

random = np.random.default_rng(0)
luma = np.full((48, 64), 120, np.uint8)
chroma = random.integers(60, 200, (2, 24, 32)).astype(np.uint8)


def colours(width: int, height: int) -> np.ndarray:
    """The upper left 60 x 46 pixels of a frame of one brightness, as RGB."""
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, (luma, *chroma), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values[: plane.height, : plane.width]
        plane.update(rows.tobytes())
    return frame.to_ndarray(format="rgb24")[:46, :60].astype(int)


def compare(width: int, height: int) -> int:
    off = np.abs(colours(64, 48) - colours(width, height))
    counted = f"{np.count_nonzero(off)} of {off.size} values differ, by {off.max()} at most"
    print(f"64 x 48 and {width} x {height}: {counted}")
    return np.count_nonzero(off)


assert compare(63, 48) == 0, "an odd width changes colours"
assert compare(64, 46) == 0, "fewer rows change colours"
assert compare(64, 47) > 0, "an odd height changes nothing any more"
PYTHON
env/bin/python rows.py
