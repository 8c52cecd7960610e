"""The walls of the house: who may import whom, and what running artifacts needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
PACKAGE = SRC / "sam3_tvm"

CONTRACT = {
    "errors",
    "progress",
    "locks",
    "values",
    "components",
    "sizes",
    "abi",
    "arithmetic",
    "rules",
}
FILES = {"json_file", "tokenizer_file", "unfinished"}
FOLDER = FILES | {
    "extras",
    "binary",
    "signing",
    "strict_json",
    "manifest",
    "can_run",
    "weights",
    "artifact",
}
SOURCE = {
    "sources/base",
    "sources/image_size",
    "sources/patches",
    "sources/random_weights",
    "sources/roi_align",
    "sources/sampling",
    "sources/tensors",
} | FILES
KERNEL = {"compiler/targets", "compiler/kernels/emit", "compiler/kernels/vector_math"}

# Room: the rooms that it may import, at any depth of the code and whenever that runs; naming one
# with rooms of its own means all of them. A room is a file or a folder without those that have
# a row of their own.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "progress": set(),
    "locks": {"system"},
    "system": set(),
    "host": {"system"},
    "binary": {"system"},
    "linking": {"errors", "binary", "system"},
    "values": set(),
    "arithmetic": set(),
    "components": {"errors", "values"},
    "sizes": set(),
    "abi": {"components", "sizes", "values"},
    "rules": {"errors"},
    "extras": {"errors"},
    "json_file": set(),
    "tokenizer_file": {"json_file"},
    "unfinished": {"system"},
    "strict_json": {"errors"},
    "signing": {"errors", "extras", "files", "json_file"},
    "manifest": CONTRACT | {"strict_json"},
    "weights": {"errors", "json_file", "strict_json"},
    "can_run": {"errors", "host", "system", "binary", "manifest"},
    "artifact": CONTRACT | FOLDER - {"artifact"},
    "files": {"errors", "unfinished"},
    "machine": {"errors", "host", "linking"},
    "assets": {"errors"},
    "drawn_film": set(),
    "runtime/execution": CONTRACT | FOLDER | {"host", "system"},
    "runtime/pictures": CONTRACT | FOLDER | {"files", "runtime/execution"},
    "runtime/concepts": CONTRACT | FOLDER | {"runtime/execution", "runtime/pictures"},
    "runtime/clicks": CONTRACT | FOLDER | {"runtime/execution", "runtime/pictures"},
    "runtime/video": CONTRACT
    | FOLDER
    | {"runtime/execution", "runtime/pictures", "runtime/clicks"},
    "runtime/video/concepts": CONTRACT | FOLDER | {"runtime/pictures", "runtime/video"},
    "runtime": CONTRACT
    | FOLDER
    | {f"runtime/{room}" for room in ("execution", "pictures", "concepts", "clicks", "video")},
    "film": {"errors", "files", "locks", "runtime", "unfinished"},
    # Its lines of JSON, and why a run isn't gone on with, are those of films.
    "batch": {"errors", "components", "files", "film", "runtime", "tiles", "unfinished"},
    "tiles": {"errors", "extras", "progress", "files", "runtime"},
    "annotate": CONTRACT
    | {"extras", "files", "json_file", "signing", "unfinished", "runtime", "tiles"},
    "labels": {"errors", "extras", "runtime"},
    "serve": {"errors", "locks", "system", "runtime", "film", "tiles", "annotate", "labels"},
    "importer": {"errors", "progress"},
    "lessons": {"errors", "progress", "linking", "importer"},
    "sources/image_size": {"errors"},
    "sources/base": CONTRACT | {"sources/image_size"},
    "sources/sampling": CONTRACT,
    "sources/tensors": {"sources/base"},
    "sources/roi_align": set(),
    "sources/patches": {"locks", "sources/roi_align"},
    "sources/random_weights": set(),
    "sources/huggingface": CONTRACT | SOURCE,
    # The tokenizer of a checkpoint of Meta's may lie beside it as Hugging Face writes them.
    "sources/meta": CONTRACT | SOURCE | {"sources/huggingface"},
    "sources": CONTRACT | SOURCE | {"sources/huggingface", "sources/meta"},
    "compiler/targets": {"errors", "binary", "host"},
    "compiler/kernels/emit": {"compiler/targets"},
    "compiler/kernels/vector_math": {"compiler/targets", "compiler/kernels/emit"},
    "compiler/kernels/product": KERNEL | {"arithmetic"},
    "compiler/kernels/attention": KERNEL | {"compiler/kernels/product"},
    "compiler/kernels/conv": KERNEL | {"arithmetic", "compiler/kernels/product"},
    "compiler/kernels": KERNEL | {"compiler/kernels/product"},
    # What is matched in a graph is what a kernel takes.
    "compiler/graph": {"arithmetic", "compiler/targets", "compiler/kernels"},
    "compiler/algebra": CONTRACT | {"manifest", "compiler/graph", "compiler/kernels"},
    "compiler/dispatch": {"arithmetic", "compiler/targets", "compiler/graph", "compiler/kernels"},
    "compiler/schedule": KERNEL,
    "compiler/memory": set(),
    # compile() takes the name of a checkpoint, so it opens the source as well; and pictures.
    "compiler": CONTRACT
    | FOLDER
    | {"files", "host", "importer", "linking", "sources", "runtime", "sensitivity"}
    | {f"compiler/{room}" for room in ("targets", "kernels", "graph", "algebra", "dispatch")}
    | {"compiler/schedule", "compiler/memory"},
    "tune": {"errors", "progress", "host", "compiler", "runtime/execution"},
    "evaluate": CONTRACT | FOLDER | {"runtime", "sources"},
    # What eight bits cost, in PyTorch; calls it by the runtime's rules.
    "sensitivity": CONTRACT | FOLDER | {"runtime", "sources"},
    "verify": CONTRACT | FOLDER | {"drawn_film", "runtime", "sources", "sensitivity"},
    "bench": CONTRACT
    | FOLDER
    | {"drawn_film", "host", "system", "machine", "runtime", "sources", "compiler"},
    # The package's own names, load and compile among them, looked up when they are asked for.
    "__init__": {"errors", "extras", "runtime", "compiler"},
    "cli": CONTRACT
    | FOLDER
    | {
        "host",
        "system",
        "machine",
        "files",
        "assets",
        "runtime",
        "tiles",
        "film",
        "batch",
        "annotate",
        "serve",
        "lessons",
        "sources",
    }
    | {"compiler", "tune", "evaluate", "sensitivity", "verify", "bench", "__init__"},
    "__main__": {"cli"},
}

HEAVY = {"torch", "torchvision", "transformers", "tvm", "huggingface_hub"}
# What never needs the extra [compile], not even inside a function.
LIGHT = {
    *CONTRACT,
    *FOLDER,
    *(
        "host",
        "system",
        "machine",
        "files",
        "assets",
        "film",
        "tiles",
        "batch",
        "annotate",
        "labels",
        "serve",
        "__init__",
    ),
    *(room for room in ROOMS if room.partition("/")[0] == "runtime"),
}
TERMINAL = {"typer", "rich"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


def room_of(name: str) -> str:
    """The room of a file (``runtime/video/frames``): the longest row that it lies in."""
    found = [room for room in ROOMS if name == room or name.startswith(f"{room}/")]
    return max(found, key=len, default="no room")


@cache
def imports(path: Path) -> list[tuple[str, int]]:
    """Every module that a file imports, in functions too, with the line; relative ones resolved."""
    found: list[tuple[str, int]] = []
    package = ["sam3_tvm", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from sam3_tvm import artifact" imports a module of ours.
            found += [(f"{module}.{alias.name}", node.lineno) for alias in node.names]
    return found


def ours(module: str) -> str | None:
    """The file of ours that an imported name leads to, as :func:`name_of` gives it."""
    names = module.split(".")
    if names[0] != "sam3_tvm":
        return None
    for end in range(len(names), 0, -1):
        path = PACKAGE.joinpath(*names[1:end])
        if path.with_suffix(".py").is_file() and end > 1:
            return name_of(path)
        if (path / "__init__.py").is_file():
            return name_of(path / "__init__")
    return None


def may(room: str, other: str) -> bool:
    return room == other or any(
        other == row or other.startswith(f"{row}/") for row in ROOMS.get(room, ())
    )


def wrong_ways(rooms: Collection[str] | None = None) -> list[str]:
    """Imports that no row has."""
    broken = []
    for path in files():
        room = room_of(name_of(path))
        if rooms is not None and room not in rooms:
            continue
        for module, line in imports(path):
            other = ours(module)
            if other is not None and not may(room, room_of(other)):
                broken.append(f"{path.relative_to(PACKAGE)}:{line} ({room}) imports {module}")
    return broken


def circle(graph: dict[str, Iterable[str]]) -> list[str]:
    """The nodes of a circle, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def files_graph() -> dict[str, Iterable[str]]:
    """File: those of ours that it imports. What a file says of itself is no import."""
    return {
        name_of(path): {other for module, _ in imports(path) if (other := ours(module))}
        - {name_of(path)}
        for path in files()
    }


