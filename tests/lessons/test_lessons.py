"""The table of lessons: ours holds, stock TVM is as recorded, and the docs say what is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tvm import relax

import sam3_tvm
from sam3_tvm.lessons.cases import LESSONS
from sam3_tvm.lessons.comparing import compare
from sam3_tvm.lessons.lesson import Case, Lesson, Outcome
from sam3_tvm.lessons.models import roi_align_operator
from sam3_tvm.lessons.running import reproduce, run_lessons

CASES = [
    pytest.param(lesson, case, id=f"{lesson.id}-{case.name}")
    for lesson in LESSONS
    for case in lesson.cases
]
FAULTS = [p for p in CASES if p.values[1].stock != "right"]
SOUND = [p for p in CASES if p.values[1].stock == "right"]


@pytest.mark.parametrize(("lesson", "case"), CASES)
def test_ours_is_right(lesson: Lesson, case: Case) -> None:
    outcome = reproduce(case, stock=False)
    assert outcome.right, f"lesson {lesson.id}, {case.name}: {outcome}"


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "case"), FAULTS)
def test_stock_tvm_still_has_the_fault(lesson: Lesson, case: Case) -> None:
    outcome = reproduce(case, stock=True)
    where = ", ".join(lesson.where)
    assert not outcome.right, (
        f"lesson {lesson.id}: the installed TVM gets {case.name!r} right. Retire the fix in "
        f"{where} if TVM's own converter now does for every case, then update the table."
    )
    assert (outcome.kind, case.says in outcome.detail) == (case.stock, True), (
        f"lesson {lesson.id}: the installed TVM now ends {case.name!r} in {outcome}; the table "
        f"has {case.stock} {case.says!r}. Check the fix in {where}, then update the table."
    )


@pytest.mark.slow
@pytest.mark.parametrize(("lesson", "case"), SOUND)
def test_stock_tvm_still_gets_it_right(lesson: Lesson, case: Case) -> None:
    outcome = reproduce(case, stock=True)
    assert outcome.right, f"lesson {lesson.id}: a fault came (back) in {case.name!r}: {outcome}"


def test_table_is_in_order_and_its_modules_exist() -> None:
    assert [lesson.id for lesson in LESSONS] == list(range(1, len(LESSONS) + 1))
    names = [case.name for lesson in LESSONS for case in lesson.cases]
    assert len(set(names)) == len(names)
    package = Path(sam3_tvm.__file__).parent
    for lesson in LESSONS:
        assert lesson.cases
        assert all((package / where).is_file() for where in lesson.where), lesson.where


def test_reports_tell_fault_and_remedy() -> None:
    steps: list[tuple[str, int, int]] = []
    negative = Case("x[-1]", lambda x: x[-1], (torch.ones(3, 2),), stock="wrong numbers")
    plain = Case("x + x", lambda x: x + x, (torch.ones(3, 2),))
    lesson = Lesson(1, "title", "symptom", "cause", "fix", (), (negative, plain))
    sound = Lesson(2, "title", "symptom", "cause", "fix", (), (plain,))
    reports = run_lessons(lambda *step: steps.append(step), [lesson, sound])
    assert [(r.fault_remains, r.holds) for r in reports] == [(True, True), (False, True)]
    assert [(done, total) for _, done, total in steps] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def doubling(change: Any) -> Any:
    """A Relax module that gives twice its input (2, 3), changed by a function of that."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        twice = builder.emit(relax.op.add(x, x))
        builder.emit_func_output(builder.emit(change(twice)))
    return builder.get()


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        (lambda r: relax.op.add(r, relax.const(0.25)), "1 of 1 results off, max error 0.25"),
        (lambda r: relax.op.reshape(r, (3, 2)), r"shape \(3, 2\), PyTorch has \(2, 3\)"),
        (lambda r: relax.op.astype(r, "float64"), "dtype torch.float64, PyTorch has torch.float32"),
    ],
    ids=["values", "shape", "dtype"],
)
def test_what_differs_from_pytorch_is_told(change: Any, detail: str) -> None:
    case = Case("", lambda x: x * 2, (torch.ones(2, 3),), transform=lambda _: doubling(change))
    outcome = reproduce(case, stock=False)
    assert outcome.kind == "wrong numbers"
    assert re.search(detail, outcome.detail), outcome


def test_an_operator_that_fell_apart_is_told() -> None:
    case = Case("", lambda x: x * 2, (torch.ones(2),), whole="relax.nn.attention")
    outcome = reproduce(case, stock=False)
    assert outcome.kind == "decomposed"
    assert "relax.nn.attention" in str(outcome)


def test_errors_become_outcomes_of_one_line() -> None:
    outcome = reproduce(Case("", torch.linalg.eigvalsh, (torch.eye(2),)), stock=False)
    assert outcome.kind == "error"
    assert outcome.detail.startswith("UnsupportedOperators: no converter for")
    assert "\n" not in outcome.detail
    with pytest.raises(ValueError, match="neither a module nor a procedure"):
        compare(Case("nothing"), lambda *_: (None, ()))
    assert str(Outcome("right")) == "right"


def test_roi_align_stand_in_is_taken_back() -> None:
    for _ in range(2):
        with roi_align_operator() as operator:
            pooled = operator(torch.ones(1, 1, 4, 4), torch.zeros(1, 5), 1.0, 2, 2, 1, False)
            assert torch.equal(pooled, torch.ones(1, 1, 2, 2))
        assert not hasattr(torch.ops.sam3_lessons, "roi_align")


DOCS = (Path(__file__).parents[2] / "docs" / "lessons.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\d+)\. .*?\n(.*?)(?=^## |\Z)", DOCS, re.DOTALL | re.MULTILINE))


def test_docs_have_a_section_per_lesson_that_agrees_with_the_table() -> None:
    assert [int(n) for n in SECTIONS] == [lesson.id for lesson in LESSONS]
    for lesson in LESSONS:
        text = SECTIONS[str(lesson.id)]
        rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", text, re.MULTILINE))
        stock = {name.replace("`", ""): how for name, how in rows.items() if name[0] not in "-w"}
        for case in lesson.cases:
            how = stock[case.name.replace("`", "")]
            assert how.split(":")[0] == case.stock, f"lesson {lesson.id}: {case.name}"
        for where in lesson.where:
            assert where in text, f"lesson {lesson.id} doesn't name {where}"


@pytest.mark.parametrize("number", [n for n, text in SECTIONS.items() if "```python" in text])
def test_docs_code_does_what_they_say(number: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", SECTIONS[number], re.DOTALL)
    names: dict[str, Any] = {}
    exec(
        "import torch\nimport torch.nn.functional as F\nfrom torch.export import Dim\n" + code,
        names,
    )
    case = Case(
        f"docs, lesson {number}",
        names["forward"],
        names["inputs"],
        names.get("dynamic_shapes"),
        whole=names.get("whole"),
    )
    assert reproduce(case, stock=True).kind == names["stock"]
    ours = reproduce(case, stock=False)
    assert ours.right, ours
