"""Gives every product of two activations its kernel; einsum of two operands becomes one.

Runs after DispatchLinear, which takes the products with weights. Operands of any rank from 2
up: batch axes are flattened where they agree or one operand has none, and broadcast where
they differ. A second operand that is a transposition of its last two axes is read as stored. A
column ``[..., M, 1]`` that is added to a product joins its kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import tvm
from tvm import relax

from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    float32_shape_of,
    same_shape,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.product.matmul import MatmulSpec, kernel_name, matmul_kernel
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchMatmul"]

Expr = Any


@tvm.ir.transform.module_pass(opt_level=0, name="DispatchMatmul")
class DispatchMatmul:
    """The pass. Products in other dtypes than float32, and of vectors, are left as they are."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(rewrite_bindings(mod, _find_einsums), self._find_products)

    def _find_products(self, func: relax.Function) -> dict[Expr, NewValue]:
        flow = Dataflow(func)
        found: dict[Expr, NewValue] = {}
        for binding in flow.bindings:
            product = _match_product(flow, binding)
            if product is not None:
                found[binding.var] = partial(_dispatched, self.target, binding.var, product)
        return found


def _find_einsums(func: relax.Function) -> dict[Expr, NewValue]:
    return {
        binding.var: partial(_expanded, binding.value)
        for binding in Dataflow(func).bindings
        if _is_expandable(binding)
    }


def _is_expandable(binding: Expr) -> bool:
    """Whether an einsum is a product of two operands."""
    call = call_of(binding.value, "relax.einsum")
    if call is None or float32_shape_of(binding.var) is None or len(_fields(call)) != 2:
        return False
    shapes = [float32_shape_of(operand) for operand in _fields(call)]
    labels = _labels(call)
    if labels is None or any(s is None for s in shapes):
        return False
    # Equal labels must mean equal sizes: einsum also broadcasts axes of size 1.
    sizes: dict[str, Expr] = {}
    return all(
        same_shape([sizes.setdefault(axis, size)], [size])
        for names, shape in zip(labels[:2], shapes, strict=True)
        for axis, size in zip(names, shape or [], strict=True)
    )


def _expanded(call: Expr, emit: Emit) -> Expr:
    """einsum of two operands -> permute, reshape, matmul, reshape, permute."""
    left, right, out = _labels(call) or ("", "", "")
    a, b = _fields(call)
    size = dict(zip(left, shape_of(a) or [], strict=True))
    size |= dict(zip(right, shape_of(b) or [], strict=True))
    batch = [i for i in left if i in right and i in out]
    inner = [i for i in left if i in right and i not in out]
    rows = [i for i in left if i not in right]
    columns = [i for i in right if i not in left]

    def arranged(operand: Expr, names: str, *groups: list[str]) -> Expr:
        """Axes permuted into these groups, each group one axis (the batch axes kept)."""
        order = [names.index(i) for group in groups for i in group]
        if order != sorted(order):
            operand = emit(relax.op.permute_dims(operand, order))
        merged = [size[i] for i in groups[0]] + [_product(size, g) for g in groups[1:]]
        return emit(relax.op.reshape(operand, merged))

    first = arranged(a, left, batch, rows, inner)
    # Of the two orders of B the one that it is stored in.
    if _is_sorted(right, batch + inner + columns) or not _is_sorted(right, batch + columns + inner):
        second = arranged(b, right, batch, inner, columns)
    else:
        stored = arranged(b, right, batch, columns, inner)
        swap = [*range(len(batch)), len(batch) + 1, len(batch)]
        second = emit(relax.op.permute_dims(stored, swap))
    result = emit(relax.op.matmul(first, second))
    made = batch + rows + columns
    result = relax.op.reshape(result, [size[i] for i in made])
    if made == list(out):
        return result
    return relax.op.permute_dims(emit(result), [made.index(i) for i in out])


def _fields(call: Expr) -> list[Expr]:
    operands = call.args[0]
    return list(operands.fields) if isinstance(operands, relax.Tuple) else []


def _labels(call: Expr) -> tuple[str, str, str] | None:
    """Axis labels of both operands and the result; None where it is more than a product."""
    text = str(call.attrs.subscripts).replace(" ", "")
    inputs, arrow, out = text.partition("->")
    left, _, right = inputs.partition(",")
    if not arrow:
        return None
    for names in (left, right, out):
        if not (names == "" or names.isalpha()) or len(set(names)) != len(names):
            return None
    summed_alone = (set(left) ^ set(right)) - set(out)
    return None if summed_alone else (left, right, out)


