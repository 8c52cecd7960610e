"""Sums of products of complex tensors in real ones (see complex_numbers)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sam3_tvm.importer.complex_numbers import Emitter, Pair, rule

aten = torch.ops.aten


@rule(aten.einsum.default)
def einsum(
    e: Emitter, equation: str, tensors: Sequence[Any], path: Sequence[int] | None = None
) -> Pair:
    """Linear in each factor, so a sum over the ways to take one part of each; a part that is
    imaginary brings a factor of i."""
    parts = [e.parts(tensor) for tensor in tensors]  # PyTorch takes no real factor among them
    sums: list[fx.Node | None] = [None, None]
    for which in itertools.product((0, 1), repeat=len(parts)):
        factors = [pair[i] for pair, i in zip(parts, which, strict=True)]
        term = e.call(aten.einsum.default, equation, factors, path=path)
        turns = sum(which)
        part, negative = turns % 2, turns % 4 >= 2
        total = sums[part]
        if total is None:
            sums[part] = e.call(aten.neg.default, term) if negative else term
        else:
            sums[part] = e.call(aten.sub.Tensor if negative else aten.add.Tensor, total, term)
    real, imag = sums
    return e.join(real, imag)
