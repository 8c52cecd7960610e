#!/usr/bin/env bash
# A Relax virtual machine keeps what its last function returned until it returns something else.
#
# Expected: that a result belongs to who asked for it, and goes with the last reference to it.
# What happens: the machine holds one more, so that memory of a caller's own (a result buffer that was
# handed in, an input that is returned) stays after the call, however large. A loop that drops each
# result before it asks for the next needs memory for two; and where buffers are used again as they come
# free, none is free when the next call looks for one, and it begins in fresh pages. Any function that
# returns something small, called behind, lets go.
# Versions: apache-tvm 0.27.0.post1, apache-tvm-ffi 0.1.14.post1, NumPy 2.2.6.
# Seen:
#   tvm 0.27.0.post1
#   after the call, with no reference left: kept
#   after a call of another function: freed
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
  apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import gc
import weakref

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

builder = relax.BlockBuilder()
for name, size in (("large", 1 << 20), ("small", 1)):
    x = relax.Var("x", relax.TensorType((size,), "float32"))
    with builder.function(name, [x]):
        builder.emit_func_output(x)
machine = relax.VirtualMachine(tvm.compile(builder.get(), "llvm"), tvm.cpu())

# Aligned to 64 bytes, as TVM wants memory that is handed in.
memory = np.zeros((1 << 22) + 64, np.uint8)
memory = memory[-memory.ctypes.data % 64 :][: 1 << 22].view(np.float32)
held = weakref.ref(memory)
given = tvm_ffi.from_dlpack(memory)
result = machine["large"](given)
del result, given, memory
gc.collect()


def state():
    return "freed" if held() is None else "kept"


print("tvm", tvm.__version__)
before = state()
print("after the call, with no reference left:", before)
machine["small"](tvm.runtime.tensor(np.zeros(1, np.float32)))
gc.collect()
after = state()
print("after a call of another function:", after)
raise SystemExit(0 if (before, after) == ("kept", "freed") else "this has changed")
PYTHON
