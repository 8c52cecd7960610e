#!/usr/bin/env bash
# torch.export keeps a size free through torch.fft.rfft(x, norm="ortho"), and run_decompositions({}),
# which is asked to decompose nothing, fixes it to the example's, in the program it was given, too.
#
# Expected: a program with the same sizes, or torch's error of a Dim that can't vary ("Constraints
# violated"), which torch.export raises for such cases.
# What happens: no error and no warning. The new program refuses every other length, and the old
# one, whose sizes are the same objects, now says that its input has the example's length. The
# other norms keep the size free: for "ortho" alone the fake result takes the root of a size.
# run_decompositions() with torch's full table keeps it free, as the transform is taken apart first.
# Versions: torch 2.13.0 (CPU), NumPy 2.2.6.
# Seen:
#   torch 2.13.0
#   backward: exported as [2, free], after run_decompositions({}) [2, free], length 20 runs
#   ortho: exported as [2, free], after run_decompositions({}) [2, 12], length 20 is refused
#   ortho: the first program now says [2, 12]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import torch
from torch.export import Dim, export

print("torch", torch.__version__.split("+")[0])


class Spectrum(torch.nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return torch.fft.rfft(x, norm=self.norm)


def sizes(program):
    shape = next(n for n in program.graph.nodes if n.op == "placeholder").meta["val"].shape
    return f"[2, {shape[1] if str(shape[1]).isdigit() else 'free'}]"


seen = {}
for norm in ("backward", "ortho"):
    shapes = ({1: Dim("n", min=4, max=64)},)
    program = export(Spectrum(norm), (torch.randn(2, 12),), dynamic_shapes=shapes)
    exported = sizes(program)
    again = program.run_decompositions({})
    try:
        again.module()(torch.randn(2, 20))
        outcome = "runs"
    except AssertionError:
        outcome = "is refused"
    seen[norm] = (exported, sizes(again), outcome, sizes(program))
    print(f"{norm}: exported as {exported}, after run_decompositions({{}}) {sizes(again)},"
          f" length 20 {outcome}")
print(f"ortho: the first program now says {sizes(program)}")
same = {
    "backward": ("[2, free]", "[2, free]", "runs", "[2, free]"),
    "ortho": ("[2, free]", "[2, 12]", "is refused", "[2, 12]"),
}
sys.exit(0 if seen == same else "this behaves otherwise now")
PYTHON
