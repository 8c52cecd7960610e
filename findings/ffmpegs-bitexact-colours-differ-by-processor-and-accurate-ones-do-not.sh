#!/usr/bin/env bash
# A film's frame in RGB depends on the processor's vector instructions, also with FFmpeg's flag
# "bitexact"; with "accurate_rnd" it doesn't.
#
# Expected: the flag of swscale that is called bitexact gives the same bits on every processor, as
# flags of that name do in FFmpeg's coders; accurate_rnd only rounds better.
# What happens: the usual conversion of 4:2:0 to RGB (FFmpeg's own and that of what is built on it:
# PyAV) has one path in C and another in SSSE3, which give two values of five another level of 256,
# or the one after that. bitexact chooses neither. With accurate_rnd the bits are the same without
# vector instructions and with all of them. So frames of one film, read on two kinds of processor,
# can be two sets of inputs for a model.
# Versions: imageio-ffmpeg 0.6.0 (which brings FFmpeg 7.0.2 for x86-64), NumPy 2.3.5; Python 3.11.7.
# Seen:
#   usual: 3707 of 9216 values differ, by 2 at most
#   bitexact: 3707 of 9216 values differ, by 2 at most
#   accurate_rnd: 0 of 9216 values differ, by 0 at most
set -euo pipefail
test "$(uname -sm)" = "Linux x86_64" || { echo "needs Linux on x86-64"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" install --quiet imageio-ffmpeg==0.6.0 numpy==2.3.5
cd "$work"
cat > colours.py <<'PYTHON'
import subprocess

import imageio_ffmpeg
import numpy as np


def frame(flags: str, instructions: str) -> np.ndarray:
    """A frame of FFmpeg's test film, converted with the vector instructions that are named."""
    made = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-cpuflags", instructions]
        + ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=1:duration=1,format=yuv420p"]
        + ["-sws_flags", flags, "-pix_fmt", "rgb24", "-f", "rawvideo", "-"],
        check=True,
        capture_output=True,
    ).stdout
    return np.frombuffer(made, np.uint8).astype(int)


counts = {}
for name, flags in (
    ("usual", "bicubic"),
    ("bitexact", "bicubic+bitexact"),
    ("accurate_rnd", "bicubic+accurate_rnd"),
):
    off = np.abs(frame(flags, "0") - frame(flags, "all"))
    counts[name] = np.count_nonzero(off)
    print(f"{name}: {counts[name]} of {off.size} values differ, by {off.max()} at most")
assert counts["usual"] and counts["usual"] == counts["bitexact"], "bitexact changes something"
assert counts["accurate_rnd"] == 0, "accurate_rnd depends on the processor"
PYTHON
env/bin/python colours.py
