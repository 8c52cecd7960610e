"""Factors of small matrices and systems of equations, a batch at a time, in plain loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tvm import relax, te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from sam3_tvm.importer.converters._tensors import dtype_of, extents, product
from sam3_tvm.importer.converters.shapes import broadcast, matrix_transpose
from sam3_tvm.importer.errors import ConversionError
from sam3_tvm.importer.registry import Context, converter
from sam3_tvm.importer.sizes import static_value

aten = torch.ops.aten


def _is_empty(shape: Sequence[Any]) -> bool:
    return any(static_value(s) == 0 for s in shape)


def _batched(cx: Context, x: relax.Expr) -> relax.Expr:
    """[..., rows, columns] as [batch, rows, columns]."""
    shape = extents(x)
    return cx.reshape(x, [product(shape[:-2]), *shape[-2:]])


def _loops(
    body: Callable[..., None], inputs: Sequence[te.Tensor], outputs: Sequence[tuple[Any, str]]
) -> Any:
    """A TE operator whose body is written for one matrix of the batch.

    Args:
        body: takes the number of the matrix, then the buffers of inputs and outputs.
        outputs: their shapes and dtypes.
    """

    def build(ins: Any, outs: Any) -> Any:
        with IRBuilder() as builder:
            buffers = [T.buffer_proxy(buffer) for buffer in (*ins, *outs)]
            with T.parallel(0, inputs[0].shape[0]) as n:
                body(n, *buffers)
            return builder.get()

    shapes, dtypes = zip(*outputs, strict=True)
    return te.extern(list(shapes), list(inputs), build, name="matrices", dtype=list(dtypes))


def _copy(n: Any, source: Any, target: Any, rows: Any, columns: Any) -> None:
    with T.serial(0, rows) as i, T.serial(0, columns) as j:
        target[n, i, j] = source[n, i, j]


def _local(dtype: str, value: Any) -> Any:
    """A variable of a loop's body."""
    cell = T.buffer_proxy(T.decl_buffer([1], dtype, scope="local"))
    cell[0] = tirx.const(value, dtype)
    return cell


def _swap(x: Any, n: Any, i: Any, j: Any, columns: Any, dtype: str) -> None:
    """Exchange two rows."""
    with T.serial(0, columns) as c:
        kept = T.buffer_proxy(T.decl_buffer([1], dtype, scope="local"))
        kept[0] = x[n, i, c]
        x[n, i, c] = x[n, j, c]
        x[n, j, c] = kept[0]


def _lu(a: te.Tensor) -> Any:
    """Gaussian elimination with partial pivoting, as LAPACK's ``getrf``."""
    _, rows, columns = a.shape
    count = tirx.min(rows, columns)

    def body(n: Any, x: Any, lu: Any, pivots: Any, info: Any) -> None:
        _copy(n, x, lu, rows, columns)
        info[n] = tirx.const(0, "int32")
        with T.serial(0, count) as k:
            best = _local("int64", 0)
            best[0] = tirx.Cast("int64", k)
            with T.serial(0, rows - k - 1) as step:
                i = k + 1 + step
                larger = tirx.abs(lu[n, i, k]) > tirx.abs(lu[n, best[0], k])
                best[0] = tirx.Select(larger, tirx.Cast("int64", i), best[0])
            pivots[n, k] = tirx.Cast("int32", best[0] + 1)
            with T.If(best[0] != tirx.Cast("int64", k)), T.Then():
                _swap(lu, n, k, best[0], columns, str(a.dtype))
            with T.If(lu[n, k, k] == tirx.const(0, a.dtype)):
                with T.Then():
                    first = tirx.Select(info[n] == 0, tirx.Cast("int32", k + 1), info[n])
                    info[n] = first
                with T.Else(), T.serial(0, rows - k - 1) as step:
                    i = k + 1 + step
                    lu[n, i, k] = lu[n, i, k] / lu[n, k, k]
                    with T.serial(0, columns - k - 1) as rest:
                        j = k + 1 + rest
                        lu[n, i, j] = lu[n, i, j] - lu[n, i, k] * lu[n, k, j]

    shapes = [(a.shape, a.dtype), ((a.shape[0], count), "int32"), ((a.shape[0],), "int32")]
    return _loops(body, [a], shapes)


