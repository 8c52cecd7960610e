"""Where the operands of an attention lie in memory, behind what a graph does to them.

Between the product that makes queries, keys or values and the attention a graph splits off the
heads, transposes, rotates by position, takes a slice of a product that made several of them, and
partitions a map into windows. The attention kernel reads through all of that.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tvm import relax

from sam3_tvm.compiler.graph.dataflow import (
    Dataflow,
    call_of,
    float32_shape_of,
    same_shape,
    shape_of,
    static_int,
)
from sam3_tvm.compiler.graph.windows import partition_source, unpartition_result
from sam3_tvm.compiler.kernels.attention.operands import Layout, Windows

__all__ = ["OperandSource", "find_result", "find_sources", "pairwise_rotation", "permutation"]

Expr = Any

_AXES = "BLHD"


@dataclass(frozen=True)
class OperandSource:
    """An operand in memory.

    Attributes:
        expr: the tensor.
        layout: how the operand lies in it.
        rows: whether it is [..., slots * H * D] rather than of the layout's own shape.
        rotary: cosines and sines by which it is still to be rotated, constants; or None.
    """

    expr: Expr
    layout: Layout = field(default_factory=Layout)
    rows: bool = False
    rotary: tuple[Expr, Expr] | None = None

    def shape(self, operand: Expr) -> list[Expr]:
        """The shape as which the kernel takes the tensor."""
        b, rows, h, d = shape_of(operand) or []
        if self.layout.windows is not None:
            b, rows = (shape_of(self.expr) or [])[0], self.layout.windows.height
        return list(self.layout.shape(b, rows, h, d))


def find_sources(flow: Dataflow, call: Expr) -> list[OperandSource]:
    """Queries, keys and values of an attention [B, L, H, D]. Either all or none lie in windows,
    the same ones; either queries and keys or none are rotated, by the same tables."""
    operands = call.args[:3]
    found = [_source(flow, operand, True, True) for operand in operands]
    rotated = found[0].rotary is not None and _same_tables(found[0].rotary, found[1].rotary)
    rotated = rotated and found[2].rotary is None
    windowed = len({source.layout.windows for source in found}) == 1
    if not rotated or not windowed:
        found = [_source(flow, operand, rotated, windowed) for operand in operands]
        # Without a rotation to pass, windows behind it are out of reach.
        if len({source.layout.windows for source in found}) > 1:
            found = [_source(flow, operand, rotated, False) for operand in operands]
    return found


def _same_tables(a: tuple[Expr, Expr] | None, b: tuple[Expr, Expr] | None) -> bool:
    if a is None or b is None:
        return False
    return all(
        x.value.same_as(y.value) or np.array_equal(x.value.numpy(), y.value.numpy())
        for x, y in zip(a, b, strict=True)
    )


def _source(flow: Dataflow, operand: Expr, rotary: bool, windows: bool) -> OperandSource:
    """Go back from an operand as far as the kernel can read."""
    shape = shape_of(operand) or []
    best, names = OperandSource(operand), _AXES
    while True:
        definition = flow.definition(operand)
        if (call := call_of(definition, "relax.permute_dims")) is not None:
            operand, axes = call.args[0], permutation(call)
            names = "".join(names[axes.index(i)] for i in range(4))
        elif (
            rotary
            and best.rotary is None
            and names[-1] == "D"
            and (rotation := _rotation(flow, operand, names)) is not None
        ):
            operand, *tables = rotation
            best = replace(best, rotary=(tables[0], tables[1]))
        else:
            break
        if names[-1] == "D":
            best = replace(best, expr=operand, layout=Layout(names))
    split = call_of(flow.definition(operand), "relax.reshape")
    if split is None or names != _AXES:
        return best
    channels = static_int(shape[2] * shape[3])
    rows = shape_of(split.args[0])
    if channels is None or not rows or static_int(rows[-1]) != channels:
        return best
    layout, expr = _behind_rows(flow, split.args[0], channels, shape[1], windows)
    return replace(best, expr=expr, layout=layout, rows=True)


def _behind_rows(
    flow: Dataflow, rows: Expr, channels: int, length: Expr, windows: bool
) -> tuple[Layout, Expr]:
    """Pass a slice of the last axis, and a partition into windows."""
    layout = Layout()
    while True:
        part = _slot(flow, rows, channels) if layout.slots == 1 else None
        cut = partition_source(flow, rows) if windows and layout.windows is None else None
        if part is not None:
            rows, slot, slots = part
            layout = replace(layout, slot=slot, slots=slots)
        elif cut is not None and cut[1].size == static_int(length):
            rows, layout = cut[0], replace(layout, windows=cut[1])
        else:
            return layout, rows


def _slot(flow: Dataflow, rows: Expr, channels: int) -> tuple[Expr, int, int] | None:
    """The array that ``rows`` is one of several equal parts of, along the last axis."""
    call = call_of(flow.definition(rows), "relax.strided_slice")
    whole = None if call is None else shape_of(call.args[0])
    if call is None or whole is None or len(call.args) != 5:
        return None
    axes, begin, end, step = ([static_int(i) for i in arg.fields] for arg in call.args[1:])
    size = static_int(whole[-1])
    if size is None or axes not in ([len(whole) - 1], [-1]) or step != [1] or begin[0] is None:
        return None
    if size % channels or begin[0] % channels or end != [begin[0] + channels]:
        return None
    return call.args[0], begin[0] // channels, size // channels


def _rotation(flow: Dataflow, rotated: Expr, names: str) -> tuple[Expr, Expr, Expr] | None:
    """x, cosines and sines of a rotation of neighbouring components, in either way to write it.
    The tables are constants that vary along L and D."""
    found = _pairwise_rotation(flow, rotated, names)
    return found if found is not None else _complex_rotation(flow, rotated, names)


def _pairwise_rotation(flow: Dataflow, rotated: Expr, names: str) -> tuple[Expr, Expr, Expr] | None:
    """:func:`pairwise_rotation` by tables that are constants."""
    found = pairwise_rotation(flow, rotated)
    if found is None:
        return None
    shape = shape_of(found[0]) or []
    return found if all(_is_table(table, shape, names) for table in found[1:]) else None


def pairwise_rotation(flow: Dataflow, rotated: Expr) -> tuple[Expr, Expr, Expr] | None:
    """x and what is by it in ``x cos + pairwise(x) sin``, where pairwise takes neighbours (a, b) to
    (-b, a)."""
    total = call_of(flow.definition(rotated), "relax.add")
    if total is None:
        return None
    found = [call_of(flow.definition(arg), "relax.multiply") for arg in total.args]
    terms = [term for term in found if term is not None]
    if len(terms) < 2:
        return None
    for first, second in (terms, terms[::-1]):
        x, cosine = first.args
        turned, sine = second.args
        if flow.root(_turned(flow, turned)) == flow.root(x):
            return x, cosine, sine
    return None


def _complex_rotation(flow: Dataflow, rotated: Expr, names: str) -> tuple[Expr, Expr, Expr] | None:
    """Neighbours (a, b) as complex numbers ``a + ib``, times ``cos + i sin``: interleaved, the
    parts are ``a cos - b sin`` and ``a sin + b cos``."""
    stack = call_of(_through_reshapes(flow, rotated), "relax.concat")
    parts = None if stack is None else flow.definition(stack.args[0])
    fields = list(getattr(parts, "fields", []))
    if stack is None or len(fields) != 2:
        return None
    real = call_of(_through_reshapes(flow, fields[0]), "relax.subtract")
    imaginary = call_of(_through_reshapes(flow, fields[1]), "relax.add")
    if real is None or imaginary is None:
        return None
    found = [
        call_of(flow.definition(arg), "relax.multiply") for arg in (*real.args, *imaginary.args)
    ]
    terms = [term for term in found if term is not None and hasattr(term.args[1], "value")]
    if len(terms) < 4:
        return None
    (a, cosine), (b, sine), (a_too, sine_too), (b_too, cosine_too) = (t.args for t in terms)
    x = _x_of_pairs(flow, a, b)
    if x is None or flow.root(a) != flow.root(a_too) or flow.root(b) != flow.root(b_too):
        return None
    if not _same_tables((cosine, sine), (cosine_too, sine_too)):
        return None
    shape = shape_of(x) or []
    halves = [*shape[:-1], shape[-1] // 2]
    in_place = all(same_shape(shape_of(part) or [], halves) for part in (a, b))
    columns = all(same_shape(shape_of(field) or [], [*halves, 1]) for field in fields)
    if not in_place or not columns or stack.attrs.axis not in (len(shape), -1):
        return None
    if not same_shape(shape_of(rotated) or [], shape):
        return None
    whole = [relax.const(np.repeat(t.value.numpy(), 2, axis=-1)) for t in (cosine, sine)]
    return (x, *whole) if all(_is_table(t, shape, names) for t in whole) else None


def _is_table(expr: Expr, shape: list[Expr], names: str) -> bool:
    """Whether a float32 constant broadcasts to ``shape`` along B and H alone."""
    if not hasattr(expr, "value") or float32_shape_of(expr) is None or len(shape) != 4:
        return False
    own = [static_int(d) for d in float32_shape_of(expr) or []]
    sizes = [*[1] * (4 - len(own)), *own]
    wanted = [static_int(d) if axis in "LD" else 1 for axis, d in zip(names, shape, strict=True)]
    return None not in wanted and sizes == wanted and (wanted[-1] or 1) % 2 == 0


def _turned(flow: Dataflow, expr: Expr) -> Expr | None:
    """x of pairwise(x): the odd components, negated, interleaved with the even ones."""
    shape = shape_of(expr)
    stack = call_of(_through_reshapes(flow, expr), "relax.concat")
    if shape is None or stack is None:
        return None
    parts = flow.definition(stack.args[0])
    fields = list(getattr(parts, "fields", []))
    if len(fields) != 2:
        return None
    negative = call_of(_through_reshapes(flow, fields[0]), "relax.negative")
    if negative is None:
        return None
    x = _x_of_pairs(flow, fields[1], negative.args[0])
    if x is None or not same_shape(shape_of(x) or [], shape):
        return None
    column = [*shape[:-1], shape[-1] // 2, 1]
    fits = all(same_shape(shape_of(field) or [], column) for field in fields)
    return x if fits and stack.attrs.axis in (len(shape), -1) else None


def _x_of_pairs(flow: Dataflow, even: Expr, odd: Expr) -> Expr | None:
    """x of whose last axis these are the components at even and at odd places."""
    cuts = [call_of(_through_reshapes(flow, part), "relax.strided_slice") for part in (even, odd)]
    first, second = cuts
    if first is None or second is None or flow.root(first.args[0]) != flow.root(second.args[0]):
        return None
    pairs = call_of(flow.definition(first.args[0]), "relax.reshape")
    cut = shape_of(first.args[0])
    if pairs is None or cut is None or static_int(cut[-1]) != 2:
        return None
    last = len(cut) - 1
    for at, call in enumerate((first, second)):
        arguments = [[static_int(i) for i in arg.fields] for arg in call.args[1:]]
        if arguments[0] not in ([last], [-1]) or arguments[1:] != [[at], [at + 1], [1]]:
            return None
    x = pairs.args[0]
    shape = shape_of(x) or [1]
    # [..., D] to [..., D / 2, 2]: neighbours make a pair.
    return x if same_shape([*shape[:-1], shape[-1] // 2, 2], cut) else None


def _through_reshapes(flow: Dataflow, expr: Expr) -> Expr:
    """The definition behind reshapes, which keep the order of the values."""
    while (call := call_of(flow.definition(expr), "relax.reshape")) is not None:
        expr = call.args[0]
    return flow.definition(expr)


def find_result(flow: Dataflow, var: Expr, windows: Windows | None) -> tuple[Expr, Layout]:
    """The variable that the kernel can define, past transpositions of the result ``var``, and
    past the way back from ``windows``."""
    best, names = (var, Layout()), _AXES
    shape = shape_of(var) or []
    while (user := flow.only_user(var)) is not None:
        definition = flow.definition(user)
        if (call := call_of(definition, "relax.permute_dims")) is not None:
            var = user
            names = "".join(names[i] for i in permutation(call))
            if names[-1] == "D":
                best = (var, Layout(names))
            continue
        rows = shape_of(user)
        joined = names == _AXES and call_of(definition, "relax.reshape") is not None
        if windows is not None and joined and rows:
            back = unpartition_result(flow, user)
            channels = shape[2] * shape[3]
            if back is not None and back[1] == windows and same_shape(rows[-1:], [channels]):
                best = (back[0], Layout(windows=windows))
        break
    return best


def permutation(call: Expr) -> list[int]:
    """The axes of a ``permute_dims`` of four axes."""
    axes = call.attrs.axes
    return [3, 2, 1, 0] if axes is None else [int(a) % 4 for a in axes]
