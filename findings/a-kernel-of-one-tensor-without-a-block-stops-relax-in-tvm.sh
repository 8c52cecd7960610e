#!/usr/bin/env bash
# TVM's Relax pipeline can't compile a call_tir of one tensor whose function has no block.
#
# Expected: a PrimFunc that is a loop nest and nothing else is valid TIR. tvm.compile takes it, and
# so does a Relax function that calls it with two tensors.
# What happens: of each call_tir of a dataflow block with one tensor in and one out, a pass of the
# default pipeline asks whether the function is a reshape. It looks for a root block, finds none, and
# raises InternalError ("Check failed") instead of answering no. With an empty root block around the
# same loops, or a second argument, the program compiles.
# Versions: apache-tvm 0.27.0.post1, apache-tvm-ffi 0.1.14.post1, NumPy 2.2.6.
# Seen:
#   tvm 0.27.0.post1
#   two tensors in, no block: compiles
#   one tensor in, no block: InternalError
#   one tensor in, a root block: compiles
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
from tvm import relax, s_tir, tirx

print("tvm", tvm.__version__)


def summing(tensors, block):
    """y[i] = 2 x[i], or x[i] + z[i], as a loop."""
    names = ["x", "z"][:tensors] + ["y"]
    buffers = [tirx.decl_buffer((8,), "float32", name) for name in names]
    i = tirx.Var("i", "int32")
    first, second = (tirx.BufferLoad(buffers[n], [i]) for n in (0, tensors - 1))
    store = tirx.BufferStore(buffers[-1], first + second, [i])
    body = tirx.For(i, 0, 8, tirx.ForKind.SERIAL, store)
    if block:
        body = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", body))
    func = tirx.PrimFunc(buffers, body)
    return func.with_attrs({"global_symbol": "summing", "tirx.noalias": True})


def outcome(tensors, block):
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((8,), "float32"))
    with builder.function("main", [x]):
        called = builder.add_func(summing(tensors, block), "summing")
        of = relax.TensorType((8,), "float32")
        with builder.dataflow():
            y = builder.emit(relax.call_tir(called, [x] * tensors, of))
            z = builder.emit_output(relax.call_tir(called, [y] * tensors, of))
        builder.emit_func_output(z)
    try:
        tvm.compile(builder.get(), "llvm")
    except Exception as error:
        return type(error).__name__
    return "compiles"


cases = {
    "two tensors in, no block": (2, False),
    "one tensor in, no block": (1, False),
    "one tensor in, a root block": (1, True),
}
seen = {name: outcome(*case) for name, case in cases.items()}
for name, what in seen.items():
    print(f"{name}: {what}")
expected = dict(zip(cases, ["compiles", "InternalError", "compiles"]))
sys.exit(0 if seen == expected else "this behaves otherwise now")
PYTHON
