"""The table of converters: which function turns which torch operator into Relax.

A converter is registered for operator overloads and is called with the operator's
arguments by their schema names, already translated::

    @converter(torch.ops.aten.select.int)
    def select(cx: Context, self: relax.Expr, dim: int, index: int) -> relax.Expr: ...

Tensors arrive as Relax expressions, symbolic sizes as TIR expressions, everything else
as the Python value in the graph. The table is handed to TVM's ``from_exported_program``
as its ``custom_convert_map``; nothing of torch or TVM is patched. It hides every converter
that TVM brings along: what has none here is an error, never TVM's answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import tvm
from torch import fx
from tvm import relax, tirx
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

from sam3_tvm.importer.errors import ConversionError, UnsupportedOperators, source_line
from sam3_tvm.importer.operands import ordered_call_tir_inputs
from sam3_tvm.importer.sizes import SizeTable, is_symbolic, static_value

__all__ = [
    "Context",
    "Converter",
    "ImportState",
    "constant",
    "convert_map",
    "converter",
    "dtype_name",
    "has_converter",
    "is_symbolic",
]

Converter = Callable[..., Any]
"""``(Context, *arguments by schema name) -> Relax expression, TIR expression or tuple``."""

_CONVERTERS: dict[str, Converter] = {}


def _key(target: Any) -> str:
    """The target's name in the table: ``add.Tensor`` for torch's own operators, with the
    namespace before it for others, which may bear the same names."""
    name = getattr(target, "__name__", None)
    if not isinstance(name, str):
        raise TypeError(f"not an operator overload: {target!r}")
    namespace = getattr(target, "namespace", "aten")
    ours = isinstance(target, torch._ops.OpOverload) and namespace != "aten"
    return f"{namespace}::{name}" if ours else name


def has_converter(target: Any) -> bool:
    """Whether a graph node's target has a converter in the table."""
    return _key(target) in _CONVERTERS


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
            name = rest if "." in rest else f"{rest}.default"
            keys.append(name if namespace == "aten" else f"{namespace}::{name}")
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


@dataclass
class ImportState:
    """What one import shares between its converters.

    Attributes:
        sizes: the TIR variable of every symbolic size.
        constants: the values of folded subgraphs, by node name.
        shared: one Relax constant per dtype, shape and contents.
        branches: how many functions of branches there are.
        importer: TVM's, from the first call on.
    """

    sizes: SizeTable = field(default_factory=SizeTable)
    constants: dict[str, torch.Tensor] = field(default_factory=dict)
    shared: dict[str, relax.Expr] = field(default_factory=dict)
    branches: int = 0
    importer: Any = None


@dataclass(frozen=True)
class Context:
    """What a converter may use: the node at hand, TVM's importer, and shorthands.

    Attributes:
        node: the call that is converted, in the exported graph.
        importer: TVM's, whose hook calls converters.
        state: what the nodes of one import share.
    """

    node: fx.Node
    importer: Any  # tvm.relax.frontend.torch.exported_program_translator.ExportedProgramImporter
    state: ImportState = field(default_factory=ImportState)

    @property
    def builder(self) -> relax.BlockBuilder:
        """The block builder that bindings go to."""
        return self.importer.block_builder

    def emit_te(self, function: Callable[..., Any], *args: Any, name: str) -> relax.Var:
        """Bind what a TE function makes of ``args``, as a PrimFunc named like ``name``.

        TVM's own ``emit_te`` passes sizes along in an order that differs from run to run; equal
        imports are equal here.
        """
        func, operands, out_type = ordered_call_tir_inputs(function, *args)
        gvar = self.builder.add_func(func, name)
        return self.emit(relax.op.call_tir(gvar, operands, out_type))

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

    @property
    def sizes(self) -> SizeTable:
        """torch's symbolic sizes as TIR expressions."""
        return self.state.sizes

    @property
    def shape(self) -> list[Any]:
        """The result's shape as torch knows it: ints and TIR expressions."""
        return self.shape_of(self.result)

    def shape_of(self, fake: torch.Tensor) -> list[Any]:
        """The shape of a fake tensor (``cx.result``, or an entry of it): ints and TIR."""
        return [self.sizes.expr(s) for s in fake.shape]

    def fake(self, position: int) -> Any:
        """torch's idea of the positional argument: a fake tensor, a size, or the value."""
        argument = self.node.args[position]
        return argument.meta.get("val") if isinstance(argument, fx.Node) else argument

    def reshape(self, x: relax.Expr, shape: Sequence[Any]) -> relax.Expr:
        """``x`` with another shape; a literal 0 means an empty axis, as in PyTorch."""
        if any(static_value(s) == 0 for s in shape):
            return self.emit(relax.op.zeros(list(shape), x.ty.dtype.dtype))
        have = x.ty.shape
        if have is not None and len(have) == len(shape) and all(map(self.sizes.equal, have, shape)):
            return x
        return self.emit(relax.op.reshape(x, list(shape)))

    def cast(self, x: relax.Expr, dtype: str) -> relax.Expr:
        """``x`` as ``dtype`` by TVM's rules; converters.creation has PyTorch's for floats to
        narrow integers."""
        return x if x.ty.dtype.dtype == dtype else self.emit(relax.op.astype(x, dtype))

    def tensor(self, value: Any, dtype: str | None = None) -> relax.Expr:
        """A tensor of ``value``: an expression, a number, a symbolic size; cast to ``dtype``."""
        if isinstance(value, torch.Tensor):
            value = constant(value)
        if isinstance(value, bool | int | float):
            default = {bool: "bool", int: "int64", float: "float32"}[type(value)]
            return _scalar_constant(value, dtype or default)
        if is_symbolic(value):
            if value.ty.dtype == "bool":
                one, zero = (tirx.const(v, "int64") for v in (1, 0))
                return self.cast(self.tensor(tirx.Select(value, one, zero)), dtype or "bool")
            # A symbolic size becomes data by way of a one-element range; Relax has no
            # other operator that takes a shape variable and yields a tensor.
            one = self.emit(relax.op.arange(value, value + 1, 1, "int64"))
            value = self.emit(relax.op.reshape(one, ()))
        if dtype is not None and value.ty.dtype.dtype != dtype:
            value = self.emit(relax.op.astype(value, dtype))
        return value