@converter(aten.linalg_lu_factor_ex.default)
def lu_factor(
    cx: Context,
    A: relax.Expr,  # noqa: N803 - torch's name
    pivot: bool = True,
    check_errors: bool = False,
) -> list[relax.Expr]:
    """``A = P L U``: both factors in one matrix, the exchanges of rows (counted from 1), and
    the number of the first pivot that is 0 (else 0)."""
    if not pivot:
        raise ConversionError(cx.node, "only with pivot=True, as PyTorch on a CPU")
    shapes = [cx.shape_of(part) for part in cx.result]
    if _is_empty(extents(A)):
        dtypes = (dtype_of(A), "int32", "int32")
        pairs = zip(shapes, dtypes, strict=True)
        return [cx.emit(relax.op.zeros(shape, dtype)) for shape, dtype in pairs]
    found = cx.emit_te(_lu, _batched(cx, A), name="lu_factor")
    parts = [cx.emit(relax.TupleGetItem(found, i)) for i in range(3)]
    return [cx.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def _exchange(x: te.Tensor, pivots: te.Tensor, backwards: bool) -> Any:
    """The rows of ``x`` exchanged in the order of ``pivots``, or back again."""
    _, rows, columns = x.shape
    count = pivots.shape[1]

    def body(n: Any, source: Any, order: Any, out: Any) -> None:
        _copy(n, source, out, rows, columns)
        with T.serial(0, count) as step:
            k = count - 1 - step if backwards else step
            _swap(out, n, k, tirx.Cast("int64", order[n, k]) - 1, columns, str(x.dtype))

    return _loops(body, [x, pivots], [(x.shape, x.dtype)])


def _substitute(a: te.Tensor, b: te.Tensor, upper: bool, unit: bool) -> Any:
    """``X`` of ``A X = B`` for a triangular ``A``, from the first (or last) row on."""
    _, rows, columns = b.shape

    def body(n: Any, matrix: Any, right: Any, out: Any) -> None:
        with T.serial(0, rows) as step, T.serial(0, columns) as c:
            i = rows - 1 - step if upper else step
            out[n, i, c] = right[n, i, c]
            with T.serial(0, step) as before:
                j = rows - 1 - before if upper else before
                out[n, i, c] = out[n, i, c] - matrix[n, i, j] * out[n, j, c]
            if not unit:
                out[n, i, c] = out[n, i, c] / matrix[n, i, i]

    return _loops(body, [a, b], [(b.shape, b.dtype)])


def _solve_triangular(
    cx: Context, a: relax.Expr, b: relax.Expr, upper: bool, unit: bool
) -> relax.Expr:
    return cx.emit_te(_substitute, a, b, upper, unit, name="solve_triangular")


@converter(aten.linalg_solve_triangular.default)
def solve_triangular(
    cx: Context,
    self: relax.Expr,
    B: relax.Expr,  # noqa: N803 - torch's name
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> relax.Expr:
    """``A X = B``, or ``X A = B``, for a triangular ``A``; the other triangle isn't read."""
    if _is_empty(cx.shape):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    if not left:  # A' X' = B'
        self, B = matrix_transpose(cx, self), matrix_transpose(cx, B)  # noqa: N806
        upper = not upper
    batch = cx.shape[:-2]
    a, b = (_batched(cx, broadcast(cx, x, [*batch, *extents(x)[-2:]])) for x in (self, B))
    found = cx.reshape(
        _solve_triangular(cx, a, b, upper, unitriangular), [*batch, *extents(b)[-2:]]
    )
    return found if left else matrix_transpose(cx, found)


@converter(aten.linalg_lu_solve.default)
def lu_solve(
    cx: Context,
    LU: relax.Expr,  # noqa: N803 - torch's name
    pivots: relax.Expr,
    B: relax.Expr,  # noqa: N803 - torch's name
    left: bool = True,
    adjoint: bool = False,
) -> relax.Expr:
    """``A X = B`` (``X A = B``; with ``adjoint``, ``A' X = B``) by the factors of ``A``."""
    if _is_empty(cx.shape):
        return cx.emit(relax.op.zeros(cx.shape, cx.dtype))
    batch = cx.shape[:-2]
    if not left:  # A' X' = B'
        B, adjoint = matrix_transpose(cx, B), not adjoint  # noqa: N806
    factors, right = (_batched(cx, broadcast(cx, x, [*batch, *extents(x)[-2:]])) for x in (LU, B))
    count = extents(pivots)[-1]
    order = cx.reshape(broadcast(cx, pivots, [*batch, count]), [product(batch), count])
    if adjoint:
        turned = matrix_transpose(cx, factors)
        y = _solve_triangular(cx, turned, right, upper=False, unit=False)
        y = _solve_triangular(cx, turned, y, upper=True, unit=True)
        found = cx.emit_te(_exchange, y, order, True, name="exchange_rows")
    else:
        y = cx.emit_te(_exchange, right, order, False, name="exchange_rows")
        y = _solve_triangular(cx, factors, y, upper=False, unit=True)
        found = _solve_triangular(cx, factors, y, upper=True, unit=False)
    found = cx.reshape(found, [*batch, *extents(right)[-2:]])
    return found if left else matrix_transpose(cx, found)


@converter(aten.lu_unpack.default)
def lu_unpack(
    cx: Context,
    LU_data: relax.Expr,  # noqa: N803 - torch's name
    LU_pivots: relax.Expr,  # noqa: N803 - torch's name
    unpack_data: bool = True,
    unpack_pivots: bool = True,
) -> list[relax.Expr]:
    """``P``, ``L`` and ``U`` of what :func:`lu_factor` gives; empty ones where not asked for."""
    shapes, dtype = [cx.shape_of(part) for part in cx.result], dtype_of(LU_data)
    found = [cx.emit(relax.op.zeros(shape, dtype)) for shape in shapes]
    *batch, rows, columns = extents(LU_data)
    if _is_empty((*batch, rows, columns)):
        if unpack_pivots and not _is_empty(shapes[0]):
            found[0] = broadcast(cx, cx.emit(relax.op.eye(rows, dtype=dtype)), shapes[0])
        return found
    if unpack_pivots:
        one = broadcast(cx, cx.emit(relax.op.eye(rows, dtype=dtype)), shapes[0])
        order = cx.reshape(LU_pivots, [product(batch), extents(LU_pivots)[-1]])
        exchanged = cx.emit_te(_exchange, _batched(cx, one), order, True, name="exchange_rows")
        found[0] = cx.reshape(exchanged, shapes[0])
    if unpack_data:
        whole = _batched(cx, LU_data)
        for place, upper in ((1, False), (2, True)):
            part = cx.emit_te(_triangle, whole, shapes[place][-2:], upper, name="lu_unpack")
            found[place] = cx.reshape(part, shapes[place])
    return found


def _triangle(a: te.Tensor, shape: Sequence[Any], upper: bool) -> te.Tensor:
    """``U``, or ``L`` with ones on its diagonal, cut to ``shape``."""
    zero, one = tirx.const(0, a.dtype), tirx.const(1, a.dtype)

    def entry(n: Any, i: Any, j: Any) -> Any:
        if upper:
            return tirx.Select(i <= j, a[n, i, j], zero)
        return tirx.Select(i > j, a[n, i, j], tirx.Select(i == j, one, zero))

    return te.compute((a.shape[0], *shape), entry, name="triangle")


def _lower_factor(a: te.Tensor) -> Any:
    """Cholesky's factor by rows; only the lower triangle is read."""
    size = a.shape[1]
    zero = tirx.const(0, a.dtype)

    def body(n: Any, x: Any, lower: Any, info: Any) -> None:
        info[n] = tirx.const(0, "int32")
        with T.serial(0, size) as i, T.serial(0, size) as j:
            lower[n, i, j] = zero
        with T.serial(0, size) as i, T.serial(0, i + 1) as j:
            rest = _local(str(a.dtype), 0)
            rest[0] = x[n, i, j]
            with T.serial(0, j) as k:
                rest[0] = rest[0] - lower[n, i, k] * lower[n, j, k]
            with T.If(i == j):
                with T.Then():
                    fails = tirx.And(info[n] == 0, tirx.Not(rest[0] > zero))
                    info[n] = tirx.Select(fails, tirx.Cast("int32", i + 1), info[n])
                    lower[n, i, j] = tirx.sqrt(rest[0])
                with T.Else():
                    lower[n, i, j] = rest[0] / lower[n, j, j]

    return _loops(body, [a], [(a.shape, a.dtype), ((a.shape[0],), "int32")])


@converter(aten.linalg_cholesky_ex.default)
def cholesky(
    cx: Context, self: relax.Expr, upper: bool = False, check_errors: bool = False
) -> list[relax.Expr]:
    """``A = L L'`` (``U' U`` with ``upper``), and the order of the first minor that isn't
    positive (else 0). There the factor is NaN from that row on."""
    factor, info = (cx.shape_of(part) for part in cx.result)
    if _is_empty(extents(self)):
        return [self, cx.emit(relax.op.zeros(info, "int32"))]
    x = matrix_transpose(cx, self) if upper else self
    found = cx.emit_te(_lower_factor, _batched(cx, x), name="cholesky")
    lower, failed = (cx.emit(relax.TupleGetItem(found, i)) for i in range(2))
    lower = cx.reshape(lower, factor)
    return [matrix_transpose(cx, lower) if upper else lower, cx.reshape(failed, info)]


def _householder(a: te.Tensor) -> Any:
    """``R``, below it nothing, and the whole ``Q``, with LAPACK's signs."""
    _, rows, columns = a.shape
    count = tirx.min(rows, columns)
    zero, one, two = (tirx.const(v, a.dtype) for v in (0, 1, 2))
    dtype = str(a.dtype)

    def reflect(n: Any, target: Any, vector: Any, first: Any, width: Any) -> None:
        """Subtract ``2 v v' X / v'v`` from the rows from ``first`` on; ``v'v`` is in row -1."""
        with T.serial(0, width) as c:
            dot = _local(dtype, 0)
            with T.serial(0, rows - first) as step:
                dot[0] = dot[0] + vector[n, first + step] * target[n, first + step, c]
            with T.serial(0, rows - first) as step:
                i = first + step
                target[n, i, c] = target[n, i, c] - two * dot[0] * vector[n, i] / vector[n, rows]

    def body(n: Any, x: Any, r: Any, q: Any, v: Any) -> None:
        _copy(n, x, r, rows, columns)
        with T.serial(0, rows) as i, T.serial(0, rows) as j:
            q[n, i, j] = tirx.Select(i == j, one, zero)
        with T.serial(0, count) as k:
            squares = _local(dtype, 0)
            with T.serial(0, rows - k - 1) as step:
                v[n, k + 1 + step] = r[n, k + 1 + step, k]
                squares[0] = squares[0] + r[n, k + 1 + step, k] * r[n, k + 1 + step, k]
            # A column that is 0 below the diagonal stays as it is, whatever its sign.
            with T.If(squares[0] > zero), T.Then():
                head = _local(dtype, 0)
                head[0] = r[n, k, k]
                norm = tirx.sqrt(head[0] * head[0] + squares[0])
                v[n, k] = head[0] + tirx.Select(head[0] < zero, -norm, norm)
                v[n, rows] = v[n, k] * v[n, k] + squares[0]
                reflect(n, r, v, k, columns)
                with T.serial(0, rows - k - 1) as step:
                    r[n, k + 1 + step, k] = zero
                # Q' gathers the reflections in the order in which R met them.
                reflect(n, q, v, k, rows)

    square = (a.shape[0], rows, rows)
    outputs = [(a.shape, dtype), (square, dtype), ((a.shape[0], rows + 1), dtype)]
    return _loops(body, [a], outputs)


@converter(aten.linalg_qr.default)
def qr(
    cx: Context,
    A: relax.Expr,  # noqa: N803 - torch's name
    mode: str = "reduced",
) -> list[relax.Expr]:
    """``A = Q R`` by Householder's reflections."""
    shapes = [cx.shape_of(part) for part in cx.result]
    if _is_empty(extents(A)):
        raise ConversionError(cx.node, "has no factors of an empty matrix here")
    found = cx.emit_te(_householder, _batched(cx, A), name="qr")
    r, turned = (cx.emit(relax.TupleGetItem(found, i)) for i in range(2))
    q = matrix_transpose(cx, turned)
    parts = []
    for x, shape in ((q, shapes[0]), (r, shapes[1])):
        if _is_empty(shape):  # mode "r" leaves Q out
            parts.append(cx.emit(relax.op.zeros(shape, dtype_of(A))))
            continue
        cut = cx.emit_te(_corner, x, shape[-2:], name="corner")
        parts.append(cx.reshape(cut, shape))
    return parts


def _corner(x: te.Tensor, shape: Sequence[Any]) -> te.Tensor:
    """The upper left part of each matrix."""
    return te.compute((x.shape[0], *shape), lambda n, i, j: x[n, i, j], name="corner")
