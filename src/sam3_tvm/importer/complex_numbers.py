"""Complex tensors as pairs of real ones: what the rules for them are written in.

Relax has no complex dtype. A complex tensor of shape ``S`` is carried as a real tensor of
shape ``(*S, 2)`` whose last axis holds the real and the imaginary part, as
:func:`torch.view_as_real` lays them out; complex64 becomes float32 and complex128 float64.
The rules are in :mod:`sam3_tvm.importer.complex_rules`, and
:mod:`sam3_tvm.importer.complex_rewrite` applies them to a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import fx
from torch._dispatch.python import enable_python_dispatcher
from torch._guards import detect_fake_mode
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._pytree import tree_iter, tree_map_only

__all__ = ["REAL", "RULES", "Emitter", "Pair", "Rule", "is_complex", "is_tensor", "rule"]

aten = torch.ops.aten

REAL = {
    torch.complex32: torch.float16,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}
"""The dtype of a complex number's parts."""


@dataclass(frozen=True)
class Pair:
    """A complex tensor of shape ``S``, as a graph node that yields ``(*S, 2)``.

    Attributes:
        node: the real tensor that stands for it.
        parts: its real and imaginary part where the pair was put together from them, so
            that using a part doesn't take apart what was just joined.
    """

    node: fx.Node
    parts: tuple[fx.Node, fx.Node] | None = None

    @property
    def rank(self) -> int:
        """Number of axes of the complex tensor."""
        return int(self.node.meta["val"].ndim) - 1


Rule = Callable[..., Any]
"""``(Emitter, *arguments by schema name) -> Pair, node, list of pairs, or None``.

Complex arguments arrive as :class:`Pair`, real ones as nodes, the rest as Python values."""

_R = TypeVar("_R", bound=Rule)
RULES: dict[Any, tuple[Rule, Callable[[fx.Node], bool] | None]] = {}
"""By operator overload the rule, and what says whether it holds for a node."""


def rule(*targets: Any, when: Callable[[fx.Node], bool] | None = None) -> Callable[[_R], _R]:
    """Register the decorated function for operator overloads on complex tensors.

    Args:
        targets: the overloads.
        when: says whether the rule holds for a node; without it, it always does.

    Raises:
        ValueError: a target that has a rule already.
    """

    def register(function: _R) -> _R:
        for target in targets:
            if target in RULES:
                raise ValueError(f"{target} has a rule for complex tensors already")
            RULES[target] = (function, when)
        return function

    return register


def is_tensor(value: Any) -> bool:
    """Whether a rule's argument is a node that gives a (real) tensor."""
    return isinstance(value, fx.Node) and isinstance(value.meta["val"], torch.Tensor)


def is_complex(value: Any) -> bool:
    """Whether a node's value is a complex tensor, or a list that holds one."""
    return any(isinstance(v, torch.Tensor) and v.is_complex() for v in tree_iter(value))


class Emitter:
    """Puts real nodes in front of the complex node that they replace.

    Attributes:
        source: the node being replaced.
        fake_mode: torch's, in which the values of the graph's nodes are fake.
        created: every node made so far, in graph order.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self._graph = program.graph
        values = [n.meta.get("val") for n in program.graph.nodes]
        self.fake_mode = detect_fake_mode([v for v in values if isinstance(v, torch.Tensor)])
        self.source: fx.Node
        self.created: list[fx.Node] = []

    @property
    def real_dtype(self) -> torch.dtype:
        """The dtype of the parts of the (complex) result."""
        return REAL[self.source.meta["val"].dtype]

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Add a node; its fake value comes from running ``target`` on the fake arguments."""
        with self._graph.inserting_before(self.source):
            node = self._graph.call_function(target, args, kwargs)
        fake_args, fake_kwargs = tree_map_only(fx.Node, lambda n: n.meta["val"], (args, kwargs))
        # Where the node comes from (stack trace, module path) stays as it was.
        node.meta = {k: v for k, v in self.source.meta.items() if k not in ("val", "tensor_meta")}
        # By torch's rules in Python: padding in C++ would fix a symbolic size to its example.
        with self.fake_mode, enable_python_dispatcher():
            node.meta["val"] = target(*fake_args, **fake_kwargs)
        self.created.append(node)
        return node

    def cast(self, value: Any, dtype: torch.dtype | None = None) -> Any:
        """A real tensor in ``dtype`` (default: that of the result's parts); numbers and
        symbolic sizes as they are."""
        dtype = self.real_dtype if dtype is None else dtype
        if not is_tensor(value) or value.meta["val"].dtype == dtype:
            return value
        return self.call(aten._to_copy.default, value, dtype=dtype)

    def shape(self, node: fx.Node) -> list[Any]:
        """A node's sizes: ints where they are known, else nodes that give them."""
        return [
            size if isinstance(size, int) else self.call(aten.sym_size.int, node, axis)
            for axis, size in enumerate(node.meta["val"].shape)
        ]

    def join(self, real: fx.Node, imag: fx.Node) -> Pair:
        """A pair from its parts, which broadcast against each other."""
        a, b = real.meta["val"].shape, imag.meta["val"].shape
        if len(a) != len(b) or not all(
            statically_known_true(x == y) for x, y in zip(a, b, strict=True)
        ):
            # x - 0.0 is x for every x, -0.0 and nan included, which x + 0.0 isn't.
            real, imag = (
                self.call(aten.sub.Tensor, real, self.call(aten.zeros_like.default, imag)),
                self.call(aten.sub.Tensor, imag, self.call(aten.zeros_like.default, real)),
            )
        stacked = self.call(aten.stack.default, [real, imag], len(real.meta["val"].shape))
        return Pair(stacked, (real, imag))

    def parts(self, value: Any) -> tuple[Any, Any]:
        """Real and imaginary part, in the dtype of the result's parts where that is complex.

        Numbers give numbers. The imaginary part of what is real is None.
        """
        if isinstance(value, Pair):
            real, imag = value.parts or (
                self.call(aten.select.int, value.node, value.rank, 0),
                self.call(aten.select.int, value.node, value.rank, 1),
            )
        elif isinstance(value, complex):
            real, imag = value.real, value.imag
        else:
            real, imag = value, None
        if is_complex(self.source.meta.get("val")):
            return self.cast(real), self.cast(imag)
        return real, imag

    def pair(self, value: Any) -> Pair:
        """``value`` (a pair, a real tensor or a number) in the dtype of the (complex) result."""
        if isinstance(value, Pair):
            cast = self.cast(value.node)
            return value if cast is value.node else Pair(cast)
        if is_tensor(value):
            real = self.cast(value)
            return self.join(real, self.call(aten.zeros_like.default, real))
        return self.full([], value)

    def full(self, size: Sequence[Any], value: Any) -> Pair:
        """A pair of the given (complex) shape in which every element is ``value``."""
        real, imag = (value.real, value.imag) if isinstance(value, complex) else (value, 0.0)
        if real == 0 and imag == 0:
            return Pair(self.call(aten.full.default, [*size, 2], 0.0, dtype=self.real_dtype))
        return self.join(
            self.call(aten.full.default, list(size), real, dtype=self.real_dtype),
            self.call(aten.full.default, list(size), imag, dtype=self.real_dtype),
        )
