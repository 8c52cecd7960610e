"""Shape operators: views, permutations, joining, splitting, padding.

torch has worked out every result's shape symbolically, with -1 resolved, so views read
it from there (``cx.shape``). Negative axes are normalised here, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import extents
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def axis_of(dim: int, rank: int) -> int:
    """A non-negative axis; torch has checked the range, and a 0-d tensor counts as 1-d."""
    return dim % max(rank, 1)


@converter(
    aten.view.default,
    aten._unsafe_view.default,
    aten.reshape.default,
    aten.flatten.using_ints,
    aten.unflatten.int,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unsqueeze.default,
    aten.view_as.default,
    aten.reshape_as.default,
    aten.ravel.default,
    aten.atleast_1d.default,
    aten.atleast_2d.default,
)
def view(cx: Context, self: relax.Expr, **_: Any) -> relax.Expr:
    """Same elements in the same order, in the shape that torch gives the result."""
    return cx.reshape(self, cx.shape)


@converter(
    aten.contiguous.default,
    aten.clone.default,
    aten.positive.default,
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
)
def same(cx: Context, self: relax.Expr | None = None, **kwargs: Any) -> relax.Expr:
    """At inference, and without memory layouts, the input itself."""
    return kwargs["input"] if self is None else self


@converter(aten.native_dropout.default)
def native_dropout(cx: Context, input: relax.Expr, **_: Any) -> list[relax.Expr]:
    """At inference the input, all of which is kept."""
    return [input, cx.emit(relax.op.ones(cx.shape_of(cx.result[1]), "bool"))]


def broadcast(cx: Context, x: relax.Expr, shape: Sequence[Any]) -> relax.Expr:
    """``x`` broadcast to ``shape``; ``x`` itself if it has that shape."""
    have = extents(x)
    if len(have) == len(shape) and all(map(cx.sizes.equal, have, shape)):
        return x
    return cx.emit(relax.op.broadcast_to(x, list(shape)))


@converter(
    aten.expand.default, aten.expand_as.default, aten.broadcast_to.default, aten.expand_copy.default
)
def expand(cx: Context, self: relax.Expr, **_: Any) -> relax.Expr:
    return broadcast(cx, self, cx.shape)


@converter(aten.broadcast_tensors.default)
def broadcast_tensors(cx: Context, tensors: list[relax.Expr]) -> list[relax.Expr]:
    shape = cx.shape_of(cx.result[0])
    return [broadcast(cx, t, shape) for t in tensors]


@converter(aten.repeat.default, aten.tile.default)
def tile(cx: Context, self: relax.Expr, repeats: Any = None, dims: Any = None) -> relax.Expr:
    """Whole copies along each axis; missing leading axes count as 1."""
    counts = repeats if repeats is not None else dims
    rank = len(cx.shape)
    have = [1] * (rank - self.ty.ndim) + extents(self)
    counts = [1] * (rank - len(counts)) + list(counts)
    if any(static_value(s) == 0 for s in cx.shape):
        return cx.reshape(self, cx.shape)
    # Copies are a broadcast over a new axis before each repeated one: it works for
    # symbolic counts too, and needs no operator of its own.
    spread, wide = [], []
    for extent, count in zip(have, counts, strict=True):
        if static_value(count) == 1:
            spread.append(extent)
            wide.append(extent)
        elif static_value(extent) == 1:
            spread.append(1)
            wide.append(count)
        else:
            spread += [1, extent]
            wide += [count, extent]
    return cx.reshape(broadcast(cx, cx.reshape(self, spread), wide), cx.shape)


@converter(aten.repeat_interleave.self_int)
def repeat_interleave(
    cx: Context, self: relax.Expr, repeats: Any, dim: int | None = None, **_: Any
) -> relax.Expr:
    """Each entry along ``dim`` (of the flattened tensor if None) ``repeats`` times."""
    if any(static_value(s) == 0 for s in cx.shape):
        return cx.reshape(self, cx.shape)
    have = extents(self)
    axis = axis_of(dim, len(have)) if dim is not None else len(have) - 1
    at = axis + 1
    x = cx.reshape(self, [*have[:at], 1, *have[at:]])
    return cx.reshape(broadcast(cx, x, [*have[:at], repeats, *have[at:]]), cx.shape)


@converter(aten.permute.default, aten.permute_copy.default)
def permute(cx: Context, self: relax.Expr, dims: Sequence[int]) -> relax.Expr:
    axes = [axis_of(d, len(dims)) for d in dims]
    if axes == list(range(len(axes))):
        return self
    return cx.emit(relax.op.permute_dims(self, axes))


def move(cx: Context, self: relax.Expr, axes: dict[int, int]) -> relax.Expr:
    """Permute so that axis ``source`` becomes axis ``target``; the others keep their order."""
    rest = iter([a for a in range(self.ty.ndim) if a not in axes])
    at = {target: source for source, target in axes.items()}
    return permute(cx, self, [at[i] if i in at else next(rest) for i in range(self.ty.ndim)])


@converter(aten.transpose.int, aten.swapaxes.default, aten.swapdims.default)
def transpose(cx: Context, self: relax.Expr, **dims: int) -> relax.Expr:
    rank = self.ty.ndim
    if rank == 0:
        return self
    first, second = (axis_of(d, rank) for d in dims.values())
    return move(cx, self, {first: second, second: first})


@converter(aten.t.default, aten.numpy_T.default, aten.mT.default, aten.adjoint.default)
def matrix_transpose(cx: Context, self: relax.Expr) -> relax.Expr:
    rank = self.ty.ndim
    return self if rank < 2 else move(cx, self, {rank - 2: rank - 1, rank - 1: rank - 2})


@converter(aten.movedim.int, aten.movedim.intlist, aten.moveaxis.int, aten.moveaxis.intlist)
def movedim(cx: Context, self: relax.Expr, source: Any, destination: Any) -> relax.Expr:
    rank = self.ty.ndim
    pairs = zip(
        [source] if isinstance(source, int) else source,
        [destination] if isinstance(destination, int) else destination,
        strict=True,
    )
    return move(cx, self, {axis_of(s, rank): axis_of(d, rank) for s, d in pairs})


@converter(aten.cat.default, aten.concat.default, aten.concatenate.default)
def cat(cx: Context, tensors: list[relax.Expr], dim: int = 0) -> relax.Expr:
    """Join along an axis, in the promoted dtype. Tensors without extent there add nothing; neither
    do empty 1-d tensors, which PyTorch skips whatever the rank of the others."""
    axis = axis_of(dim, len(cx.shape))
    joined = [
        cx.cast(t, cx.dtype)
        for t in tensors
        if static_value(extents(t)[0 if t.ty.ndim == 1 else axis]) != 0
    ]
    if not joined:
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    return joined[0] if len(joined) == 1 else cx.emit(relax.op.concat(joined, axis))


@converter(aten.stack.default)
def stack(cx: Context, tensors: list[relax.Expr], dim: int = 0) -> relax.Expr:
    axis = axis_of(dim, len(cx.shape))
    single = [1 if i == axis else s for i, s in enumerate(cx.shape)]
    parts = [cx.reshape(cx.cast(t, cx.dtype), single) for t in tensors]
    return parts[0] if len(parts) == 1 else cx.emit(relax.op.concat(parts, axis))


@converter(aten.hstack.default, aten.vstack.default, aten.column_stack.default, aten.dstack.default)
def stack_along(cx: Context, tensors: list[relax.Expr]) -> relax.Expr:
    name = cx.node.target.__name__.split(".")[0]
    rank = len(cx.shape)
    axis = {"hstack": min(1, rank - 1), "vstack": 0, "column_stack": 1, "dstack": 2}[name]
    parts = []
    for tensor in tensors:
        x, have = cx.cast(tensor, cx.dtype), extents(tensor)
        if name == "column_stack" and len(have) < 2:
            x = cx.reshape(x, [*(have or [1]), 1])
        elif name == "dstack" and len(have) < 3:
            x = cx.reshape(x, [*([1] * (2 - len(have))), *have, 1])
        elif len(have) < rank:
            x = cx.reshape(x, [1] * (rank - len(have)) + have)
        parts.append(x)
    return parts[0] if len(parts) == 1 else cx.emit(relax.op.concat(parts, axis))


@converter(
    aten.split.Tensor,
    aten.split.sizes,
    aten.split_with_sizes.default,
    aten.chunk.default,
    aten.tensor_split.sections,
    aten.tensor_split.indices,
    aten.unsafe_chunk.default,
    aten.unsafe_split.Tensor,
)
def split(cx: Context, self: relax.Expr, dim: int = 0, **_: Any) -> list[relax.Expr]:
    """Consecutive pieces of the lengths that torch gives them."""
    axis = axis_of(dim, self.ty.ndim)
    shapes = [cx.shape_of(fake) for fake in cx.result]
    if len(shapes) == 1:
        return [self]
    lengths = [static_value(s[axis]) for s in shapes]
    if None not in lengths and 0 not in lengths:
        ends = [sum(lengths[: i + 1]) for i in range(len(lengths) - 1)]  # type: ignore[arg-type]
        pieces = cx.emit(relax.op.split(self, ends, axis))
        return [cx.emit(relax.TupleGetItem(pieces, i)) for i in range(len(shapes))]
    start: Any = 0
    parts = []
    for shape in shapes:
        parts.append(piece(cx, self, axis, start, shape))
        start = cx.sizes.simplify(start + shape[axis])
    return parts


def piece(
    cx: Context, x: relax.Expr, axis: int, start: Any, shape: Sequence[Any], step: Any = 1
) -> relax.Expr:
    """Every ``step``-th entry along ``axis`` from ``start``, in range, giving ``shape``."""
    length = shape[axis]
    if any(static_value(s) == 0 for s in shape):
        return cx.emit(relax.op.zeros(list(shape), x.ty.dtype.dtype))
    if (
        static_value(start) == 0
        and static_value(step) == 1
        and cx.sizes.equal(length, extents(x)[axis])
    ):
        return x
    # The end that gives this length exactly, whatever Relax can prove of the range.
    end = cx.sizes.simplify(start + (length - 1) * step + 1)
    return cx.emit(relax.op.strided_slice(x, [axis], [start], [end], [step], assume_inbound=True))


@converter(aten.unbind.int)
def unbind(cx: Context, self: relax.Expr, dim: int = 0) -> list[relax.Expr]:
    axis = axis_of(dim, self.ty.ndim)
    single = [1 if i == axis else s for i, s in enumerate(extents(self))]
    shape = [s for i, s in enumerate(extents(self)) if i != axis]
    return [cx.reshape(piece(cx, self, axis, i, single), shape) for i in range(len(cx.result))]


@converter(aten.meshgrid.default, aten.meshgrid.indexing)
def meshgrid(cx: Context, tensors: list[relax.Expr], indexing: str = "ij") -> list[relax.Expr]:
    """One grid per input; ``xy`` exchanges the first two axes of every grid."""
    shape = cx.shape_of(cx.result[0])
    places = list(range(len(tensors)))
    if indexing == "xy" and len(places) > 1:
        places[0], places[1] = 1, 0
    grids = []
    for place, tensor in zip(places, tensors, strict=True):
        along = [s if i == place else 1 for i, s in enumerate(shape)]
        grids.append(broadcast(cx, cx.reshape(tensor, along), shape))
    return grids
