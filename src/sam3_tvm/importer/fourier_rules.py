"""Discrete Fourier transforms as products with constant matrices (see complex_numbers).

A transform of ``n`` points is a product with the matrix ``exp(-2πi jk / n)``. Where ``n`` is
known and has divisors, it is done in stages instead, after Cooley and Tukey: for
``n = a b``, ``a`` transforms of ``b`` points between ``b`` transforms of ``a`` points, with
factors between the two. The matrices depend on sizes alone: static ones are computed at import.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from sam3_tvm.importer.complex_numbers import Emitter, Pair, rule

aten = torch.ops.aten

_DIRECT = 96
"""Up to so many points one product with the whole matrix is as good as stages."""

_BY_ROOT, _BY_COUNT = 1, 2
"""PyTorch's codes for how a transform is scaled."""

_Parts = tuple[fx.Node, "fx.Node | None"]
"""Real and imaginary part; None where that is 0."""


@rule(aten._fft_c2c.default)
def complex_to_complex(
    e: Emitter, self: Pair, dim: Sequence[int], normalization: int, forward: bool
) -> Pair:
    parts: _Parts = e.parts(self)
    for axis in dim:
        parts = _along(e, parts, axis % self.rank, forward)
    return e.join(*_scaled(e, parts, dim, normalization))


@rule(aten._fft_r2c.default)
def real_to_complex(
    e: Emitter, self: fx.Node, dim: Sequence[int], normalization: int, onesided: bool
) -> Pair:
    """The last axis of ``dim`` goes first; ``onesided`` leaves its points 0 to n/2."""
    rank = self.meta["val"].ndim
    last = dim[-1] % rank
    counts = [_size(e, self, axis % rank) for axis in dim]
    parts = _along(e, (self, None), last, True)
    if onesided:
        kept = e.source.meta["val"].shape[last]
        if not isinstance(kept, int):
            half = _number(e, operator.floordiv, counts[-1], 2)
            kept = _number(e, operator.add, half, 1)
        parts = _each(e, aten.slice.Tensor, parts, last, 0, kept)
    for axis in dim[:-1]:
        parts = _along(e, parts, axis % rank, True)
    return e.join(*_scaled(e, parts, dim, normalization, counts))


@rule(aten._fft_c2r.default)
def complex_to_real(
    e: Emitter, self: Pair, dim: Sequence[int], normalization: int, last_dim_size: Any
) -> fx.Node:
    """The inverse of a one-sided transform, whose other half mirrors the first."""
    parts: _Parts = e.parts(self)
    for axis in dim[:-1]:
        parts = _along(e, parts, axis % self.rank, False)
    last = dim[-1] % self.rank
    real, imag = parts
    assert imag is not None  # a pair has both
    # Entry n - k is the conjugate of entry k, for k from 1 to below n/2.
    upper = _number(e, operator.floordiv, _number(e, operator.add, last_dim_size, 1), 2)
    first, rest = (e.call(aten.slice.Tensor, part, last, 1, upper) for part in (real, imag))
    mirrored = (
        e.call(aten.flip.default, first, [last]),
        e.call(aten.neg.default, e.call(aten.flip.default, rest, [last])),
    )
    half = _number(e, operator.add, _number(e, operator.floordiv, last_dim_size, 2), 1)
    whole = tuple(
        e.call(aten.cat.default, [e.call(aten.slice.Tensor, part, last, 0, half), mirror], last)
        for part, mirror in zip((real, imag), mirrored, strict=True)
    )
    found, _ = _along(e, (whole[0], _without_own_mirrors(e, whole[1], last)), last, False)
    counts = [
        last_dim_size if axis % self.rank == last else _size(e, real, axis % self.rank)
        for axis in dim
    ]
    found, _ = _scaled(e, (found, None), dim, normalization, counts)
    return found


def _without_own_mirrors(e: Emitter, imag: fx.Node, axis: int) -> fx.Node:
    """The imaginary part with zeros for the entries that are their own mirrors: 0, and n/2.

    They count for nothing. Factors of 0 would do for numbers, and not for NaN.
    """
    n = _size(e, imag, axis)
    twice = e.call(aten.mul.Scalar, e.call(aten.arange.default, n, dtype=torch.int64), 2)
    if isinstance(n, int):
        turns = e.call(aten.remainder.Scalar, twice, n)
    else:
        count = e.call(aten.scalar_tensor.default, n, dtype=torch.int64)
        turns = e.call(aten.remainder.Tensor, twice, count)
    own = e.call(aten.eq.Scalar, turns, 0)
    beyond = imag.meta["val"].ndim - 1 - axis
    own = e.call(aten.reshape.default, own, [-1, *[1] * beyond]) if beyond else own
    return e.call(aten.masked_fill.Scalar, imag, own, 0.0)


def _number(e: Emitter, function: Any, a: Any, b: int) -> Any:
    """A Python operator on sizes: an int where both are known, else a node."""
    return function(a, b) if isinstance(a, int) else e.call(function, a, b)


def _size(e: Emitter, node: fx.Node, axis: int) -> Any:
    """An int where it is known, else a node that gives it."""
    size = node.meta["val"].shape[axis]
    return size if isinstance(size, int) else e.call(aten.sym_size.int, node, axis)


