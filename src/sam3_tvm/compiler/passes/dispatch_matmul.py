"""Gives every product of two activations its kernel; einsum of two operands becomes one.

Runs after DispatchLinear, which takes the products with weights. Operands of any rank from 2
up: batch axes are flattened where they agree or one operand has none, and broadcast where
they differ. A second operand that is a transposition of its last two axes is read as stored. A
column ``[..., M, 1]`` that is added to a product joins its kernel.
"""

from __future__ import annotations

from math import prod
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.compiler.kernels.matmul import MatmulSpec, kernel_name, matmul_kernel
from sam3_tvm.compiler.passes.dataflow import Dataflow, call_of, same_shape, shape_of, static_int
from sam3_tvm.compiler.target import CpuTarget

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
        for step in (_EinsumExpander, _Dispatcher):
            mod = relax.transform.Normalize()(mod)
            rewriter = step(mod, self.target)
            for gvar, func in mod.functions_items():
                if isinstance(func, relax.Function):
                    rewriter.flow = Dataflow(func)
                    if any(map(rewriter.applies, rewriter.flow.bindings)):
                        rewritten = rewriter.visit_expr(func)
                        rewriter.builder_.update_func(
                            gvar, relax.analysis.remove_all_unused(rewritten)
                        )
            mod = rewriter.builder_.get()
        return mod


class _Rewriter(PyExprMutator):
    """Replaces the values of the bindings that a step applies to."""

    flow: Dataflow

    def __init__(self, mod: tvm.IRModule, target: CpuTarget) -> None:
        super().__init__(mod)
        self.target = target

    def applies(self, binding: Expr) -> bool:
        """Whether the binding is one for :meth:`rewrite`."""
        raise NotImplementedError

    def rewrite(self, call: Expr, shape: list[Expr]) -> Expr:
        """The new value; ``shape`` is its shape."""
        raise NotImplementedError

    def visit_var_binding_(self, binding: relax.VarBinding) -> None:
        if self.applies(binding):
            value = self.rewrite(binding.value, shape_of(binding.var) or [])
            binding = relax.VarBinding(binding.var, value)
        super().visit_var_binding_(binding)

    def emit(self, value: Expr) -> Expr:
        return self.builder_.emit(value)


@mutator
class _EinsumExpander(_Rewriter):
    """einsum of two operands -> permute, reshape, matmul, reshape, permute."""

    def applies(self, binding: Expr) -> bool:
        call = call_of(binding.value, "relax.einsum")
        if call is None or shape_of(binding.var) is None or len(_fields(call)) != 2:
            return False
        shapes = [shape_of(operand) for operand in _fields(call)]
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

    def rewrite(self, call: Expr, shape: list[Expr]) -> Expr:
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
            operand = self.visit_expr(operand)
            order = [names.index(i) for group in groups for i in group]
            if order != sorted(order):
                operand = self.emit(relax.op.permute_dims(operand, order))
            merged = [size[i] for i in groups[0]] + [_product(size, g) for g in groups[1:]]
            return self.emit(relax.op.reshape(operand, merged))

        first = arranged(a, left, batch, rows, inner)
        # Of the two orders of B the one that it is stored in.
        if _is_sorted(right, batch + inner + columns) or not _is_sorted(
            right, batch + columns + inner
        ):
            second = arranged(b, right, batch, inner, columns)
        else:
            stored = arranged(b, right, batch, columns, inner)
            swap = [*range(len(batch)), len(batch) + 1, len(batch)]
            second = self.emit(relax.op.permute_dims(stored, swap))
        result = self.emit(relax.op.matmul(first, second))
        made = batch + rows + columns
        result = relax.op.reshape(result, [size[i] for i in made])
        if made == list(out):
            return result
        return relax.op.permute_dims(self.emit(result), [made.index(i) for i in out])


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


