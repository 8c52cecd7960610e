"""Arithmetic on sizes: what torch records as Python operators on symbolic integers.

Lesson 4: shapes and guards compare and combine sizes, which are no tensors. torch knows
the value of each such node as an expression of the input sizes, so the node is replaced
by that expression. Only numbers that come out of tensors (``item()``) and floats are
computed, as 0-d tensors.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from tvm import relax, tirx

from sam3_tvm.importer.registry import Context, converter, is_symbolic

aten = torch.ops.aten

_ON_TENSORS: dict[str, Callable[..., relax.Expr]] = {
    "add": relax.op.add,
    "sub": relax.op.subtract,
    "mul": relax.op.multiply,
    "truediv": relax.op.divide,
    "floordiv": lambda a, b: relax.op.floor(relax.op.divide(a, b)),
    "mod": relax.op.floor_mod,
    "pow": relax.op.power,
    "neg": relax.op.negative,
    "eq": relax.op.equal,
    "ne": relax.op.not_equal,
    "lt": relax.op.less,
    "le": relax.op.less_equal,
    "gt": relax.op.greater,
    "ge": relax.op.greater_equal,
    "and_": relax.op.logical_and,
    "or_": relax.op.logical_or,
    "sym_not": relax.op.logical_not,
    "sym_max": relax.op.maximum,
    "sym_min": relax.op.minimum,
    "sym_ite": relax.op.where,
    "sym_float": lambda a: a,
    "pos": lambda a: a,
    "abs": relax.op.abs,
    "floor": relax.op.floor,
    "ceil": relax.op.ceil,
    "trunc": relax.op.trunc,
    "round": relax.op.round,
    "_sym_sqrt": relax.op.sqrt,
}

_COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}


@converter(
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    operator.pow,
    operator.neg,
    operator.pos,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.and_,
    operator.or_,
    math.floor,
    math.ceil,
    math.trunc,
    round,
    abs,
    torch.sym_max,
    torch.sym_min,
    torch.sym_not,
    torch.sym_ite,
    torch.sym_float,
    torch._sym_sqrt,
)
def size_arithmetic(cx: Context, *args: Any) -> Any:
    """A Python operator on sizes: a Python number, a TIR expression, or a 0-d tensor."""
    from_data = any(isinstance(a, relax.Expr) and not is_symbolic(a) for a in args)
    if isinstance(cx.result, torch.SymInt | torch.SymBool):
        if not from_data:
            return cx.sizes.expr(cx.result)
    elif not isinstance(cx.result, torch.SymFloat):
        return cx.result
    return _on_tensors(cx, args)


def _on_tensors(cx: Context, args: tuple[Any, ...]) -> relax.Expr:
    """The operator in float64, Python's float, or in int64 where operands and result are."""
    name = cx.node.target.__name__
    dtypes = [
        a.ty.dtype.dtype if isinstance(a, relax.Expr) and not is_symbolic(a) else type(a).__name__
        for a in args
    ]
    floats = any(d.startswith("float") for d in dtypes) or isinstance(cx.result, torch.SymFloat)
    number = "float64" if floats else "int64"
    condition = name in ("and_", "or_", "sym_not")
    tensors = [
        cx.tensor(a, "bool" if condition or (name == "sym_ite" and i == 0) else number)
        for i, a in enumerate(args)
    ]
    if name == "floordiv" and not floats:
        found = cx.emit(relax.op.floor_divide(*tensors))
    else:
        found = cx.emit(_ON_TENSORS[name](*tensors))
    if condition or name in _COMPARISONS:
        return found
    return cx.cast(found, "int64" if isinstance(cx.result, torch.SymInt) else "float64")


@converter(aten.sym_size.int, aten.sym_numel.default, aten.sym_storage_offset.default)
def sym_size(cx: Context, self: relax.Expr, **_: Any) -> Any:
    return cx.sizes.expr(cx.result) if isinstance(cx.result, torch.SymInt) else int(cx.result)


@converter(aten.item.default, aten._local_scalar_dense.default)
def item(cx: Context, self: relax.Expr) -> Any:
    """The only element of a tensor: a size if it can't be negative, else a 0-d tensor.

    Relax takes shape variables to be non-negative, so only a number that the model has
    checked (``torch._check(n >= 0)``) may become one.
    """
    value = cx.result
    single = cx.reshape(self, ())
    if not isinstance(value, torch.SymInt):
        return cx.cast(single, "float64") if isinstance(value, torch.SymFloat) else single
    symbol = value.node.expr
    single = cx.cast(single, "int64")
    if not symbol.is_Symbol or cx.sizes.ranges.get(str(symbol), (-1, None))[0] < 0:
        return single
    variable = tirx.Var(str(symbol), "int64")
    shape = cx.emit(relax.op.tensor_to_shape(cx.reshape(single, (1,))))
    cx.builder.match_cast(shape, relax.ShapeType([variable]))
    cx.sizes.define(str(symbol), variable)
    return variable


@converter(aten.scalar_tensor.default)
def scalar_tensor(cx: Context, s: Any, **_: Any) -> relax.Expr:
    return cx.tensor(s, cx.dtype)


@converter(aten._assert_tensor_metadata.default)
def tensor_metadata(cx: Context, *args: Any, **_: Any) -> None:
    return None


@converter(operator.getitem)
def getitem(cx: Context, container: Any, index: int) -> Any:
    """An entry of a multi-valued operator's result."""
    if isinstance(container, relax.Expr):
        return cx.emit(relax.TupleGetItem(container, index))
    return container[index]