def _each(e: Emitter, target: Any, parts: _Parts, *args: Any) -> _Parts:
    """A linear operator on both parts."""
    real, imag = parts
    return e.call(target, real, *args), None if imag is None else e.call(target, imag, *args)


def _scaled(
    e: Emitter, parts: _Parts, dim: Sequence[int], normalization: int, counts: Any = None
) -> Any:
    """Divided by the number of points, or its root, or as it is."""
    if normalization not in (_BY_ROOT, _BY_COUNT):
        return parts
    rank = parts[0].meta["val"].ndim
    counts = counts or [_size(e, parts[0], axis % rank) for axis in dim]
    for count in counts:
        if isinstance(count, int):
            divisor = math.sqrt(count) if normalization == _BY_ROOT else float(count)
            parts = _each(e, aten.div.Scalar, parts, divisor)
            continue
        dtype = parts[0].meta["val"].dtype
        value = e.call(aten.scalar_tensor.default, count, dtype=dtype)
        value = e.call(aten.sqrt.default, value) if normalization == _BY_ROOT else value
        parts = _each(e, aten.div.Tensor, parts, value)
    return parts


def _along(e: Emitter, parts: _Parts, axis: int, forward: bool) -> _Parts:
    """The transform along one axis, not scaled."""
    last = parts[0].meta["val"].ndim - 1
    count = _size(e, parts[0], axis)
    parts = _each(e, aten.transpose.int, parts, axis, last) if axis != last else parts
    parts = _transform(e, parts, count, forward)
    return _each(e, aten.transpose.int, parts, axis, last) if axis != last else parts


def _transform(e: Emitter, parts: _Parts, n: Any, forward: bool) -> _Parts:
    """The transform along the last axis, of ``n`` points."""
    a = _divisor(n) if isinstance(n, int) and n > _DIRECT else 1
    if a == 1:
        return _product(e, parts, _matrix(e, n, n, n, forward, parts))
    b = n // a
    lead = e.shape(parts[0])[:-1]
    last = len(lead)
    # Point j = j1 b + j2 goes to place k = k1 + a k2.
    parts = _each(e, aten.reshape.default, parts, [*lead, a, b])
    parts = _each(e, aten.transpose.int, parts, last, last + 1)  # [j2, j1]
    parts = _transform(e, parts, a, forward)  # [j2, k1]
    parts = _times(e, parts, _matrix(e, b, a, n, forward, parts))
    parts = _each(e, aten.transpose.int, parts, last, last + 1)  # [k1, j2]
    parts = _transform(e, parts, b, forward)  # [k1, k2]
    parts = _each(e, aten.transpose.int, parts, last, last + 1)
    return _each(e, aten.reshape.default, parts, [*lead, n])


def _divisor(n: int) -> int:
    """The largest divisor up to the square root; 1 of a prime."""
    return next(a for a in range(math.isqrt(n), 0, -1) if n % a == 0)


def _matrix(
    e: Emitter, rows: Any, columns: Any, n: Any, forward: bool, like: _Parts
) -> tuple[fx.Node, fx.Node]:
    """``exp(∓2πi jk / n)`` for j < rows and k < columns: cosines and sines.

    ``jk`` is reduced modulo ``n`` in integers, so that no angle is large.
    """
    j = e.call(aten.unsqueeze.default, e.call(aten.arange.default, rows, dtype=torch.int64), 1)
    k = e.call(aten.arange.default, columns, dtype=torch.int64)
    product = e.call(aten.mul.Tensor, j, k)
    size = n if isinstance(n, int) else e.call(aten.scalar_tensor.default, n, dtype=torch.int64)
    modulo = aten.remainder.Scalar if isinstance(n, int) else aten.remainder.Tensor
    turns = e.call(modulo, product, size)
    angle = e.call(aten._to_copy.default, turns, dtype=torch.float64)
    angle = e.call(aten.mul.Scalar, angle, -2 * math.pi if forward else 2 * math.pi)
    if isinstance(n, int):
        angle = e.call(aten.div.Scalar, angle, float(n))
    else:
        angle = e.call(aten.div.Tensor, angle, e.cast(size, torch.float64))
    dtype = like[0].meta["val"].dtype
    cosine = e.cast(e.call(aten.cos.default, angle), dtype)
    sine = e.cast(e.call(aten.sin.default, angle), dtype)
    return cosine, sine


def _product(e: Emitter, parts: _Parts, matrix: tuple[fx.Node, fx.Node]) -> _Parts:
    return _combine(e, aten.matmul.default, parts, matrix)


def _times(e: Emitter, parts: _Parts, factors: tuple[fx.Node, fx.Node]) -> _Parts:
    return _combine(e, aten.mul.Tensor, parts, factors)


def _combine(e: Emitter, times: Any, parts: _Parts, other: tuple[fx.Node, fx.Node]) -> _Parts:
    """(a + bi)(c + di) for a bilinear operator."""
    (a, b), (c, d) = parts, other
    if b is None:
        return e.call(times, a, c), e.call(times, a, d)
    return (
        e.call(aten.sub.Tensor, e.call(times, a, c), e.call(times, b, d)),
        e.call(aten.add.Tensor, e.call(times, a, d), e.call(times, b, c)),
    )
