#!/usr/bin/env bash
# TVM lowers a floored quotient by a size that it doesn't know to a choice between two expressions,
# each of which holds the whole dividend: quotients of quotients double with each level.
#
# Expected: as many quotients as were written, or a few more. Indices and sizes can't be negative,
# and "//" is what Python and TVM's own operators write.
# What happens: with n known to be nothing but a size, ((i // n + 1) // n + 1) // n has 7 quotients
# after LowerIntrin, at 5 levels 31, since each level stands in its condition's both arms and what
# eliminates common subexpressions has run before. A kernel whose indices were cut twice by
# varying sizes took 20 s to compile and takes 0.5 s with tirx.truncdiv, which is the same for what
# isn't negative and stays one quotient per level.
# Versions: apache-tvm 0.27.0.post1, apache-tvm-ffi 0.1.14.post1, NumPy 2.2.6.
# Seen:
#   tvm 0.27.0.post1
#   floordiv, 1 to 5 levels: 1 3 7 15 31 quotients
#   truncdiv, 1 to 5 levels: 1 2 3 4 5 quotients
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import tvm
from tvm import te, tirx
from tvm.ir.instrument import pass_instrument

print("tvm", tvm.__version__)


@pass_instrument
class Quotients:
    """Counts those that stand in a module after LowerIntrin, floored or truncated."""

    found = 0

    def run_after_pass(self, mod, info):
        if info.name == "tirx.LowerIntrin":
            scripts = [function.script() for function in mod.functions.values()]
            self.found = sum(s.count("T.Div(") + s.count("//") for s in scripts)


def lowered(divide, depth):
    n, m = te.var("n", "int64"), te.var("m", "int64")
    a = te.placeholder((m,), name="a", dtype="float32")
    c = te.placeholder((n,), name="c", dtype="float32")

    def index(i):
        for _ in range(depth):
            i = divide(i, n) + 1
        return i

    b = te.compute((m,), lambda i: a[index(i)] + c[0], name="b")
    quotients = Quotients()
    with tvm.transform.PassContext(instruments=[quotients]):
        tvm.compile(te.create_prim_func([a, c, b]), "llvm")
    return quotients.found


seen = {}
for divide in (tirx.floordiv, tirx.truncdiv):
    counts = [lowered(divide, depth) for depth in range(1, 6)]
    seen[divide.__name__] = counts
    print(f"{divide.__name__}, 1 to 5 levels:", *counts, "quotients")
same = {"floordiv": [1, 3, 7, 15, 31], "truncdiv": [1, 2, 3, 4, 5]}
sys.exit(0 if seen == same else "this behaves otherwise now")
PYTHON
