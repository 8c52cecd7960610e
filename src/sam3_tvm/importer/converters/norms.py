"""Normalisation: each stays one Relax operator.

Half-precision values are normalised in float32 and rounded once, as in PyTorch. Relax
lowers layer and group norm in float32 and float16 alone, so in other dtypes the same
computation is spelled out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tvm import relax

from sam3_tvm.importer.converters._tensors import accumulator, cast, dtype_of, extents, product
from sam3_tvm.importer.registry import Context, converter, dtype_name

aten = torch.ops.aten

LOWERED = ("float32",)
"""Dtypes whose layer and group norm Relax lowers without losing precision."""


def _filled(
    cx: Context, x: relax.Expr | None, fill: float, shape: Sequence[Any], dtype: str
) -> relax.Expr:
    """``x`` as ``dtype``, or a tensor full of ``fill`` where a weight or bias is absent."""
    if x is not None:
        return cast(cx, x, dtype)
    return cx.emit(relax.op.full(relax.ShapeExpr(list(shape)), relax.const(fill, dtype), dtype))


def _standardise(cx: Context, x: relax.Expr, axes: list[int], eps: float) -> relax.Expr:
    """``(x - mean) / sqrt(variance + eps)`` over ``axes``, from elementary operators."""
    mean = cx.emit(relax.op.mean(x, axes, keepdims=True))
    centred = cx.emit(relax.op.subtract(x, mean))
    variance = cx.emit(relax.op.mean(relax.op.multiply(centred, centred), axes, keepdims=True))
    deviation = relax.op.sqrt(relax.op.add(variance, relax.const(eps, dtype_of(x))))
    return cx.emit(relax.op.divide(centred, deviation))


def _affine(
    cx: Context, x: relax.Expr, weight: relax.Expr | None, bias: relax.Expr | None
) -> relax.Expr:
    """``x weight + bias``, each broadcast and each optional."""
    if weight is not None:
        x = cx.emit(relax.op.multiply(x, cast(cx, weight, dtype_of(x))))
    if bias is not None:
        x = cx.emit(relax.op.add(x, cast(cx, bias, dtype_of(x))))
    return x


def _used(cx: Context) -> set[int]:
    """Which entries of a multi-valued result the graph takes."""
    return {user.args[1] for user in cx.node.users}


def _saved(
    cx: Context, x: relax.Expr, axes: list[int], eps: float, shape: list[Any]
) -> list[relax.Expr | None]:
    """The mean and ``1 / sqrt(variance + eps)`` in ``shape``, where they are used at all."""
    if not _used(cx) - {0}:
        return [None, None]
    wide = cast(cx, x, accumulator(dtype_of(x)))
    mean = cx.emit(relax.op.mean(wide, axes, keepdims=True))
    centred = cx.emit(relax.op.subtract(wide, mean))
    variance = cx.emit(relax.op.mean(relax.op.multiply(centred, centred), axes, keepdims=True))
    shifted = relax.op.add(variance, relax.const(eps, dtype_of(wide)))
    return [
        cast(cx, cx.emit(relax.op.reshape(value, shape)), dtype_name(fake.dtype))
        for value, fake in zip((mean, relax.op.rsqrt(shifted)), cx.result[1:3], strict=True)
    ]


@converter(aten.layer_norm.default)
def layer_norm(
    cx: Context,
    input: relax.Expr,
    normalized_shape: Sequence[Any],
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    eps: float,
    **_: Any,
) -> relax.Expr:
    """Over the last ``len(normalized_shape)`` dimensions; weight and bias are optional."""
    dtype = accumulator(dtype_of(input))
    axes = list(range(-len(normalized_shape), 0))
    x = cast(cx, input, dtype)
    if dtype not in LOWERED:
        out = _affine(cx, _standardise(cx, x, axes, eps), weight, bias)
    else:
        gamma = _filled(cx, weight, 1.0, normalized_shape, dtype)
        beta = _filled(cx, bias, 0.0, normalized_shape, dtype)
        out = cx.emit(relax.op.nn.layer_norm(x, gamma, beta, axes=axes, epsilon=eps))
    return cast(cx, out, dtype_of(input))


@converter(aten.native_layer_norm.default)
def native_layer_norm(
    cx: Context,
    input: relax.Expr,
    normalized_shape: Sequence[Any],
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    eps: float,
) -> list[relax.Expr | None]:
    """The result, the mean, and the reciprocal of the standard deviation."""
    out = layer_norm(cx, input, normalized_shape, weight, bias, eps)
    shape = extents(input)
    split = len(shape) - len(normalized_shape)
    kept = [*shape[:split], *(1 for _ in normalized_shape)]
    return [out, *_saved(cx, input, list(range(split, len(shape))), eps, kept)]


@converter(aten.rms_norm.default)
def rms_norm(
    cx: Context,
    input: relax.Expr,
    normalized_shape: Sequence[Any],
    weight: relax.Expr | None,
    eps: float | None,
) -> relax.Expr:
    """``x / sqrt(mean(x^2) + eps) weight``; without ``eps`` that of the summing dtype."""
    dtype = accumulator(dtype_of(input))
    if eps is None:
        eps = torch.finfo(getattr(torch, dtype)).eps
    axes = list(range(-len(normalized_shape), 0))
    x = cast(cx, input, dtype)
    if dtype not in LOWERED:
        square = cx.emit(relax.op.mean(relax.op.multiply(x, x), axes, keepdims=True))
        norm = relax.op.sqrt(relax.op.add(square, relax.const(eps, dtype)))
        out = _affine(cx, cx.emit(relax.op.divide(x, norm)), weight, None)
    else:
        gamma = _filled(cx, weight, 1.0, normalized_shape, dtype)
        out = cx.emit(relax.op.nn.rms_norm(x, gamma, axes=axes, epsilon=eps))
    return cast(cx, out, dtype_of(input))


def _group_norm(
    cx: Context,
    input: relax.Expr,
    groups: int,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    eps: float,
) -> relax.Expr:
    dtype = accumulator(dtype_of(input))
    shape = extents(input)
    channels = shape[1]
    x = cast(cx, input, dtype)
    if dtype in LOWERED:
        gamma = _filled(cx, weight, 1.0, [channels], dtype)
        beta = _filled(cx, bias, 0.0, [channels], dtype)
        spatial = list(range(2, len(shape)))
        out = cx.emit(
            relax.op.nn.group_norm(
                x, gamma, beta, num_groups=groups, channel_axis=1, axes=spatial, epsilon=eps
            )
        )
    else:
        rows = (shape[0], groups, product(shape[1:]) // groups)
        x = cx.emit(relax.op.reshape(x, rows))
        out = cx.emit(relax.op.reshape(_standardise(cx, x, [2], eps), shape))
        out = _affine(cx, out, *_per_channel(cx, input, weight, bias))
    return cast(cx, out, dtype_of(input))


@converter(aten.group_norm.default)
def group_norm(
    cx: Context,
    input: relax.Expr,
    num_groups: int,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    eps: float,
    **_: Any,
) -> relax.Expr:
    """Over the channels of a group and every further dimension of ``[batch, channels, ...]``."""
    return _group_norm(cx, input, num_groups, weight, bias, eps)


@converter(aten.native_group_norm.default)
def native_group_norm(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    group: int,
    eps: float,
    **_: Any,
) -> list[relax.Expr | None]:
    """The result, and per group the mean and the reciprocal of the standard deviation."""
    out = _group_norm(cx, input, group, weight, bias, eps)
    if not _used(cx) - {0}:
        return [out, None, None]
    shape = extents(input)
    rows = cx.emit(relax.op.reshape(input, (shape[0], group, product(shape[1:]) // group)))
    return [out, *_saved(cx, rows, [2], eps, [shape[0], group])]


@converter(aten.instance_norm.default)
def instance_norm(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    running_mean: relax.Expr | None,
    running_var: relax.Expr | None,
    use_input_stats: bool,
    momentum: float,
    eps: float,
    **_: Any,
) -> relax.Expr:
    """Each channel is a group of its own, unless running statistics are used."""
    if not use_input_stats:
        return _batch_norm(cx, input, weight, bias, running_mean, running_var, eps)
    return _group_norm(cx, input, extents(input)[1], weight, bias, eps)


@converter(aten.batch_norm.default)
def batch_norm(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    running_mean: relax.Expr | None,
    running_var: relax.Expr | None,
    training: bool,
    momentum: float,
    eps: float,
    **_: Any,
) -> relax.Expr:
    """With the running statistics; without any (``track_running_stats=False``), the batch's."""
    if training or running_mean is None or running_var is None:
        return _batch_norm_of_batch(cx, input, weight, bias, eps)
    return _batch_norm(cx, input, weight, bias, running_mean, running_var, eps)


