"""A sweep over torch's own database of operators: which are right after import and compilation.

``torch.testing._internal.common_methods_invocations.op_db`` lists some 700 operators with
sample arguments. Each sample's tensors become inputs of a module that calls the operator; it is
imported, compiled and compared with PyTorch, values, dtype and shape. The module needs the
package ``expecttest``.

    PYTHONPATH=src python -m tests.zoo operators            # the table, as Markdown
    PYTHONPATH=src python -m tests.zoo operators fft cdist  # those whose name has one of these
"""

from __future__ import annotations

import collections
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import tvm
from torch.utils import _pytree as pytree
from tvm import relax

from sam3_tvm.errors import Sam3Error
from sam3_tvm.importer import UnsupportedOperators, import_module

__all__ = ["Row", "main", "rows", "table"]

DTYPES = (torch.float32, torch.int64, torch.bool)
SAMPLES = 3
"""How many of the samples of an operator and dtype are tried, spread over all there are."""

TOLERANCE = {torch.float32: 1e-4, torch.complex64: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-1}

OUTSIDE = ("jiterator", "sparse", "to_sparse", "torch._scaled_mm", "resize_", "_flash_attention")
"""What is no operator for a compiled CPU model: CUDA's, sparse layouts, storage."""


@dataclass(frozen=True)
class Row:
    """What became of one operator.

    Attributes:
        name: torch's name, with the variant.
        outcome: ``right``, ``wrong``, ``refused``, ``error``, ``random``, ``not exportable``.
        detail: the ATen operators that were refused, or the first difference or error.
        tried: how many samples.
    """

    name: str
    outcome: str
    detail: str
    tried: int


class _Call(torch.nn.Module):
    """An operator as a module whose inputs are the tensors among the sample's arguments."""

    def __init__(self, function: Callable[..., Any], sample: Any) -> None:
        super().__init__()
        leaves, self.spec = pytree.tree_flatten((sample.input, tuple(sample.args), sample.kwargs))
        self.function = function
        self.fixed = [None if isinstance(v, torch.Tensor) else v for v in leaves]
        self.places = [i for i, v in enumerate(leaves) if isinstance(v, torch.Tensor)]
        self.tensors = [_dense(leaves[i].detach()) for i in self.places]

    def forward(self, *tensors: torch.Tensor) -> Any:
        leaves = list(self.fixed)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        first, args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        found = self.function(first, *args, **kwargs)
        return tuple(v for v in pytree.tree_leaves(found) if isinstance(v, torch.Tensor))


def _real(value: torch.Tensor) -> torch.Tensor:
    return torch.view_as_real(value.resolve_conj()).contiguous() if value.is_complex() else value


def _dense(value: torch.Tensor) -> torch.Tensor:
    """A copy whose strides are plain, also where an axis of extent 1 would leave them open."""
    return torch.empty(value.shape, dtype=value.dtype).copy_(value)


def _compiled(call: _Call) -> list[np.ndarray]:
    """The operator's results after import and compilation."""
    mod, params = import_module(call, tuple(call.tensors))
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    inputs = [tvm.runtime.tensor(_real(t).resolve_neg().numpy()) for t in call.tensors]
    found = machine["main"](*inputs, *params.values())
    return [found] if isinstance(found, tvm.runtime.Tensor) else list(found)


def _difference(found: Sequence[Any], wanted: Sequence[torch.Tensor]) -> str | None:
    """The first difference in number, shape, dtype or values, or None."""
    if len(found) != len(wanted):
        return f"{len(found)} results, PyTorch has {len(wanted)}"
    for ours, theirs in zip(found, wanted, strict=True):
        theirs = _real(theirs).resolve_neg()
        if tuple(ours.shape) != tuple(theirs.shape):
            return f"shape {tuple(ours.shape)}, PyTorch has {tuple(theirs.shape)}"
        if str(ours.dtype) != str(theirs.dtype).removeprefix("torch."):
            return f"dtype {ours.dtype}, PyTorch has {theirs.dtype}"
        a = torch.from_dlpack(ours).double().numpy()
        b = theirs.double().numpy()
        close = TOLERANCE.get(theirs.dtype, 1e-8)
        if not np.allclose(a, b, rtol=close, atol=close, equal_nan=True):
            unlike = ~np.isclose(a, b, rtol=close, atol=close, equal_nan=True)
            return f"{a[unlike][0]:.6g}, PyTorch has {b[unlike][0]:.6g}"
    return None


