"""Operators that only assert or annotate: their value is their input.

Shape assertions are checked by torch at export time and kept as bounds on the symbolic
sizes (:func:`sam3_tvm.importer.symbolic_bounds`), so the graph needs no code for them.
"""

from __future__ import annotations

from typing import Any

import torch

from sam3_tvm.importer.registry import Context, converter

aten = torch.ops.aten


@converter(aten.alias.default, aten.detach.default, aten.lift_fresh_copy.default)
def identity(cx: Context, self: Any, **_: Any) -> Any:
    return self


@converter(
    aten._assert_scalar.default,
    aten.sym_constrain_range_for_size.default,
    aten.sym_constrain_range.default,
)
def shape_assertion(cx: Context, *args: Any, **_: Any) -> None:
    return None
