"""What the pages for developers say of the code is so: paths, names, tables."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sam3_tvm import values
from sam3_tvm.abi import abi
from sam3_tvm.components import Component, TensorSpec
from sam3_tvm.sizes import TASKS, ClickSizes, Sizes, VideoSizes

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "training" / "README.md"]
# From which pages name files and folders.
BASES = (ROOT, ROOT / "src", ROOT / "src" / "sam3_tvm", ROOT / "tests")

SAM3 = Sizes(
    1008, 72, 256, 32, 200, 8, points=True, clicks=ClickSizes(1024, 4), video=VideoSizes(64, 10)
)


def spans(page: Path) -> list[str]:
    """What stands in backticks on a page, code blocks apart."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


def table(page: str, head: str) -> dict[str, list[str]]:
    """The rows of a table by what stands in backticks in their first cell."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| {head} \|.*?^$", text, re.MULTILINE | re.DOTALL)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in found.splitlines()[2:]]
    return {cells[0].strip("`"): cells[1:] for cells in rows}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_paths_on_a_page_exist(page):
    # From the root, the package, or a folder that the page has named.
    bases = [*BASES, page.parent]
    for span in spans(page):
        if not re.fullmatch(r"[\w.<>*-]+(/[\w.<>*-]+)*(\.py|/)", span):
            continue
        pattern = re.sub(r"<\w+>", "*", span.rstrip("/"))
        found = [path for base in bases for path in base.glob(pattern)]
        assert found, span
        bases += [path for path in found if path.is_dir()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_names_on_a_page_exist(page):
    pytest.importorskip("tvm")
    for span in spans(page):
        if not re.fullmatch(r"sam3_tvm(\.\w+)+", span):
            continue
        parts = span.split(".")
        for count in range(len(parts), 0, -1):
            try:
                found = importlib.import_module(".".join(parts[:count]))
            except ModuleNotFoundError:
                continue
            for name in parts[count:]:
                assert hasattr(found, name), span
                found = getattr(found, name)
            break


def test_the_contracts_table_names_every_function_and_what_it_takes_and_gives():
    rows = table("contract.md", "function")
    functions = abi(replace(SAM3, points=False))
    assert list(rows) == list(functions)
    for name, component in functions.items():
        takes, gives = rows[name]
        assert _named(takes) == [spec.name for spec in component.inputs], name
        # The backbone is said of the task that brings it.
        outputs = [spec.name for spec in component.outputs if spec.name != "backbone"]
        assert _named(gives) == outputs, name


def _named(cell: str) -> list[str]:
    """The tensors that a cell names; ``fpn_0..2`` stands for three, "the size" for itself."""
    found: list[str] = []
    for name in re.findall(r"`([\w.]+)`|the (size)", cell):
        first, _, last = (name[0] or name[1]).partition("..")
        stem = first.rstrip("0")
        found += [f"{stem}{i}" for i in range(int(last) + 1)] if last else [first]
    return found


def test_the_contracts_table_of_tasks_names_all_of_them():
    assert tuple(table("contract.md", "task")) == TASKS


def test_the_contracts_table_of_dimensions_is_that_of_sam_3():
    rows = table("contract.md", "dimension")
    dims = {name: d for component in abi(SAM3).values() for name, d in component.dims.items()}
    assert {*rows} == {*dims}
    for name, d in dims.items():
        said = [f"{d.min}..{d.max}", f"{d.example}", f"{d.odd}", f"{d.usual}"]
        assert rows[name][1:] == said, name


def test_the_contracts_table_of_rules_has_every_rule_of_values():
    rows = {row.partition("(")[0] for row in table("contract.md", "rule")}
    assert rows == {*values.__all__} - {"Values"}


def test_the_contracts_facts_are_fields():
    fields = {f"Component.{n}" for n in Component.__dataclass_fields__}
    fields |= {f"TensorSpec.{n}" for n in TensorSpec.__dataclass_fields__}
    said = [row.split("`")[0] for row in table("contract.md", "fact") if not row.startswith("Dim")]
    assert {*said} <= fields
    assert {f"TensorSpec.{n}" for n in ("dtype", "shape", "per_image", "values")} <= {*said}


def test_the_table_of_phases_names_every_pass_of_ours_in_order():
    pytest.importorskip("tvm")
    from sam3_tvm.compiler import pipeline
    from sam3_tvm.compiler.targets.cpu import CpuTarget

    target = CpuTarget.parse("x86-64-v3")
    options = pipeline.Options(target=target, layer_norm="fused", plan_memory=True)
    rows = table("architecture.md", "phase")
    assert list(rows) == [f"{phase.number} {phase.name}" for phase in pipeline.phases]
    for phase in pipeline.phases:
        ours = [type(p).__name__ for p in phase.passes(options) if "sam3_tvm" in _module(p)]
        said = re.findall(r"`([A-Z]\w+)`", rows[f"{phase.number} {phase.name}"][1])
        assert said == ours


def _module(item: object) -> str:
    return type(item).__module__


def test_the_table_of_engines_names_all_of_them_in_order():
    pytest.importorskip("tvm")
    from sam3_tvm.bench.engines import ENGINES

    assert list(table("benchmarks.md", "`--against`")) == list(ENGINES)


def test_the_table_of_parts_names_all_of_them_and_their_functions():
    pytest.importorskip("tvm")
    from sam3_tvm.bench.parts import FILM, default_parts, select_parts

    components = abi(SAM3)
    known = {p.name: p for p in [*default_parts(components), *select_parts([FILM], components)]}
    rows = table("benchmarks.md", "part")
    assert set(rows) == set(known)
    for name, (functions, _) in rows.items():
        named = re.findall(r"`(\w+)`", functions)
        expected = [*known["one_prompt"].functions] if "one_prompt" in named else []
        told = {*expected, *(n for n in named if n in components)}
        assert told == set(known[name].functions), name
