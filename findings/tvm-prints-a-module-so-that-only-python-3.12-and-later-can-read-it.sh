#!/usr/bin/env bash
# TVM prints a module with sizes that vary in the syntax of the Python that it runs on: what Python
# 3.12 and later print is a syntax error for 3.11, and another text for whoever searches it.
#
# Expected: one module, one text, as one version of TVM has one format; at least one that each Python
# which that version supports can read back.
# What happens: from 3.12 on sizes are type parameters (PEP 695), "def main[n](x: ...)", before that
# variables, 'n = TypeVar("n")' and "def main(x: ...)". The second is read by both, the first by 3.12
# and later alone. A search for "def main(" finds nothing in it. script() takes an option of the
# printer that no documentation names: extra_config={"relax.use_pep695": False} prints the same
# everywhere. Needs python3.11 and one of python3.12, python3.13, python3.14 on the path.
# Versions: apache-tvm 0.27.0.post1, apache-tvm-ffi 0.1.14.post1, NumPy 2.3.5; Python 3.11.7, 3.13.0.
# Seen:
#   older prints: def main(x: R.Tensor((n, 3), dtype="float32"))
#   newer prints: def main[n](x: R.Tensor((n, 3), dtype="float32"))
#   newer, told not to: def main(x: R.Tensor((n, 3), dtype="float32"))
#   what older printed is read by newer: yes
#   what newer printed is read by older: SyntaxError
set -euo pipefail
older=$(command -v python3.11) || { echo "needs python3.11"; exit 1; }
newer=$(command -v python3.13 || command -v python3.12 || command -v python3.14) ||
  { echo "needs python3.12 or later"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for name in older newer; do
  "${!name}" -m venv "$work/$name"
  "$work/$name/bin/pip" install --quiet \
    apache-tvm==0.27.0.post1 apache-tvm-ffi==0.1.14.post1 numpy==2.3.5
done
cd "$work"
cat > prints.py <<'PYTHON'
import sys

import tvm
from tvm import relax, tirx

builder = relax.BlockBuilder()
x = relax.Var("x", relax.TensorType((tirx.Var("n", "int64"), 3), "float32"))
with builder.function("main", [x]):
    builder.emit_func_output(builder.emit(relax.op.add(x, x)))
config = {"relax.use_pep695": False} if "plain" in sys.argv else None
print(builder.get().script(extra_config=config))
PYTHON
cat > reads.py <<'PYTHON'
import sys

import tvm
from tvm.script import from_source

try:
    from_source(open(sys.argv[1]).read())
    print("yes")
except Exception as error:
    print(type(error).__name__)
PYTHON
older/bin/python -W ignore prints.py > older.txt
newer/bin/python -W ignore prints.py > newer.txt
newer/bin/python -W ignore prints.py plain > plain.txt
{
  for file in older:older newer:newer "newer, told not to:plain"; do
    echo "${file%:*} prints: $(grep -o 'def main.*))' "${file##*:}.txt" | cut -d'>' -f1 | sed 's/ -$//')"
  done | sed 's/, told not to prints/, told not to/'
  echo "what older printed is read by newer: $(newer/bin/python -W ignore reads.py older.txt 2>&1 | tail -1)"
  echo "what newer printed is read by older: $(older/bin/python -W ignore reads.py newer.txt 2>&1 | tail -1)"
} | tee seen.txt
diff seen.txt - <<'SEEN'
older prints: def main(x: R.Tensor((n, 3), dtype="float32"))
newer prints: def main[n](x: R.Tensor((n, 3), dtype="float32"))
newer, told not to: def main(x: R.Tensor((n, 3), dtype="float32"))
what older printed is read by newer: yes
what newer printed is read by older: SyntaxError
SEEN
