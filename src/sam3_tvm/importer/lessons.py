"""The lessons of the way from PyTorch to Relax, as a table that can be run.

Each lesson is a fault that stock TVM's importer had or has, with small modules that show
it. :func:`reproduce` runs such a case through stock ``from_exported_program`` or through
:func:`sam3_tvm.importer.import_module`, compiles it for the CPU and compares with PyTorch.
The table itself is in :mod:`sam3_tvm.importer.lesson_cases`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import tvm
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from sam3_tvm.errors import Sam3Error
from sam3_tvm.importer.frontend import import_module
from sam3_tvm.progress import Progress, silent

__all__ = [
    "Case",
    "CaseReport",
    "Importer",
    "Kind",
    "Lesson",
    "LessonReport",
    "Outcome",
    "compare",
    "reproduce",
    "run_lessons",
]

Kind = Literal["right", "wrong numbers", "decomposed", "error"]
"""How a case ends. ``decomposed``: right, but an operator that was to stay whole fell apart."""

Importer = Callable[..., tuple[tvm.IRModule, Sequence[Any]]]
"""``(module, example_args, dynamic_shapes) -> (IRModule, arguments after the inputs)``."""

# What importing, compiling and running is known to end in: torch.export's errors derive
# from RuntimeError, TVM's from these built-in classes.
_FAILURES = (
    Sam3Error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)

_GUARD = 64  # bytes; also the alignment that TVM assumes


@dataclass(frozen=True)
class Outcome:
    """How one case ended on one importer.

    Attributes:
        kind: see :data:`Kind`.
        detail: the error's first line, or what differs from PyTorch; empty when right.
        max_error: largest absolute difference from PyTorch over all results; None where
            nothing could be compared (an error, another shape or dtype).
    """

    kind: Kind
    detail: str = ""
    max_error: float | None = None

    @property
    def right(self) -> bool:
        return self.kind == "right"

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


@dataclass(frozen=True)
class Case:
    """A small module that shows a fault, or that must stay free of it.

    Attributes:
        name: what the module does.
        module: a module, or a function of the inputs.
        args: example inputs, tensors.
        dynamic_shapes: one entry per input, as for :func:`torch.export.export`.
        also: further inputs on which the compiled module is compared.
        stock: how it ends in the TVM that the table was made with.
        says: text within the detail of that outcome.
        whole: an operator that must be in the imported module (``"relax.nn.attention"``).
        decompose: whether stock TVM runs its decompositions first (its default).
        transform: applied to the imported module before it is built.
        procedure: takes the place of all of the above where a comparison of numbers
            isn't the point; it is given the importer.
        tolerance: relative to the largest reference value of a result.
    """

    name: str
    module: torch.nn.Module | Callable[..., Any] | None = None
    args: tuple[torch.Tensor, ...] = ()
    dynamic_shapes: Any = None
    also: tuple[tuple[torch.Tensor, ...], ...] = ()
    stock: Kind = "right"
    says: str = ""
    whole: str | None = None
    decompose: bool = True
    transform: Callable[[tvm.IRModule], tvm.IRModule] | None = None
    procedure: Callable[[Importer], Outcome] | None = None
    tolerance: float = 1e-5


@dataclass(frozen=True)
class Lesson:
    """One row of the table.

    Attributes:
        id: 1 to 8 as first learnt; from 9 on, what was met later.
        title: a few words.
        symptom: what one saw.
        cause: why.
        fix: what this importer does instead.
        where: modules of ours that do it, relative to ``sam3_tvm``.
        cases: reproductions.
    """

    id: int
    title: str
    symptom: str
    cause: str
    fix: str
    where: tuple[str, ...]
    cases: tuple[Case, ...]


@dataclass(frozen=True)
class CaseReport:
    """One case on both importers."""

    case: Case
    stock: Outcome
    ours: Outcome


@dataclass(frozen=True)
class LessonReport:
    """One lesson on both importers."""

    lesson: Lesson
    cases: tuple[CaseReport, ...]

    @property
    def fault_remains(self) -> bool:
        """Whether the installed TVM, by itself, gets any of the cases wrong."""
        return any(not c.stock.right for c in self.cases)

    @property
    def as_recorded(self) -> bool:
        """Whether the installed TVM does what the table says of the one it was made with."""
        return all(
            c.stock.kind == c.case.stock and c.case.says in c.stock.detail for c in self.cases
        )

    @property
    def holds(self) -> bool:
        """Whether this importer gets all of them right."""
        return all(c.ours.right for c in self.cases)


class _Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def _stock_importer(decompose: bool) -> Importer:
    """TVM's importer as its documentation has it used."""

    def stock(
        module: torch.nn.Module, args: Sequence[Any], dynamic_shapes: Any = None
    ) -> tuple[tvm.IRModule, Sequence[Any]]:
        with torch.no_grad():
            program = torch.export.export(module.eval(), tuple(args), dynamic_shapes=dynamic_shapes)
            return from_exported_program(program, run_ep_decomposition=decompose), ()

    return stock


def _our_importer(
    module: torch.nn.Module, args: Sequence[Any], dynamic_shapes: Any = None
) -> tuple[tvm.IRModule, Sequence[Any]]:
    mod, params = import_module(module, args, dynamic_shapes)
    return mod, list(params.values())


