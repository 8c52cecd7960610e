"""One function of the ABI: sizes to try it at, the reference's results, and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.abi import BATCH, abi
from sam3_tvm.components import Component
from sam3_tvm.sources.base import Source
from sam3_tvm.sources.sampling import sample_inputs
from sam3_tvm.verify.report import Bounds, FunctionRow, VerifyError

__all__ = ["Case", "compare_function", "function_cases", "function_row", "label", "run_reference"]


@dataclass(frozen=True)
class Case:
    """One run of the reference's function, and the sizes at which ours is held against it.

    Attributes:
        dims: the dynamic dimensions of the reference's run.
        compared: those of ours, each with ``dims`` or fewer rows of the batch.
    """

    dims: dict[str, int]
    compared: tuple[dict[str, int], ...]


def function_cases(name: str, source: Source) -> list[Case]:
    """Values of a function's dynamic dimensions: smallest, one of what may be none, odd, largest.

    A picture of SAM 3's size takes PyTorch more than a minute, so at that size two rows are the
    most, and where the batch is all that varies the reference runs once, with two, and ours is
    called with both and with the first.
    """
    dims = abi(source.sizes)[name].dims
    large = source.sizes.image > 512
    if large and {*dims} == {BATCH.name}:
        return [Case({BATCH.name: 2}, ({BATCH.name: 1}, {BATCH.name: 2}))]
    smallest = {d.name: d.min for d in dims.values()}
    one = {d.name: max(d.min, 1) for d in dims.values()}
    odd = {d.name: d.odd for d in dims.values()}
    largest = {d.name: d.max if d.largest is None else d.largest for d in dims.values()}
    if large and BATCH.name in dims:
        odd[BATCH.name], largest[BATCH.name] = 2, 1
    cases = [smallest, one, odd, largest]
    return [Case(c, (c,)) for i, c in enumerate(cases) if c not in cases[:i]]


def label(dims: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in dims.items())


def run_reference(
    source: Source, component: Component, dims: Mapping[str, int]
) -> tuple[list[Any], list[NDArray[Any]]]:
    """Seeded inputs of a function, and what PyTorch makes of them."""
    inputs = sample_inputs(component, dims, source.vocabulary_size(), seed=sum(dims.values()))
    with source.patched(), torch.no_grad():
        wanted = source.component(component.name)(*inputs)
    outputs = wanted if isinstance(wanted, tuple) else (wanted,)
    return [x if isinstance(x, tuple) else x.numpy() for x in inputs], [t.numpy() for t in outputs]


def compare_function(
    call: Any,
    component: Component,
    dims: Mapping[str, int],
    inputs: Sequence[Any],
    wanted: Sequence[NDArray[Any]],
    bounds: Bounds,
) -> list[FunctionRow]:
    """Call ours on the inputs, or on the first rows of their batch, and compare."""
    # A size, unlike a tensor, has no rows; neither has a function without a batch.
    rows = slice(dims.get(BATCH.name))
    got = call(component.name, *(x if isinstance(x, tuple) else x[rows] for x in inputs))
    return [
        function_row(component.name, spec.name, label(dims), ours, reference[rows], bounds)
        for spec, ours, reference in zip(component.outputs, got, wanted, strict=True)
    ]


def function_row(
    name: str,
    output: str,
    case: str,
    ours: NDArray[Any],
    reference: NDArray[Any],
    bounds: Bounds,
) -> FunctionRow:
    if ours.shape != reference.shape or ours.dtype != reference.dtype:
        raise VerifyError(
            f"{name}.{output} ({case}): {ours.dtype}{ours.shape}, "
            f"the reference gives {reference.dtype}{reference.shape}"
        )
    if ours.dtype == np.bool_:
        share = float(np.mean(ours != reference)) if ours.size else 0.0
        worst, mean, relative = float(share > 0), share, share
    else:
        error = np.abs(ours - reference)
        worst = float(error.max(initial=0.0))
        mean = float(error.mean(dtype=np.float64)) if error.size else 0.0
        # Of logits an error counts by what it does to a probability, at most a quarter of it; the
        # presence of one prompt is a single number, which may be as close to 0 as it likes.
        least = 1.0 if output.endswith("logits") else 1e-30
        # NaN anywhere fails every comparison below, as it should.
        relative = worst / max(float(np.abs(reference).max(initial=0.0)), least)
    ok = relative <= bounds.function
    return FunctionRow(name, output, case, worst, mean, relative, bounds.function, ok)
