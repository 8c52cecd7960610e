"""Complex tensors become real ones: a rewrite of an exported graph.

Relax has no complex dtype. A complex tensor of shape ``S`` is carried as a real tensor of
shape ``(*S, 2)`` whose last axis holds the real and the imaginary part, as
:func:`torch.view_as_real` lays them out; complex64 becomes float32 and complex128 float64.
The rewrite goes through the graph operator by operator (the rules are in
:mod:`sam3_tvm.importer.complex_rules`), so a model such as a rotary embedding needs no
change. Complex inputs, outputs, parameters, buffers and constants of the model become
such pairs too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import fx
from torch._guards import detect_fake_mode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._pytree import tree_iter, tree_map_only

__all__ = ["Emitter", "Pair", "Rule", "has_rule", "rewrite", "rule", "touches_complex"]

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
_RULES: dict[Any, tuple[Rule, Callable[[fx.Node], bool] | None]] = {}


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
            if target in _RULES:
                raise ValueError(f"{target} has a rule for complex tensors already")
            _RULES[target] = (function, when)
        return function

    return register


def is_tensor(value: Any) -> bool:
    """Whether a rule's argument is a node that gives a (real) tensor."""
    return isinstance(value, fx.Node) and isinstance(value.meta["val"], torch.Tensor)


def is_complex(value: Any) -> bool:
    """Whether a node's value is a complex tensor, or a list that holds one."""
    return any(isinstance(v, torch.Tensor) and v.is_complex() for v in tree_iter(value))


def touches_complex(node: fx.Node) -> bool:
    """Whether the node takes or gives a complex tensor, or stems from one."""
    return node.target is aten._neg_view.default or any(
        is_complex(n.meta.get("val")) for n in (node, *node.all_input_nodes)
    )


def _rules() -> dict[Any, tuple[Rule, Callable[[fx.Node], bool] | None]]:
    from sam3_tvm.importer import complex_rules, fourier_rules  # noqa: F401 - register them

    return _RULES


def has_rule(node: fx.Node) -> bool:
    """Whether :func:`rewrite` can express the node, which touches complex tensors, in real ones."""
    function, when = _rules().get(node.target, (None, None))
    return function is not None and (when is None or when(node))


class Emitter:
    """Puts real nodes in front of the complex node that they replace.

    Attributes:
        source: the node being replaced.
        created: every node made so far, in graph order.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self._graph = program.graph
        values = [n.meta.get("val") for n in program.graph.nodes]
        self._fake = detect_fake_mode([v for v in values if isinstance(v, torch.Tensor)])
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
        with self._fake:
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


def rewrite(program: ExportedProgram) -> None:
    """Replace every complex tensor of ``program`` by a real one with a trailing axis of 2.

    Changes the program in place: the graph (each new node keeps the stack trace of the one
    that it replaces), its signature, and its parameters, buffers and constants. Products
    of a complex and a real number multiply both parts, where PyTorch first makes the real
    number complex; the two differ only in which of inf and nan an infinite factor gives.

    Args:
        program: functional, undecomposed, with a rule for every node that touches complex
            tensors (:func:`has_rule`).
    """
    touched = [n for n in program.graph.nodes if touches_complex(n)]
    if not touched:
        return
    emitter = Emitter(program)
    found: dict[fx.Node, Any] = {}
    _real_state(program)
    for node in touched:
        emitter.source = node
        if node.op == "placeholder":
            with emitter._fake:
                node.meta["val"] = torch.view_as_real(node.meta["val"].resolve_conj())
            node.meta.pop("tensor_meta", None)
            found[node] = Pair(node)
        elif node.op == "output":
            node.args = tree_map_only(fx.Node, lambda n: _node(found.get(n, n)), node.args)
        else:
            found[node] = result = _apply(emitter, node, found)
            if isinstance(result, fx.Node):
                node.replace_all_uses_with(result)
    for node, result in found.items():
        if isinstance(result, Pair | fx.Node) and _node(result) is not node:
            program.graph_signature.replace_all_uses(node.name, _node(result).name)
    for node in reversed(touched):
        if node.op == "call_function":
            program.graph.erase_node(node)
    for node in reversed(emitter.created):
        if not node.users:
            program.graph.erase_node(node)
    program.graph.lint()
    program.graph_module.recompile()


def _node(value: Any) -> Any:
    return value.node if isinstance(value, Pair) else value


def _apply(emitter: Emitter, node: fx.Node, found: dict[fx.Node, Any]) -> Any:
    """Run the node's rule on its arguments by schema name."""
    function, _ = _rules()[node.target]
    args, kwargs = tree_map_only(fx.Node, lambda n: found.get(n, n), (node.args, node.kwargs))
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return function(emitter, *args, **kwargs)
    names = [a.name for a in schema.arguments]
    defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return function(emitter, **{**defaults, **dict(zip(names, args, strict=False)), **kwargs})


def _real_state(program: ExportedProgram) -> None:
    """Turn complex parameters, buffers and constants into pairs."""
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        for store in (program.state_dict, program.constants):
            value = store.get(spec.target)
            if isinstance(value, torch.Tensor) and value.is_complex():
                real = torch.view_as_real(value.detach().resolve_conj()).contiguous()
                if isinstance(value, torch.nn.Parameter):
                    real = torch.nn.Parameter(real, requires_grad=value.requires_grad)
                store[spec.target] = real
