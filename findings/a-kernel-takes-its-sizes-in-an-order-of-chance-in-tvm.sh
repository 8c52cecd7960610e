#!/usr/bin/env bash
# LegalizeOps makes of the same expression kernels with other signatures: sizes that a kernel needs and
# that are no dimension of an input become parameters in the order of a Python set of variables, which
# are hashed by their addresses (emit_te in relax/utils.py: `return list(diff)`).
#
# Expected: that a compiler makes the same of the same, as reproducible builds and caches by content
# want it. PYTHONHASHSEED doesn't help, as no text is hashed.
# What happens: the order depends on what else was allocated. Which kernels count as equal, and are made
# once, and the numbers in the names of the others change with it, so that a whole model comes out as
# other bytes from one process to the next.
# Versions: apache-tvm 0.27.0.post1, apache-tvm-ffi 0.1.14.post1, NumPy 2.2.6.
# Seen:
#   tvm 0.27.0.post1
#   a b c
#   a c b
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import tvm
from tvm import relax, tirx

kept = []


def order(number):
    sizes = []
    for name in "abc":
        sizes.append(tirx.Var(name, "int64"))
        kept.extend(tirx.Var("other", "int64") for _ in range(number % 7))
    x = relax.Var("x", relax.TensorType([sizes[0] + sizes[1] + sizes[2]], "float32"))
    shape = relax.Var("shape", relax.ShapeType(sizes))
    builder = relax.BlockBuilder()
    with builder.function("main", [x, shape]):
        builder.emit_func_output(builder.emit(relax.op.nn.relu(x)))
    kernel = relax.transform.LegalizeOps()(builder.get())["relu"]
    return " ".join(p.name for p in kernel.params if p.name in "abc")


print("tvm", tvm.__version__)
found = sorted({order(n) for n in range(100)})
print("\n".join(found))
raise SystemExit(0 if len(found) > 1 else "this has changed")
PYTHON
