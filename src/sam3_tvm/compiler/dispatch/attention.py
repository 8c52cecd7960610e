"""Gives every attention its kernel, and takes the transpositions around it along.

``nn.attention`` and ``nn.attention_bias`` take and give [B, L, heads, head_dim]; PyTorch has
heads before L, so transpositions surround them. The kernel reads and writes any order of
axes that ends in head_dim, so those are not executed, nor is what else
:mod:`~sam3_tvm.compiler.graph.attention_sources` sees through: slices of a product, rotary
embedding, partition into windows. Nor is a bias made that can be added from less, see
:mod:`~sam3_tvm.compiler.graph.attention_biases`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import tvm
from tvm import relax

from sam3_tvm.compiler.dispatch.readers import AttentionKernels
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of
from sam3_tvm.compiler.graph.attention_biases import Choice
from sam3_tvm.compiler.graph.attention_patterns import AttentionCall, find_attention
from sam3_tvm.compiler.graph.dataflow import Dataflow, shape_of
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.attention.attention import attention_kernel, kernel_name
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot, dot_for
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchAttention"]

Expr = Any


@tvm.ir.transform.module_pass(opt_level=0, name="DispatchAttention")
class DispatchAttention:
    """The pass. Attention in other dtypes than float32, with a window, or with fewer key heads
    than query heads is left as it is.

    Args:
        target: the CPU that the kernels are for.
        made: gets the kernels.
    """

    def __init__(self, target: CpuTarget, made: AttentionKernels | None = None) -> None:
        self.target = target
        self.made = {} if made is None else made

    def transform_module(
        self, mod: tvm.IRModule, _ctx: tvm.ir.transform.PassContext
    ) -> tvm.IRModule:
        """Rewrite every Relax function of the module."""
        return rewrite_bindings(mod, _Dispatcher(self.target, self.made).find)


class _Dispatcher:
    """Gives the variables that attentions define their kernels' calls as values; what fed them
    may be left without users."""

    def __init__(self, target: CpuTarget, made: AttentionKernels) -> None:
        self.target = target
        self._made = made
        self._tables: list[Expr] = []

    def find(self, func: relax.Function) -> dict[Expr, NewValue]:
        """The attentions of a function."""
        calls, dot = (
            find_attention(Dataflow(func)),
            dot_for(self.target, arithmetic_of(func).of_attention),
        )
        return {var: partial(self._call, dot, var, found) for var, found in calls.items()}

    def _call(self, dot: Dot, var: Expr, found: AttentionCall, emit: Emit) -> Expr:
        spec, args = found.spec, []
        if spec.head_dim % dot.pack:
            dot = FMA
        for source, operand in zip(found.sources, found.call.args, strict=False):
            tensor = source.expr
            if source.rows:
                tensor = emit(relax.op.reshape(tensor, source.shape(operand)))
            args.append(tensor)
        args += [_bias(emit, tensor) for tensor in found.bias.tensors]
        if found.sources[0].rotary is not None:
            args.append(self._table(*found.sources[0].rotary))
        kernel = emit.kernel(kernel_name(spec, dot), attention_kernel(self.target, spec, dot))
        self._made[kernel.name_hint] = (spec, dot)
        shape = shape_of(var) or []
        windows = spec.result.windows
        if windows is None:
            return relax.call_tir(kernel, args, relax.TensorType(shape, "float32"))
        memory = spec.result.shape(shape[0], windows.height, spec.heads, spec.value_dim)
        call = relax.call_tir(kernel, args, relax.TensorType(memory, "float32"))
        return relax.op.reshape(emit(call), shape)

    def _table(self, cosine: Expr, sine: Expr) -> Expr:
        """Constants of cosines and sines as the kernel takes them, the same one for equal
        values: [L, 2, D]."""
        size = cosine.value.shape[-1]
        cosine, sine = (t.value.numpy().reshape(-1, size) for t in (cosine, sine))
        sign = np.where(np.arange(size) % 2, 1, -1).astype("float32")
        table = np.stack([cosine, sine * sign], axis=1)
        for known in self._tables:
            if np.array_equal(known.value.numpy(), table):
                return known
        self._tables.append(relax.const(table))
        return self._tables[-1]


def _bias(emit: Emit, tensor: Expr | Choice) -> Expr:
    """A tensor as it is; a choice is computed where it is needed first."""
    if not isinstance(tensor, Choice):
        return tensor
    chosen = relax.op.where(tensor.mask, tensor.yes, tensor.no)
    return emit.once(tensor, lambda emit: emit(chosen))