def test_every_file_is_in_a_room_and_every_room_is_there():
    rooms = {room_of(name_of(path)) for path in files()}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_point_down(room):
    assert not wrong_ways({room})


def test_the_plan_itself_has_a_down():
    graph = {
        room: {other for other in ROOMS if other != room and may(room, other)} for room in ROOMS
    }
    assert not circle(graph)


def test_no_file_imports_itself_by_way_of_others():
    assert not circle(files_graph())


def test_modules_are_imported_by_statements():
    """Which the other tests see. The doctor tries names one by one; Meta's package is not ours."""
    ways = re.compile(
        r"\bimportlib\.import_module\(|\b__import__\(|from importlib import.*import_m"
    )
    dynamic = {name_of(path) for path in files() if ways.search(path.read_text(encoding="utf-8"))}
    assert dynamic == {"cli/doctor", "sources/meta/environment"}


@pytest.mark.parametrize("room", sorted(LIGHT))
def test_running_artifacts_imports_neither_torch_nor_compiler(room):
    broken = [
        f"{path.relative_to(SRC)}:{line} imports {module}"
        for path in files()
        if room_of(name_of(path)) == room
        for module, line in imports(path)
        if module.split(".")[0] in HEAVY
        # The one door upstairs: sam3_tvm.compile, opened when it is asked for.
        or (room != "__init__" and module.startswith("sam3_tvm.compiler"))
    ]
    assert not broken