def constant(value: torch.Tensor) -> relax.Expr:
    """A Relax constant of any real dtype, bfloat16 included."""
    value = value.detach().cpu().contiguous()
    if value.dtype is torch.bool:
        return relax.const(value.numpy())
    return relax.const(tvm.runtime.from_dlpack(value.clone()))


def _scalar_constant(value: bool | int | float, dtype: str) -> relax.Expr:
    # torch's own conversion: it wraps integers and rounds as PyTorch does at run time.
    as_torch = torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    return constant(as_torch.to(getattr(torch, dtype)))


def dtype_name(dtype: torch.dtype) -> str:
    """TVM's spelling of a torch dtype.

    Raises:
        TypeError: a dtype that Relax tensors don't have (complex and quantised ones).
    """
    name = str(dtype).removeprefix("torch.")
    if name.startswith(("complex", "q")):
        raise TypeError(f"{name} tensors have no counterpart in Relax")
    return name


def _bind(node: fx.Node, importer: Any) -> dict[str, Any]:
    """The node's arguments by schema name, defaults filled in, graph nodes translated."""

    def translate(value: Any) -> Any:
        if isinstance(value, fx.Node):
            found = importer.env[value]
            if isinstance(found, torch.Tensor):
                return constant(found)
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


def _settle(cx: Context, value: Any, fake: Any) -> Any:
    """Hold a converter's result to what torch says of it.

    A wrong dtype, rank or static size is an error here and not a wrong number later.
    Symbolic sizes that Relax can't prove equal to torch's are asserted (``match_cast``),
    so that every later operator sees one spelling of each size.
    """
    if isinstance(fake, list | tuple):
        if isinstance(value, list | tuple):
            return [_settle(cx, v, f) for v, f in zip(value, fake, strict=True)]
        if isinstance(value, relax.Expr) and isinstance(value.ty, relax.TupleType):
            parts = [cx.emit(relax.TupleGetItem(value, i)) for i in range(len(fake))]
            return [_settle(cx, v, f) for v, f in zip(parts, fake, strict=True)]
        return value
    if not isinstance(fake, torch.Tensor) or fake.dtype.is_complex:
        return value
    if not isinstance(value, relax.Expr) or not isinstance(value.ty, relax.TensorType):
        return value
    have = value.ty
    if have.dtype.dtype != dtype_name(fake.dtype):
        raise ConversionError(cx.node, f"gave {have.dtype.dtype}, PyTorch has {fake.dtype}")
    if have.ndim not in (-1, fake.ndim):
        raise ConversionError(cx.node, f"gave rank {have.ndim}, PyTorch has {fake.ndim}")
    if not all(map(cx.sizes.knows, fake.shape)):
        return value
    want = cx.shape_of(fake)
    if have.shape is not None:
        for ours, theirs in zip(have.shape, want, strict=True):
            a, b = static_value(ours), static_value(theirs)
            if a is not None and b is not None and a != b:
                raise ConversionError(cx.node, f"gave shape {have.shape}, PyTorch has {want}")
        if all(cx.sizes.equal(a, b) for a, b in zip(have.shape, want, strict=True)):
            return value
    return cx.builder.match_cast(value, relax.TensorType(want, have.dtype.dtype))


def convert(state: ImportState, node: fx.Node, importer: Any) -> Any:
    """The Relax value of a graph node by its converter.

    Args:
        state: what the import shares.
        node: a function call whose arguments ``importer.env`` has.
        importer: TVM's.

    Raises:
        UnsupportedOperators: no converter of ours.
    """
    if state.importer is None:
        state.importer = importer
        state.sizes.define_from(
            v for n, v in importer.env.items() if isinstance(v.ty, relax.TensorType)
        )
    function = _CONVERTERS.get(_key(node.target))
    if function is None:
        raise UnsupportedOperators({str(node.target): [source_line(node)]})
    cx = Context(node, state.importer, state)
    bound = _bind(node, state.importer)
    positional = bound.pop("args", [])
    return _settle(cx, function(cx, *positional, **bound), cx.result)


def convert_map(state: ImportState | None = None) -> dict[str, Callable[..., Any]]:
    """A function for every operator that TVM's importer knows and for every one of ours, in
    the form that ``custom_convert_map`` takes: none of TVM's own converters is left.

    Args:
        state: what one import shares; a map serves one import.
    """
    shared = state or ImportState()

    def by_table(node: fx.Node, importer: Any = None) -> Any:
        return convert(shared, node, importer)

    # TVM looks up names without their namespace.
    names = {key.rpartition("::")[2] for key in _CONVERTERS}
    return dict.fromkeys(names.union(ExportedProgramImporter().convert_map), by_table)
