"""Compiles a case of a lesson as an importer gives it, and compares with PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import tvm
from tvm import relax

from sam3_tvm.lessons.lesson import Case, Importer, Outcome
from sam3_tvm.linking import Linker, find_linker

__all__ = ["compare"]

_GUARD = 64  # bytes; also the alignment that TVM assumes


class _Function(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


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
    executable = tvm.compile(mod, "llvm")
    executable.jit(fcompile=_linker())
    machine = relax.VirtualMachine(executable, tvm.cpu())
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


@cache
def _linker() -> Linker:
    return find_linker(crossing=True)


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