def _product(size: dict[str, Expr], names: list[str]) -> Expr:
    return prod((size[i] for i in names), start=tvm.tirx.const(1, "int64"))


def _is_sorted(names: str, order: list[str]) -> bool:
    return [i for i in names if i in order] == order


@dataclass(frozen=True)
class _Product:
    """``a @ b``, B's last two axes swapped in memory where ``transposed``, and the column that is
    added to it, if one is."""

    a: Expr
    b: Expr
    transposed: bool
    column: Expr | None


def _match_product(flow: Dataflow, binding: Expr) -> _Product | None:
    """The product whose kernel gives this binding's value."""
    call, column = _biased(flow, binding.value) or (binding.value, None)
    if column is None:
        user = flow.only_user(binding.var)
        if not _is_product(call) or (user is not None and _takes(flow, user, call)):
            return None
    a, b = call.args
    stored = _stored(flow, b)
    return _Product(a, b if stored is None else stored, stored is not None, column)


def _is_product(value: Expr) -> bool:
    call = call_of(value, "relax.matmul")
    if call is None or float32_shape_of(call) is None:
        return False
    return all(len(float32_shape_of(operand) or []) >= 2 for operand in call.args)


def _biased(flow: Dataflow, value: Expr) -> tuple[Expr, Expr] | None:
    """The product and the column, where ``value`` adds the two and nothing else reads the
    product."""
    if call_of(value, "relax.add") is None:
        return None
    for product, column in (value.args, value.args[::-1]):
        if _is_product(flow.definition(product)):
            rows, column_rows = float32_shape_of(product) or [], float32_shape_of(column) or []
            alone = flow.only_user(product) is not None
            one = tvm.tirx.const(1, "int64")
            if alone and same_shape([*rows[:-1], one], column_rows):
                return flow.definition(product), column
    return None


def _takes(flow: Dataflow, user: Expr, product: Expr) -> bool:
    """Whether the variable ``user`` gets a kernel that computes the product too."""
    biased = _biased(flow, flow.definition(user))
    return biased is not None and biased[0].same_as(product)


def _stored(flow: Dataflow, b: Expr) -> Expr | None:
    """What B is the transposition of, in its last two axes; None where it is none."""
    call = call_of(flow.definition(b), "relax.permute_dims")
    if call is None:
        return None
    rank = b.ty.ndim
    swap = [*range(rank - 2), rank - 1, rank - 2]
    axes = call.attrs.axes
    order = [*reversed(range(rank))] if axes is None else [int(i) % rank for i in axes]
    return call.args[0] if order == swap else None


def _dispatched(target: CpuTarget, var: Expr, product: _Product, emit: Emit) -> Expr:
    """The call of the kernel, on operands with one batch axis."""
    a, b, column, shape = product.a, product.b, product.column, shape_of(var) or []
    a_shape, b_shape = shape_of(a) or [], shape_of(b) or []
    a_batch, b_batch, batch = a_shape[:-2], b_shape[:-2], shape[:-2]
    m, k, n = a_shape[-2], a_shape[-1], shape[-1]
    if _is_one(b_batch):
        # One B for all: its batch is more rows of A.
        m, batch, a_batch = _volume([*a_batch, m]), [], []
    elif not _is_one(a_batch) and not same_shape(a_batch, b_batch):
        a = emit(relax.op.broadcast_to(a, [*batch, *a_shape[-2:]]))
        b = emit(relax.op.broadcast_to(b, [*batch, *b_shape[-2:]]))
        a_batch = b_batch = batch
    spec = MatmulSpec(
        static_int(n),
        static_int(k),
        product.transposed,
        not _is_one(a_batch),
        not _is_one(b_batch),
        bias=column is not None,
    )
    args = [
        emit(relax.op.reshape(a, (_volume(a_batch), m, k))),
        emit(relax.op.reshape(b, (_volume(b_batch), *b_shape[-2:]))),
    ]
    if column is not None:
        args.append(emit(relax.op.reshape(column, (_volume(batch), m))))
    kernel = emit.kernel(kernel_name(spec), matmul_kernel(target, spec))
    result = relax.TensorType((_volume(batch), m, n), "float32")
    return relax.op.reshape(emit(relax.call_tir(kernel, args, result)), shape)


def _is_one(batch: list[Expr]) -> bool:
    return all(static_int(d) == 1 for d in batch)


def _volume(dims: list[Expr]) -> Expr:
    return prod(dims, start=tvm.tirx.const(1, "int64"))