@converter(aten._native_batch_norm_legit_no_training.default)
def native_batch_norm_inference(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    running_mean: relax.Expr,
    running_var: relax.Expr,
    momentum: float,
    eps: float,
) -> list[relax.Expr]:
    """What batch norm becomes on export; its saved statistics are empty at inference."""
    out = _batch_norm(cx, input, weight, bias, running_mean, running_var, eps)
    empty = relax.op.zeros((0,), accumulator(dtype_of(input)))
    return [out, *(cx.emit(empty) if i in _used(cx) else None for i in (1, 2))]


@converter(aten._native_batch_norm_legit.no_stats)
def native_batch_norm_without_statistics(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    training: bool,
    momentum: float,
    eps: float,
) -> list[relax.Expr]:
    axes = [i for i in range(len(extents(input))) if i != 1]
    out = _batch_norm_of_batch(cx, input, weight, bias, eps)
    return [out, *_saved(cx, input, axes, eps, [extents(input)[1]])]


@converter(aten._native_batch_norm_legit_functional.default)
def native_batch_norm_training(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    running_mean: relax.Expr,
    running_var: relax.Expr,
    training: bool,
    momentum: float,
    eps: float,
) -> list[relax.Expr | None]:
    """With ``training``, the batch's statistics, and the running ones moved towards them."""
    axes = [i for i in range(len(extents(input))) if i != 1]
    if not training:
        out = _batch_norm(cx, input, weight, bias, running_mean, running_var, eps)
        empty = cx.emit(relax.op.zeros((0,), accumulator(dtype_of(input))))
        return [out, empty, empty, running_mean, running_var]
    out = _batch_norm_of_batch(cx, input, weight, bias, eps)
    saved = _saved(cx, input, axes, eps, [extents(input)[1]])
    wide = cast(cx, input, accumulator(dtype_of(input)))
    mean = cx.emit(relax.op.mean(wide, axes))
    count = cx.tensor(product([extents(input)[a] for a in axes]), dtype_of(wide))
    freedom = cx.emit(relax.op.subtract(count, relax.const(1, dtype_of(wide))))
    variance = cx.emit(relax.op.multiply(relax.op.variance(wide, axes), count))
    variance = cx.emit(relax.op.divide(variance, freedom))
    moved = (
        _moved(cx, old, new, momentum)
        for old, new in ((running_mean, mean), (running_var, variance))
    )
    return [out, *saved, *moved]


