"""Lowerings that keep precision where TVM's own lose it.

An imported module holds whole operators. TVM lowers ``relax.nn.group_norm`` with
``E[x^2] - E[x]^2`` in float32, which cancels: with values around 100 times their deviation two
digits are left, and beyond 1000 it gives NaN. A compiler that brings its own kernel needs
nothing of this; before a plain ``tvm.compile`` apply the pass here.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import relax, te, tirx, topi
from tvm.relax.expr_functor import PyExprMutator, mutator

__all__ = ["LegalizeGroupNorm"]


@tvm.ir.transform.module_pass(opt_level=0, name="LegalizeGroupNorm")
class LegalizeGroupNorm:
    """Lower ``relax.nn.group_norm`` to a function that takes the mean first, then the
    mean square of the deviations from it."""

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        rewriter = _Rewriter(mod)
        for gvar, func in mod.functions_items():
            if isinstance(func, relax.Function):
                rewriter.builder_.update_func(gvar, rewriter.visit_expr(func))
        return rewriter.builder_.get()


@mutator
class _Rewriter(PyExprMutator):
    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        if call.op != tvm.ir.Op.get("relax.nn.group_norm"):
            return call
        return self.builder_.call_te(
            group_norm,
            *call.args,
            int(call.attrs.num_groups),
            int(call.attrs.channel_axis),
            [int(a) for a in call.attrs.axes],
            float(call.attrs.epsilon),
            primfunc_name_hint="group_norm",
        )


def group_norm(
    data: te.Tensor,
    gamma: te.Tensor,
    beta: te.Tensor,
    groups: int,
    channel_axis: int,
    axes: list[int],
    epsilon: float,
) -> te.Tensor:
    """Normalise each group of channels over itself and ``axes``, then scale and shift.

    Args:
        data: of any rank; sums are formed in float32 (float64 for float64).
        gamma, beta: one entry per channel.
    """
    rank = len(data.shape)
    channel = channel_axis % rank
    spatial = [a % rank for a in axes]
    per_group = tirx.floordiv(data.shape[channel], groups)
    wide = "float64" if data.dtype == "float64" else "float32"
    kept = [i for i in range(rank) if i not in spatial and i != channel]
    shape = [data.shape[i] for i in kept] + [groups]
    count = tirx.Cast(wide, per_group)
    for axis in spatial:
        count = count * tirx.Cast(wide, data.shape[axis])

    def entries(at: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """One group's entries, and the axes over which they run."""
        inner = te.reduce_axis((0, per_group), name="c")
        over = {axis: te.reduce_axis((0, data.shape[axis]), name=f"k{axis}") for axis in spatial}
        index: dict[int, Any] = {**dict(zip(kept, at, strict=False)), **over}
        index[channel] = at[-1] * per_group + inner
        return data(*(index[i] for i in range(rank))).astype(wide), [inner, *over.values()]

    def total(of: Any, name: str) -> te.Tensor:
        def summed(*at: Any) -> Any:
            value, over = entries(at)
            return te.sum(of(value, at), axis=over)

        return te.compute(shape, summed, name=name)

    sums = total(lambda x, _at: x, "group_sum")

    def squared(x: Any, at: tuple[Any, ...]) -> Any:
        return (x - sums(*at) / count) * (x - sums(*at) / count)

    squares = total(squared, "group_squares")

    def normalised(*at: Any) -> Any:
        group = (*(at[i] for i in kept), tirx.floordiv(at[channel], per_group))
        root = tirx.rsqrt(squares(*group) / count + tirx.const(epsilon, wide))
        value = (data(*at).astype(wide) - sums(*group) / count) * root
        scale, shift = (p(at[channel]).astype(wide) for p in (gamma, beta))
        return (value * scale + shift).astype(data.dtype)

    return te.compute(data.shape, normalised, name="group_norm", tag=topi.tag.INJECTIVE)