def reproduce(case: Case, stock: bool) -> Outcome:
    """Import, compile and run a case, and compare with PyTorch.

    Args:
        case: what to run.
        stock: through TVM's own importer instead of this package's.
    """
    importer = _stock_importer(case.decompose) if stock else _our_importer
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return case.procedure(importer) if case.procedure else compare(case, importer)
    except _FAILURES as error:
        lines = str(error).strip().splitlines()
        return Outcome("error", f"{type(error).__name__}: {lines[0] if lines else ''}")


def run_lessons(
    progress: Progress | None = None, lessons: Sequence[Lesson] | None = None
) -> list[LessonReport]:
    """Run the table on both importers, in about half a minute.

    Args:
        progress: told of each case as it begins.
        lessons: which rows; the whole table unless given.

    Returns:
        A report per lesson, in their order.
    """
    from sam3_tvm.importer.lesson_cases import LESSONS

    progress = progress or silent
    lessons = LESSONS if lessons is None else lessons
    total = sum(len(lesson.cases) for lesson in lessons)
    reports, done = [], 0
    for lesson in lessons:
        cases = []
        for case in lesson.cases:
            progress(f"lesson {lesson.id}: {case.name}", done, total)
            cases.append(CaseReport(case, reproduce(case, True), reproduce(case, False)))
            done += 1
        reports.append(LessonReport(lesson, tuple(cases)))
    progress("done", done, total)
    return reports


def compare(case: Case, importer: Importer) -> Outcome:
    """Run a case on one importer; errors go through to the caller."""
    module, dynamic_shapes = case.module, case.dynamic_shapes
    if module is None:
        raise ValueError(f"case {case.name!r} has neither a module nor a procedure")
    if not isinstance(module, torch.nn.Module):
        module = _Function(module)
        dynamic_shapes = None if dynamic_shapes is None else (tuple(dynamic_shapes),)
    mod, params = importer(module, case.args, dynamic_shapes)
    fell_apart = case.whole is not None and case.whole not in _operators(mod)
    if case.transform is not None:
        mod = case.transform(mod)
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    got, want = [], []
    for inputs in (case.args, *case.also):
        result = machine["main"](*map(_guarded, inputs), *params)
        got += [result] if hasattr(result, "numpy") else list(result)
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(module(*inputs))
        want += [torch.as_tensor(e) for e in expected if e is not None]
    outcome = _difference([torch.from_dlpack(g) for g in got], want, case.tolerance)
    if outcome.right and fell_apart:
        return Outcome("decomposed", f"no {case.whole} left in the module", outcome.max_error)
    return outcome


def _operators(mod: tvm.IRModule) -> set[str]:
    """Names of all Relax operators that a module calls."""
    names: set[str] = set()

    def visit(expr: Any) -> None:
        if isinstance(expr, relax.Call) and isinstance(expr.op, tvm.ir.Op):
            names.add(expr.op.name)

    for function in mod.functions.values():
        if isinstance(function, relax.Function):
            relax.analysis.post_order_visit(function, visit)
    return names


def _guarded(value: torch.Tensor) -> Any:
    """A copy for TVM that lies aligned between known bytes as long as itself.

    A fault that reads just outside a tensor then gives known wrong numbers instead of
    whatever lies there.
    """
    size = value.numel() * value.element_size()
    if not size:
        return tvm.runtime.from_dlpack(value.contiguous())
    before = -(-size // _GUARD) * _GUARD
    raw = np.full(2 * before + size + _GUARD, 0x40, dtype=np.uint8)
    start = before + -(raw.ctypes.data + before) % _GUARD
    copy = torch.frombuffer(raw, dtype=value.dtype, count=value.numel(), offset=start)
    copy = copy.view(value.shape)
    copy.copy_(value)
    return tvm.runtime.from_dlpack(copy)


def _difference(
    got: Sequence[torch.Tensor], want: Sequence[torch.Tensor], tolerance: float
) -> Outcome:
    if len(got) != len(want):
        return Outcome("wrong numbers", f"{len(got)} results, PyTorch has {len(want)}")
    wrong, largest, detail = 0, 0.0, ""
    for ours, reference in zip(got, want, strict=True):
        reference = torch.view_as_real(reference) if reference.is_complex() else reference
        for what, a, b in (
            ("shape", tuple(ours.shape), tuple(reference.shape)),
            ("dtype", ours.dtype, reference.dtype),
        ):
            if a != b:
                return Outcome("wrong numbers", f"{what} {a}, PyTorch has {b}")
        a, b = ours.to(torch.float64), reference.to(torch.float64)
        # Equal infinities differ by nan, and so do two nan: neither is an error.
        error = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs())
        error = error.nan_to_num(nan=float("inf"), posinf=float("inf"))
        finite = b[b.isfinite()].abs()
        scale = max(1.0, float(finite.max())) if finite.numel() else 1.0
        worst = float(error.max()) if error.numel() else 0.0
        largest = max(largest, worst)
        wrong += worst > tolerance * scale
    if wrong:
        detail = f"{wrong} of {len(want)} results off, max error {largest:.3g}"
    return Outcome("wrong numbers" if wrong else "right", detail, largest)
