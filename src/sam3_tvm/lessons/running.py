"""Runs the table of lessons, through stock TVM's importer and through ours.

:func:`reproduce` runs a case through stock ``from_exported_program`` or through
:func:`sam3_tvm.importer.import_module`, compiles it for the CPU and compares with PyTorch.
The table itself is in :mod:`sam3_tvm.lessons.cases`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import tvm
from tvm.relax.frontend.torch import from_exported_program

from sam3_tvm.errors import Sam3Error
from sam3_tvm.importer.frontend import import_module
from sam3_tvm.lessons.cases import LESSONS
from sam3_tvm.lessons.comparing import compare
from sam3_tvm.lessons.lesson import Case, CaseReport, Importer, Lesson, LessonReport, Outcome
from sam3_tvm.progress import Progress, silent

__all__ = ["reproduce", "run_lessons"]

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
