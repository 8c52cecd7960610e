#!/usr/bin/env bash
# PyTorch's scaled_dot_product_attention answers a query that holds NaN with zeros, on a CPU, by the
# kernel that it takes by default; its other kernel and the formula answer with NaN.
#
# Expected: NaN in, NaN out, as of every other operator, so that a model that diverged shows it.
# What happens: the row of that query is exactly 0.0. A NaN in a key does come through. So a check
# for NaN in what follows passes, and PyTorch differs from what was exported or compiled from it.
# Versions: torch 2.13.0 (CPU), NumPy 2.2.6.
# Seen:
#   torch 2.13.0
#   NaN in one query: default [0.0, 0.0, 0.0, 0.0], SDPBackend.MATH all NaN, softmax(qk)v all NaN
#   NaN in one key: default all NaN, SDPBackend.MATH all NaN, softmax(qk)v all NaN
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

print("torch", torch.__version__.split("+")[0])
torch.manual_seed(0)


def answers(q, k, v):
    """Row 1 of the result, three ways."""
    default = scaled_dot_product_attention(q, k, v)
    with sdpa_kernel(SDPBackend.MATH):
        by_parts = scaled_dot_product_attention(q, k, v)
    formula = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, -1) @ v
    return [result[0, 0, 1] for result in (default, by_parts, formula)]


def word(row):
    return "all NaN" if row.isnan().all() else str(row.tolist())


seen = []
for place, name in enumerate(("query", "key")):
    inputs = [torch.randn(1, 1, 3, 4) for _ in range(3)]
    inputs[place][0, 0, 1, 2] = float("nan")
    rows = answers(*inputs)
    seen.append([word(row) for row in rows])
    default, by_parts, formula = seen[-1]
    print(f"NaN in one {name}: default {default}, SDPBackend.MATH {by_parts}, softmax(qk)v {formula}")
same = [["[0.0, 0.0, 0.0, 0.0]", "all NaN", "all NaN"], ["all NaN"] * 3]
sys.exit(0 if seen == same else "this behaves otherwise now")
PYTHON
