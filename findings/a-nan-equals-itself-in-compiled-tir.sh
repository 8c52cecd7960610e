#!/usr/bin/env bash
# In TIR the test for a NaN, x != x, is constant: TVM's simplifier takes it for false, of floating
# point, too. tirx.isnan is compiled as it should be.
#
# Expected: IEEE 754's comparison, by which a NaN is unlike itself. Code that is written by hand asks
# so, as C and NumPy do.
# What happens: the comparison is gone after StmtSimplify, and the branch for NaNs is never taken. A
# kernel that rounds float32 to bfloat16 by adding to its bits made numbers of NaNs.
# Versions: apache-tvm 0.27.0.post1, apache-tvm-ffi 0.1.14.post1, NumPy 2.2.6.
# Seen:
#   tvm 0.27.0.post1
#   NumPy           [False  True False]
#   x != x          [False False False]
#   tirx.isnan(x)   [False  True False]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import tvm
from tvm import te, tirx

print("tvm", tvm.__version__)
values = np.array([1.0, np.nan, np.inf], "float32")


def asked(question):
    x = te.placeholder((3,), name="x", dtype="float32")
    y = te.compute((3,), lambda i: tirx.Select(question(x[i]), 1, 0), name="y")
    module = tvm.compile(te.create_prim_func([x, y]), "llvm")
    got = tvm.runtime.tensor(np.zeros(3, "int32"))
    module(tvm.runtime.tensor(values), got)
    return got.numpy().astype(bool)


unlike, isnan = asked(lambda v: tirx.NE(v, v)), asked(tirx.isnan)
print(f"{'NumPy':15} {values != values}")
print(f"{'x != x':15} {unlike}")
print(f"{'tirx.isnan(x)':15} {isnan}")
same = not unlike.any() and (isnan == np.isnan(values)).all()
sys.exit(0 if same else "this has changed")
PYTHON
