"""What a lesson is: a fault of stock TVM's importer, with small modules that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import tvm

__all__ = ["Case", "CaseReport", "Importer", "Kind", "Lesson", "LessonReport", "Outcome"]

Kind = Literal["right", "wrong numbers", "decomposed", "error"]
"""How a case ends. ``decomposed``: right, but an operator that was to stay whole fell apart."""

Importer = Callable[..., tuple[tvm.IRModule, Sequence[Any]]]
"""``(module, example_args, dynamic_shapes) -> (IRModule, arguments after the inputs)``."""


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
    def holds(self) -> bool:
        """Whether this importer gets all of them right."""
        return all(c.ours.right for c in self.cases)