def test_only_the_command_line_knows_a_terminal():
    broken = [
        f"{path.relative_to(SRC)}:{line} imports {module}"
        for path in files()
        if room_of(name_of(path)) != "cli"
        for module, line in imports(path)
        if module.split(".")[0] in TERMINAL
    ]
    assert not broken


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Builds another house: a file of the given text for each name."""

    def build(**texts: str) -> None:
        monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / "__init__.py").touch()
            path.write_text(text)

    return build


def test_the_walk_sees_imports_of_every_form(house, tmp_path):
    house(
        runtime__x="import torch.nn as nn\n"
        "from sam3_tvm import compiler\n"
        "from ..importer.export import f\n"
        "from . import model\n"
        "def g():\n"
        "    from tvm import relax\n"
    )
    assert [m for m, _ in imports(tmp_path / "runtime" / "x.py")] == [
        "torch.nn",
        "sam3_tvm.compiler",
        "sam3_tvm.importer.export.f",
        "sam3_tvm.runtime.model",
        "tvm.relax",
    ]


def test_an_import_that_runs_up_is_seen_in_a_function_and_in_an_inner_room(house):
    house(
        runtime__execution__engine="def f():\n    from sam3_tvm.runtime.video import frames\n",
        runtime__video__frames="from sam3_tvm.runtime.execution.engine import f\n",
        bench__measuring="from sam3_tvm.cli import track\n",
        cli__track="from sam3_tvm.bench.measuring import bench\n",
    )
    assert [line.partition(" (")[0] for line in wrong_ways()] == [
        "bench/measuring.py:1",
        "runtime/execution/engine.py:2",
    ]


def test_a_circle_is_seen_in_a_function(house):
    house(
        film__a="from sam3_tvm.film import b\n",
        film__b="from sam3_tvm.film.c import thing\n",
        film__c="def f():\n    from sam3_tvm.film.a import b\n",
    )
    assert set(circle(files_graph())) == {"film/a", "film/b", "film/c"}
    assert not circle({"a": {"b"}, "b": {"c"}, "c": set()})


BARE = f"""
import sys
heavy = {sorted(HEAVY)!r}
for name in heavy:
    sys.modules[name] = None  # importing one raises, and looking for one finds nothing
import sam3_tvm
light = set(sys.modules)
assert not light & {{"numpy", "PIL", "tvm_ffi", "tokenizers"}}, "importing the package is not light"
assert sam3_tvm.__version__
import sam3_tvm.artifact, sam3_tvm.runtime, sam3_tvm.evaluate
import sam3_tvm.film.run, sam3_tvm.film.outputs.opening
import sam3_tvm.annotate
assert not set(sys.modules) & {TERMINAL!r}, "following a film needs no terminal"
import sam3_tvm.cli
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
