"""Which kernels read a value, and so how it may lie in memory.

Kernels that multiply narrow numbers round what they read. Where nothing else reads a value, the
kernel that makes it rounds it instead: once, and half the bytes. Such values are results of linear
layers, which layers or attentions read, and of attentions and layer norms, which layers read.

What an attention reads is rounded twice then: queries before they are scaled, and both before they
are rotated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sam3_tvm.arithmetic import BFLOAT16, Arithmetic
from sam3_tvm.compiler.graph.dataflow import Dataflow, call_of, shape_of, static_int
from sam3_tvm.compiler.graph.linear_patterns import LinearLayer
from sam3_tvm.compiler.graph.norm_patterns import is_layer_norm
from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec
from sam3_tvm.compiler.kernels.product.dot import Dot, dot_for
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["AttentionKernels", "Readers"]

Expr = Any

AttentionKernels = dict[str, tuple[AttentionSpec, Dot]]
"""What the attention kernels of a module are, by their names in it."""


class Readers:
    """The readers of the values of one function.

    Args:
        flow: the function.
        target: the CPU that it is for.
        layers: its linear layers, by the variable that each defines.
        arithmetic: theirs.
        attentions: the attention kernels that it calls, float32 in memory.
    """

    def __init__(
        self,
        flow: Dataflow,
        target: CpuTarget,
        layers: Mapping[Expr, LinearLayer],
        arithmetic: Mapping[Expr, Arithmetic],
        attentions: AttentionKernels,
    ) -> None:
        self._flow = flow
        self._made = layers
        self._dots = {
            layer.chain[0]: (layer, dot_for(target, arithmetic[var]))
            for var, layer in layers.items()
        }
        self._rounds = dot_for(target, BFLOAT16).pairs is not None
        self._attentions: dict[Expr, tuple[AttentionSpec, Dot, list[Expr]]] = {}
        for binding in flow.bindings:
            call = call_of(binding.value, "relax.call_tir")
            made = None if call is None else attentions.get(call.args[0].name_hint)
            if call is not None and made is not None and made[1].pairs is not None:
                self._attentions[binding.var] = (*made, list(call.args[1].fields))

    def dot(self, value: Expr) -> Dot | None:
        """The instruction of the layers that read a value, row by row, where they all have the same
        and nothing else reads it; else None."""
        return self._dot(value, self._is_view)

    def rounds(self, var: Expr) -> bool:
        """Whether a layer's or an attention's result is bfloat16 in memory: it and all that reads
        it multiply narrow numbers, on a CPU that rounds to them."""
        root = self._source(var, self._is_reshape)
        if root in self._attentions:
            return self._is_narrow(self._dot(root, self._is_reshape))
        if root not in self._made or not self._is_narrow(self._dots[self._made[root].chain[0]][1]):
            return False
        return self._is_narrow(self.dot(root)) or self._attends_alone(root)

    def changed_attentions(self) -> dict[Expr, tuple[AttentionSpec, Dot]]:
        """The attentions that take or give bfloat16, as they do it then."""
        changed = {}
        for var, (spec, dot, operands) in self._attentions.items():
            names = ("query", "key", "value", "result")
            rounded = [*map(self._given_rounded, operands[:3]), self.rounds(var)]
            if any(rounded):
                layouts = {
                    name: replace(getattr(spec, name), rounded=yes)
                    for name, yes in zip(names, rounded, strict=True)
                }
                changed[var] = (replace(spec, **layouts), dot)
        return changed

    def norm(self, x: Expr) -> tuple[Expr, Expr] | None:
        """The variable and the call of the layer norm that a value is, where nothing but layers of
        one narrow instruction reads it; else None."""
        root = self._source(x, self._is_view)
        value = self._flow.definition(root)
        dot = self.dot(root) if is_layer_norm(value) else None
        narrow = dot is not None and (dot.pairs or dot.integers)
        return (root, value) if narrow else None

    def _dot(self, value: Expr, is_view: Callable[[Expr], bool]) -> Dot | None:
        found: Dot | None = None
        for user in self._flow.users(value):
            layer, dot = self._dots.get(user, (None, None)) if user is not None else (None, None)
            if layer is None and user is not None and is_view(user):
                dot = self._dot(user, is_view)
            elif layer is not None and layer.x != value:
                return None
            if dot is None or found not in (None, dot):
                return None
            found = dot
        return found

    def _is_narrow(self, dot: Dot | None) -> bool:
        """Whether an instruction takes bfloat16, or bytes that are made of it."""
        if dot is None:
            return False
        return dot.pairs is not None or (dot.integers is not None and self._rounds)

    def _given_rounded(self, operand: Expr) -> bool:
        """Whether an attention's operand is a result that attentions alone read, rounded."""
        root = self._source(operand, self._is_reshape)
        return root in self._made and self.rounds(root) and self._attends_alone(root)

    def _attends_alone(self, value: Expr) -> bool:
        """Whether attentions alone read a value, as queries, keys or values."""
        users = self._flow.users(value)
        return bool(users) and all(self._attends(value, user) for user in users)

    def _attends(self, value: Expr, user: Expr | None) -> bool:
        if user in self._attentions:
            operands = self._attentions[user][2]
            return value not in operands[3:]
        return user is not None and self._is_reshape(user) and self._attends_alone(user)

    def _is_reshape(self, var: Expr) -> bool:
        return call_of(self._flow.definition(var), "relax.reshape") is not None

    def _is_view(self, var: Expr) -> bool:
        """Whether a value has the rows of another, in other leading axes."""
        if not self._is_reshape(var):
            return False
        source = self._flow.definition(var).args[0]
        before, after = shape_of(source) or [], shape_of(var) or []
        sizes = [static_int(axes[-1]) if axes else None for axes in (before, after)]
        return sizes[0] is not None and sizes[0] == sizes[1]

    def _source(self, var: Expr, is_view: Callable[[Expr], bool]) -> Expr:
        """The value that a view is of; others as they are."""
        while is_view(var):
            var = self._flow.definition(var).args[0]
        return var
