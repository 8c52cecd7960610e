"""The walls of the house: who may import whom, and what running artifacts needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "sam3_tvm"

GROUND = {"errors", "components", "abi", "rules", "progress", "host", "locks"}
FOLDER = {"strict_json", "manifest", "weights", "artifact"}

# Part of the package: the parts of the package that it may import, at any depth of the code.
# Parts that are not listed stand on top of the others and may import all of them.
ALLOWED = {
    **{part: GROUND for part in GROUND},
    **{part: GROUND | FOLDER for part in FOLDER},
    "runtime": GROUND | FOLDER,
    "importer": {"errors", "progress"},
    "sources": GROUND,
    # compile() takes the name of a checkpoint, so it opens the source as well.
    "compiler": GROUND | FOLDER | {"importer", "sources"},
    "evaluate": GROUND | FOLDER | {"runtime", "sources"},
}

HEAVY = {"torch", "torchvision", "transformers", "tvm", "huggingface_hub"}
# What never needs the extra [compile], not even inside a function.
LIGHT = {*GROUND, *FOLDER, "runtime", "__init__"}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, in functions too, with the line; relative ones resolved."""
    package = ["sam3_tvm", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from sam3_tvm import artifact" imports a module of ours.
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def files(*parts: str) -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if part_of(p) in parts]


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_point_down(part):
    found = files(part)
    assert found, f"{part} is in the plan of the house and not in the house"
    broken = []
    for path in found:
        for module, line in imports(path):
            names = module.split(".")
            if names[0] != "sam3_tvm" or len(names) < 2 or names[1] == part:
                continue
            if names[1] not in ALLOWED[part]:
                broken.append(f"{path.relative_to(SRC)}:{line} imports {module}")
    assert not broken


@pytest.mark.parametrize("part", sorted(LIGHT))
def test_running_artifacts_imports_neither_torch_nor_compiler(part):
    broken = [
        f"{path.relative_to(SRC)}:{line} imports {module}"
        for path in files(part)
        for module, line in imports(path)
        if module.split(".")[0] in HEAVY
        # The one door upstairs: sam3_tvm.compile, opened when it is asked for.
        or (part != "__init__" and module.startswith("sam3_tvm.compiler"))
    ]
    assert not broken


def test_the_walk_sees_imports_of_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "runtime").mkdir()
    path = tmp_path / "runtime" / "x.py"
    path.write_text(
        "import torch.nn as nn\n"
        "from sam3_tvm import compiler\n"
        "from ..importer.export import f\n"
        "from . import image\n"
        "def g():\n"
        "    from tvm import relax\n"
    )
    assert [m for m, _ in imports(path)] == [
        "torch.nn",
        "sam3_tvm.compiler",
        "sam3_tvm.importer.export.f",
        "sam3_tvm.runtime.image",
        "tvm.relax",
    ]


BARE = f"""
import sys
heavy = {sorted(HEAVY)!r}
for name in heavy:
    sys.modules[name] = None  # importing one raises, and looking for one finds nothing
import sam3_tvm
light = set(sys.modules)
assert not light & {{"numpy", "PIL", "tvm_ffi", "tokenizers"}}, "importing the package is not light"
assert sam3_tvm.__version__
import sam3_tvm.artifact, sam3_tvm.runtime, sam3_tvm.evaluate, sam3_tvm.cli
assert callable(sam3_tvm.load)
import tvm_ffi
assert not [m for m in sys.modules if m.split(".")[0] in heavy and sys.modules[m] is not None]
try:
    sam3_tvm.compile
except sam3_tvm.Sam3Error as error:
    print(error)
"""


def test_a_fresh_interpreter_needs_nothing_to_run_artifacts():
    done = subprocess.run(
        [sys.executable, "-c", BARE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "pip install 'sam3-tvm[compile]'" in done.stdout


def test_unknown_names_are_attribute_errors_and_known_ones_are_listed():
    import sam3_tvm

    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sam3_tvm.nonsense  # noqa: B018
    assert {"load", "compile", "Model", "Result"} <= set(dir(sam3_tvm))
    assert sam3_tvm.Model is sam3_tvm.runtime.Model