def _judge(call: _Call) -> tuple[str, str]:
    """Outcome and detail of one sample."""
    torch.manual_seed(0)
    wanted = call(*call.tensors)
    torch.manual_seed(1)
    if _varies(wanted, call(*call.tensors)):
        return "random", ""
    if not call.tensors or not wanted:
        return "skipped", ""
    try:
        torch.export.export(call, tuple(call.tensors), strict=False)
    except Exception as error:  # torch's, of many kinds
        return "not exportable", _first_line(error)
    try:
        found = _compiled(call)
    except UnsupportedOperators as error:
        return "refused", ", ".join(sorted(error.operators))
    except Sam3Error as error:
        return "refused", _first_line(error)
    except Exception as error:  # what a converter or TVM raises is the finding
        return "error", f"{type(error).__name__}: {_first_line(error)}"
    difference = _difference(found, wanted)
    return ("wrong", difference) if difference else ("right", "")


def _varies(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> bool:
    return any(
        a.shape != b.shape
        or not torch.equal(torch.nan_to_num(_real(a)), torch.nan_to_num(_real(b)))
        for a, b in zip(first, second, strict=True)
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if type(error).__module__.startswith("tvm") else (lines or [""])[0])[:160]


def _samples(operator: Any, dtype: torch.dtype) -> Iterator[_Call]:
    """Samples that PyTorch itself computes."""
    try:
        found = list(operator.sample_inputs("cpu", dtype, requires_grad=False))
    except Exception:  # the database has no samples of this dtype
        return
    step = max(1, len(found) // SAMPLES)
    for sample in found[::step][:SAMPLES]:
        call = _Call(operator.op, sample)
        try:
            call(*call.tensors)
        except Exception:  # a sample that PyTorch itself refuses
            continue
        yield call


_WORST = ("wrong", "error", "refused", "not exportable", "random", "right", "skipped")


def rows(names: Sequence[str] = ()) -> list[Row]:
    """One row per operator of torch's database, in its order.

    Args:
        names: only operators whose name contains one of these; all if none is given.
    """
    from torch.testing._internal.common_methods_invocations import op_db

    found = []
    for operator in op_db:
        name = " ".join(filter(None, (operator.name, operator.variant_test_name)))
        chosen = not names or any(part in name for part in names)
        if not chosen or name.startswith(OUTSIDE):
            continue
        outcomes: list[tuple[str, str]] = []
        for dtype in DTYPES:
            if dtype in operator.dtypes:
                outcomes += map(_judge, _samples(operator, dtype))
        if outcomes:
            outcome, detail = min(outcomes, key=lambda pair: _WORST.index(pair[0]))
            found.append(Row(name, outcome, detail, len(outcomes)))
            print(f"{outcome:15} {name}: {detail}", file=sys.stderr, flush=True)
    return found


def table(found: Sequence[Row]) -> str:
    """Markdown: how many operators ended how, and all that are not right by name."""
    counts = collections.Counter(row.outcome for row in found)
    lines = ["| Outcome | Operators |", "|---|---|"]
    lines += [f"| {outcome} | {counts[outcome]} |" for outcome in _WORST[::-1] if counts[outcome]]
    for outcome in _WORST:
        if counts[outcome] and outcome not in ("right", "skipped"):
            lines += ["", f"{outcome.capitalize()}:", ""]
            lines += [f"- `{r.name}`: {r.detail}" for r in found if r.outcome == outcome]
    return "\n".join(lines)


def main(arguments: Sequence[str] = ()) -> int:
    """Print the table; 1 if an operator is wrong or fails otherwise than by a refusal."""
    warnings.simplefilter("ignore")
    found = rows(arguments)
    print(table(found))
    return int(any(row.outcome in ("wrong", "error") for row in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
