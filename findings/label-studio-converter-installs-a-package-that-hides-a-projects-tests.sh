#!/usr/bin/env bash
# label-studio-converter installs a package named "tests" into site-packages, which hides a project's
# own folder "tests" if that has no __init__.py.
#
# Expected: `python -m tests.tool` in a project's folder runs tests/tool.py, whatever is installed: the
# current folder is the first on the path.
# What happens: a folder without __init__.py is a namespace package, and those are taken only if no
# regular package of the name is anywhere on the path. The converter's wheel has tests/__init__.py, so
# `import tests` is its own as soon as it is installed, and modules of the project's aren't found.
# Versions: label-studio-converter 0.0.59.
# Seen:
#   before: tool of the project
#   label-studio-converter 0.0.59 has tests/__init__.py: True
#   after: No module named tests.tool
#   after, with an __init__.py of the project's: tool of the project
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
mkdir -p "$work/project/tests"
echo 'print("tool of the project")' > "$work/project/tests/tool.py"
cd "$work/project"

run() {
  # What it says at last, without the interpreter's name before an error.
  { "$work/venv/bin/python" -m tests.tool 2>&1 || true; } | tail -1 | sed 's/.*python[0-9.]*: //'
}

before=$(run)
echo "before: $before"
# Without what it depends on: what it puts into site-packages is all that counts here.
"$work/venv/bin/pip" install --quiet --no-deps label-studio-converter==0.0.59
"$work/venv/bin/python" - <<'PYTHON'
from importlib import metadata

files = {f"{one}" for one in metadata.files("label-studio-converter")}
version = metadata.version("label-studio-converter")
print(f"label-studio-converter {version} has tests/__init__.py: {'tests/__init__.py' in files}")
PYTHON
after=$(run)
echo "after: $after"
touch tests/__init__.py
mended=$(run)
echo "after, with an __init__.py of the project's: $mended"
test "$before" = "tool of the project"
test "$after" = "No module named tests.tool"
test "$mended" = "tool of the project"