@mutator
class _Dispatcher(_Rewriter):
    """matmul -> the kernel on operands with one batch axis."""

    def applies(self, binding: Expr) -> bool:
        if self._biased(binding.value) is not None:
            return True
        if not self._is_product(binding.value):
            return False
        user = self.flow.only_user(binding.var)
        biased = None if user is None else self._biased(self.flow.definition(user))
        return biased is None or not biased[0].same_as(binding.value)

    def _is_product(self, value: Expr) -> bool:
        call = call_of(value, "relax.matmul")
        if call is None or shape_of(call) is None:
            return False
        return all(len(shape_of(operand) or []) >= 2 for operand in call.args)

    def _biased(self, value: Expr) -> tuple[Expr, Expr] | None:
        """The product and the column, where ``value`` adds the two and nothing else reads the
        product."""
        if call_of(value, "relax.add") is None:
            return None
        for product, column in (value.args, value.args[::-1]):
            if self._is_product(self.flow.definition(product)):
                rows, column_rows = shape_of(product) or [], shape_of(column) or []
                alone = self.flow.only_user(product) is not None
                one = tvm.tirx.const(1, "int64")
                if alone and same_shape([*rows[:-1], one], column_rows):
                    return self.flow.definition(product), column
        return None

    def rewrite(self, call: Expr, shape: list[Expr]) -> Expr:
        call, column = self._biased(call) or (call, None)
        a, b = call.args
        b, transposed = self._as_stored(b)
        a_shape, b_shape = shape_of(a) or [], shape_of(b) or []
        a_batch, b_batch, batch = a_shape[:-2], b_shape[:-2], shape[:-2]
        m, k, n = a_shape[-2], a_shape[-1], shape[-1]
        if _is_one(b_batch):
            # One B for all: its batch is more rows of A.
            m, batch, a_batch = _volume([*a_batch, m]), [], []
        elif not _is_one(a_batch) and not same_shape(a_batch, b_batch):
            a, a_batch = self._broadcast(a, batch), batch
            b, b_batch = self._broadcast(b, batch), batch
        spec = MatmulSpec(
            static_int(n),
            static_int(k),
            transposed,
            not _is_one(a_batch),
            not _is_one(b_batch),
            bias=column is not None,
        )
        args = [
            self._flat(a, (_volume(a_batch), m, k)),
            self._flat(b, (_volume(b_batch), *b_shape[-2:])),
        ]
        if column is not None:
            args.append(self._flat(column, (_volume(batch), m)))
        func = matmul_kernel(self.target, spec)
        kernel = self.builder_.add_func(func, kernel_name(spec))
        result = relax.TensorType((_volume(batch), m, n), "float32")
        return relax.op.reshape(self.emit(relax.call_tir(kernel, args, result)), shape)

    def _as_stored(self, b: Expr) -> tuple[Expr, bool]:
        """B, or what it is the transposition of, and whether it is one."""
        call = call_of(self.flow.definition(b), "relax.permute_dims")
        if call is None:
            return b, False
        rank = b.ty.ndim
        swap = [*range(rank - 2), rank - 1, rank - 2]
        axes = call.attrs.axes
        order = [*reversed(range(rank))] if axes is None else [int(i) % rank for i in axes]
        return (call.args[0], True) if order == swap else (b, False)

    def _broadcast(self, tensor: Expr, batch: list[Expr]) -> Expr:
        shape = [*batch, *(shape_of(tensor) or [])[-2:]]
        return self.emit(relax.op.broadcast_to(self.visit_expr(tensor), shape))

    def _flat(self, tensor: Expr, shape: tuple[Expr, ...]) -> Expr:
        return self.emit(relax.op.reshape(self.visit_expr(tensor), shape))


def _is_one(batch: list[Expr]) -> bool:
    return all(static_int(d) == 1 for d in batch)


def _volume(dims: list[Expr]) -> Expr:
    return prod(dims, start=tvm.tirx.const(1, "int64"))