def _moved(cx: Context, old: relax.Expr, new: relax.Expr, momentum: float) -> relax.Expr:
    """``old`` moved by a share of its distance towards ``new``."""
    by = cx.emit(relax.op.subtract(cast(cx, new, dtype_of(old)), old))
    by = cx.emit(relax.op.multiply(by, cx.tensor(momentum, dtype_of(old))))
    return cx.emit(relax.op.add(old, by))


def _batch_norm_of_batch(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    eps: float,
) -> relax.Expr:
    x = cast(cx, input, accumulator(dtype_of(input)))
    axes = [i for i in range(len(extents(input))) if i != 1]
    weight, bias = _per_channel(cx, input, weight, bias)
    out = _affine(cx, _standardise(cx, x, axes, eps), weight, bias)
    return cast(cx, out, dtype_of(input))


def _per_channel(
    cx: Context, x: relax.Expr, *parameters: relax.Expr | None
) -> list[relax.Expr | None]:
    """Parameters ``[C]`` in the shape that broadcasts over ``x [B, C, ...]``."""
    shape = extents(x)
    column = (shape[1], *(1 for _ in shape[2:]))
    return [None if p is None else cx.emit(relax.op.reshape(p, column)) for p in parameters]


def _batch_norm(
    cx: Context,
    input: relax.Expr,
    weight: relax.Expr | None,
    bias: relax.Expr | None,
    mean: relax.Expr,
    variance: relax.Expr,
    eps: float,
) -> relax.Expr:
    dtype = accumulator(dtype_of(input))
    channels = [extents(input)[1]]
    out = cx.emit(
        relax.op.nn.batch_norm(
            cast(cx, input, dtype),
            _filled(cx, weight, 1.0, channels, dtype),
            _filled(cx, bias, 0.0, channels, dtype),
            cast(cx, mean, dtype),
            cast(cx, variance, dtype),
            axis=1,
            epsilon=eps,
            training=False,
        )
    )
    return cast(cx, cx.emit(relax.TupleGetItem(out, 0)), dtype_of(input))
