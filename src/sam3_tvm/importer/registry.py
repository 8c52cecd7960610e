"""The table of converters: which function turns which torch operator into Relax.

A converter is registered for operator overloads and is called with the operator's
arguments by their schema names, already translated::

    @converter(torch.ops.aten.select.int)
    def select(cx: Context, self: relax.Expr, dim: int, index: int) -> relax.Expr: ...

Tensors arrive as Relax expressions, symbolic sizes as TIR expressions, everything else
as the Python value in the graph. The table is handed to TVM's ``from_exported_program``
as its ``custom_convert_map``; nothing of torch or TVM is patched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import tvm
from torch import fx
from tvm import relax

__all__ = ["Context", "Converter", "convert_map", "converter", "dtype_name", "is_symbolic"]

Converter = Callable[..., Any]
"""``(Context, *arguments by schema name) -> Relax expression, TIR expression or tuple``."""

_CONVERTERS: dict[str, Converter] = {}


def _key(target: Any) -> str:
    """The name under which TVM's importer looks up a graph node's target."""
    name = getattr(target, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"not an operator overload: {target!r}")
    return name


def converter(*targets: Any) -> Callable[[Converter], Converter]:
    """Register the decorated function for operator overloads.

    Args:
        targets: overloads (``torch.ops.aten.add.Tensor``), Python operators that torch uses
            on symbolic sizes (``operator.floordiv``), or, for libraries that may be absent,
            the qualified name as text (``"torchvision::roi_align"``).

    Raises:
        KeyError: a text key that isn't ``namespace::name`` or ``namespace::name.overload``.
        TypeError: an overload packet without its overload; the message lists the overloads.
        ValueError: a target that has a converter already.
    """
    keys = []
    for target in targets:
        if isinstance(target, str):
            namespace, sep, rest = target.partition("::")
            if not (namespace and sep and rest):
                raise KeyError(f"{target!r}: write namespace::name or namespace::name.overload")
            keys.append(rest if "." in rest else f"{rest}.default")
        elif isinstance(target, torch._ops.OpOverloadPacket):
            spelled = ", ".join(f"{target}.{o}" for o in target.overloads())
            raise TypeError(f"{target} has overloads, register one of them: {spelled}")
        else:
            keys.append(_key(target))

    def register(function: Converter) -> Converter:
        for key in keys:
            if key in _CONVERTERS:
                raise ValueError(f"{key} has a converter already: {_CONVERTERS[key].__qualname__}")
            _CONVERTERS[key] = function
        return function

    return register


@dataclass(frozen=True)
class Context:
    """What a converter may use: the node at hand, TVM's importer, and shorthands."""

    node: fx.Node
    importer: Any  # tvm.relax.frontend.torch.exported_program_translator.ExportedProgramImporter

    @property
    def builder(self) -> relax.BlockBuilder:
        return self.importer.block_builder

    def emit(self, expr: relax.Expr) -> relax.Var:
        """Bind an expression to a new variable (which gives it its type)."""
        return self.builder.emit(expr)

    @property
    def result(self) -> Any:
        """torch's own idea of the result: a fake tensor, a symbolic size, or a tuple of them."""
        return self.node.meta.get("val")

    @property
    def dtype(self) -> str:
        """The result's dtype by PyTorch's promotion rules, spelled as TVM does."""
        return dtype_name(self.result.dtype)

    def tensor(self, value: Any, dtype: str | None = None) -> relax.Expr:
        """A tensor of ``value``: an expression, a number, a symbolic size; cast to ``dtype``."""
        if isinstance(value, torch.Tensor):
            value = relax.const(value.detach().cpu().numpy())
        if isinstance(value, bool | int | float):
            default = {bool: "bool", int: "int64", float: "float32"}[type(value)]
            return relax.const(value, dtype or default)
        if is_symbolic(value):
            # A symbolic size becomes data by way of a one-element range; Relax has no
            # other operator that takes a shape variable and yields a tensor.
            one = self.emit(relax.op.arange(value, value + 1, 1, "int64"))
            value = self.emit(relax.op.reshape(one, ()))
        if dtype is not None and value.ty.dtype.dtype != dtype:
            value = self.emit(relax.op.astype(value, dtype))
        return value


def dtype_name(dtype: torch.dtype) -> str:
    """TVM's spelling of a torch dtype.

    Raises:
        TypeError: a dtype that Relax tensors don't have (complex and quantised ones).
    """
    name = str(dtype).removeprefix("torch.")
    if name.startswith(("complex", "q")):
        raise TypeError(f"{name} tensors have no counterpart in Relax")
    return name


def is_symbolic(value: Any) -> bool:
    """Whether a converted argument is a symbolic integer (a TIR expression)."""
    return isinstance(value, tvm.ir.Expr) and tvm.ir.is_prim_expr(value)


def _bind(node: fx.Node, importer: Any) -> dict[str, Any]:
    """The node's arguments by schema name, defaults filled in, graph nodes translated."""

    def translate(value: Any) -> Any:
        if isinstance(value, fx.Node):
            found = importer.env[value]
            if isinstance(found, torch.Tensor):
                return relax.const(found.detach().cpu().numpy())
            return found
        if isinstance(value, list | tuple):
            return [translate(v) for v in value]
        return value

    args = [translate(a) for a in node.args]
    kwargs = {k: translate(v) for k, v in node.kwargs.items()}
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {"args": args, **kwargs}
    bound: dict[str, Any] = {}
    for position, argument in enumerate(schema.arguments):
        if position < len(args):
            bound[argument.name] = args[position]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value if argument.has_default_value() else None
    return bound


def _adapt(function: Converter) -> Callable[[fx.Node, Any], Any]:
    def convert(node: fx.Node, importer: Any) -> Any:
        bound = _bind(node, importer)
        positional = bound.pop("args", [])
        return function(Context(node, importer), *positional, **bound)

    return convert


def convert_map() -> dict[str, Callable[[fx.Node, Any], Any]]:
    """Every registered converter in the form that ``custom_convert_map`` takes."""
    from sam3_tvm.importer import converters

    converters.load()
    return {key: _adapt(function) for key, function in _CONVERTERS.items()}
