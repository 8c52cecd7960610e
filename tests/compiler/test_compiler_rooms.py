"""The compiler's rooms: who may import whom, without circles, and at the top of a file only."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sam3_tvm.compiler

COMPILER = Path(sam3_tvm.compiler.__file__).parent
NAME = "sam3_tvm.compiler"

# A room and those that it may use; the driver, the pipeline and the like stand on all of them.
ROOMS = {
    "targets": set(),
    "kernels": {"targets"},
    "graph": {"kernels"},
    "algebra": {"graph", "kernels"},
    "dispatch": {"graph", "kernels", "targets"},
    "schedule": {"kernels", "targets"},
    "memory": set(),
}
# Kinds of kernels do not know each other but for products, which the others are made of.
KERNELS = {"product": set(), "attention": {"product"}, "conv": {"product"}}


def module_of(path: Path) -> str:
    parts = path.relative_to(COMPILER).with_suffix("").parts
    return ".".join([NAME, *(part for part in parts if part != "__init__")])


MODULES = {module_of(path): path for path in sorted(COMPILER.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """The compiler's modules that a file imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAME):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {n if n in MODULES else node.module for n in names}
    return found


def room(module: str, depth: int = 0) -> str:
    return module.removeprefix(f"{NAME}.").split(".")[depth]


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_uses_those_below_it(name):
    here = {m: p for m, p in MODULES.items() if room(m) == name}
    assert len(here) > 1, f"{name} is in the plan and not in the compiler"
    used = {room(other) for path in here.values() for other in imported(path)}
    assert used - {name} <= ROOMS[name]


@pytest.mark.parametrize("name", KERNELS)
def test_kinds_of_kernels_share_products_alone(name):
    prefix = f"{NAME}.kernels."
    here = [p for m, p in MODULES.items() if m.startswith(f"{prefix}{name}")]
    assert here
    used = {m for path in here for m in imported(path) if m.startswith(prefix)}
    assert {room(m, 1) for m in used} & KERNELS.keys() - {name} <= KERNELS[name]


def test_there_is_no_circle():
    graph = {module: imported(path) - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_imports_stand_at_the_top():
    hidden = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(outer, ast.FunctionDef)
        for node in ast.walk(outer)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not hidden
