"""Layer norm and group norm, each input read from memory as rarely as it can be.

Both are bound by memory: some ten operations per 4 bytes. What counts is that the passes over a
row which the arithmetic needs (mean; deviations; result) hit a cache, and that no pass waits
for the latency of one chain of additions: sums run in four vectors side by side and are folded
in halves at the end.

Sums of squares are of deviations from the mean, never mean(x^2) - mean(x)^2, which cancels
where the mean is large against the spread. The mean itself is rounded, so the deviations' own
mean, which would be zero, is taken off too: the corrected two-pass algorithm of T. F. Chan,
G. H. Golub and R. J. LeVeque, "Algorithms for Computing the Sample Variance", 1983, whose rule
for joining the statistics of parts serves group norm. So a mean of 10,000 times the spread
costs no accuracy beyond what rounding the input to float32 has cost already.

- Layer norm: a row, 4 KiB at N = 1024, is in L1 for all three passes. What linear layers alone read
  is written as their instruction takes it, rounded to bfloat16 or quantised, once for all that the
  layers copy: 2 or 1 bytes a value to memory and back, for 4.
- Group norm: a group of 32 channels of 288 x 288 is 10 MiB, in no cache near. Statistics are
  taken channel by channel (324 KiB, in L2 for both passes), joined per group, and a second sweep
  over memory writes the results: two reads and one write in all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    accumulators,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    loop,
    parallel,
    scratch,
    size_var,
    splat,
    store,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot
from sam3_tvm.compiler.kernels.product.quantise import ROWS, quantise_row, quantised_width
from sam3_tvm.compiler.kernels.vector_math import relu
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["group_norm_kernel", "group_norm_name", "layer_norm_kernel", "layer_norm_name"]

# Additions have a latency of 3 to 4 cycles; loads come at two a cycle at best.
_CHAINS = 4


def layer_norm_name(n: int, read_by: Dot = FMA) -> str:
    """What a kernel of :func:`layer_norm_kernel` is called."""
    suffix = "_rounded" if read_by.pairs else ""
    return f"layer_norm_{n}" + (f"_{read_by.a}" if read_by.integers else suffix)


def layer_norm_kernel(target: CpuTarget, n: int, epsilon: float, read_by: Dot = FMA) -> Expr:
    """The PrimFunc ``(x [M, N], gamma [N], beta [N], y [M, N])``, all float32, M symbolic.

    y = (x - mean) / sqrt(variance + epsilon) * gamma + beta over each row, the variance being
    the mean square of deviations, as in torch.nn.LayerNorm.

    Args:
        target: the CPU that it is for.
        n: size of the last axis.
        epsilon: added to the variance.
        read_by: what the layers that read y multiply by. For pairs y is bfloat16, its bits as
            uint16; for integers the kernel is ``(x, gamma, beta, q, scale)`` with what
            :func:`~sam3_tvm.compiler.kernels.product.quantise.quantise_kernel` makes of y.
    """
    lanes, pairs, integers = target.lanes, read_by.pairs, read_by.integers
    read_by = read_by.by_vectors
    with kernel(layer_norm_name(n, read_by), read_by.features, read_by.llvm) as made:
        m = size_var("m")
        x, gamma = tensor("x", (m, n)), tensor("gamma", (n,))
        beta = tensor("beta", (n,))
        width = n if integers is None else quantised_width(n, integers)
        dtype = read_by.a if integers else "uint16" if pairs else "float32"
        y = tensor("y", (m, width), dtype)
        scales = None if integers is None else tensor("scale", (m,))
        # Scratch is asked for once for several rows; rows that need none are shared evenly.
        rows = 1 if integers is None else ROWS
        with parallel(ceil_div(m, rows)) as task:
            held = None if integers is None else scratch(n)
            with loop(rows) as r:
                row = bind(task * as_index(rows) + r)
                with when(row < m):
                    row_is = _statistics(n, lanes, lambda c, w: load(x, row, c, lanes=w))
                    scale = bind(_reciprocal_root(row_is.squares, n, epsilon))
                    for column, w in vectors(n, lanes):
                        value = row_is.deviation(load(x, row, column, lanes=w), w)
                        value = value * splat(scale, w) * load(gamma, column, lanes=w)
                        value = value + load(beta, column, lanes=w)
                        if held is not None:
                            store(held, value, column, lanes=w)
                        else:
                            value = pairs.halves(bind(value), w) if pairs else value
                            store(y, value, row, column, lanes=w)
                    if integers is not None:
                        quantise_row(
                            lambda c, w: load(held, c, lanes=w), n, lanes, integers, y, scales, row
                        )
    return made.func


def group_norm_name(channels: int, groups: int, pixels: int, with_relu: bool) -> str:
    """What a kernel of :func:`group_norm_kernel` is called."""
    return f"group_norm_{channels}x{pixels}_by_{groups}" + ("_relu" if with_relu else "")


def group_norm_kernel(
    target: CpuTarget, channels: int, groups: int, pixels: int, epsilon: float, with_relu: bool
) -> Expr:
    """The PrimFunc ``(x [B, C, S], gamma [C], beta [C], y [B, C, S])``, float32, B symbolic.

    Normalises each of ``groups`` equal runs of channels over channels and pixels, as
    torch.nn.GroupNorm does, then applies ReLU if asked to.
    """
    lanes, per_group = target.lanes, channels // groups
    with kernel(group_norm_name(channels, groups, pixels, with_relu)) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, channels, pixels))
        gamma, beta = tensor("gamma", (channels,)), tensor("beta", (channels,))
        y = tensor("y", (batch, channels, pixels))
        rows = bind(batch * as_index(channels))
        means, rests, squares = scratch(rows), scratch(rows), scratch(rows)

        with parallel(rows) as row:
            image, channel = bind(row // as_index(channels)), bind(row % as_index(channels))
            channel_is = _statistics(
                pixels, lanes, lambda c, w: load(x, image, channel, c, lanes=w)
            )
            store(means, channel_is.mean, row)
            store(rests, channel_is.rest, row)
            store(squares, channel_is.squares, row)

        with parallel(rows) as row:
            image, channel = bind(row // as_index(channels)), bind(row % as_index(channels))
            first = bind(row - channel % as_index(per_group))
            group_is = _join(means, rests, squares, first, per_group, pixels)
            root = _reciprocal_root(group_is.squares, per_group * pixels, epsilon)
            scale = bind(root * gamma[channel])
            for column, width in vectors(pixels, lanes):
                value = group_is.deviation(load(x, image, channel, column, lanes=width), width)
                value = value * splat(scale, width) + splat(beta[channel], width)
                value = relu(bind(value), width) if with_relu else value
                store(y, value, image, channel, column, lanes=width)
    return made.func


def _reciprocal_root(squares: Expr, count: int, epsilon: float) -> Expr:
    variance = squares * _float(1 / count) + _float(epsilon)
    return _float(1.0) / tirx.sqrt(variance)


def _float(value: float) -> Expr:
    return tirx.const(value, "float32")


@dataclass(frozen=True)
class _Statistics:
    """Scalars that describe some values: their mean is ``mean + rest``, which float32 would
    round if it were added up, and ``squares`` the sum of their squared deviations from it."""

    mean: Expr
    rest: Expr
    squares: Expr

    def deviation(self, value: Expr, lanes: int) -> Expr:
        return value - splat(self.mean, lanes) - splat(self.rest, lanes)


def _statistics(n: int, lanes: int, values: Callable[[Expr, int], Expr]) -> _Statistics:
    """Of n values that ``values(first, lanes)`` loads."""
    (total,) = _sums(n, lanes, 1, lambda c, w: [values(c, w)])
    mean = bind(total * _float(1 / n))

    def terms(column: Expr, width: int) -> list[Expr]:
        d = bind(values(column, width) - splat(mean, width))
        return [d, d * d]

    total, squares = _sums(n, lanes, 2, terms)
    rest = bind(total * _float(1 / n))
    return _Statistics(mean, rest, bind(squares - total * rest))


def _join(
    means: Expr, rests: Expr, squares: Expr, first: Expr, parts: int, size: int
) -> _Statistics:
    """Of ``parts`` parts of ``size`` values each, from theirs."""
    (total,) = _sums(parts, 1, 1, lambda p, _: [means[first + p]])
    mean = bind(total * _float(1 / parts))

    def terms(p: Expr, _: int) -> list[Expr]:
        d = bind(means[first + p] - mean + rests[first + p])
        return [d, squares[first + p] + d * d * _float(size)]

    total, square = _sums(parts, 1, 2, terms)
    rest = bind(total * _float(1 / parts))
    return _Statistics(mean, rest, bind(square - total * rest * _float(size)))


def _sums(n: int, lanes: int, count: int, terms: Callable[[Expr, int], list[Expr]]) -> list[Expr]:
    """``count`` sums over n values each; ``terms(first, lanes)`` gives the next of each."""
    step = _CHAINS * lanes
    chains = accumulators(count, _CHAINS, lanes)
    totals = accumulators(count, 1, 1)
    for chain in chains:
        for u in range(_CHAINS):
            store(chain, splat(0.0, lanes), u)
    with loop(n // step) as v:
        for u in range(_CHAINS):
            at = bind(v * as_index(step) + as_index(u * lanes))
            for chain, term in zip(chains, terms(at, lanes), strict=True):
                store(chain, chain[as_index(u)] + term, u)
    for total, chain in zip(totals, chains, strict=True):
        a, b, c, d = (chain[as_index(u)] for u in range(_CHAINS))
        store(total, _fold(bind((a + b) + (c + d)), lanes), 0)
    done = n // step * step
    for column, width in vectors(n - done, lanes):
        for total, term in zip(totals, terms(column + as_index(done), width), strict=True):
            store(total, total[as_index(0)] + _fold(bind(term), width), 0)
    return [bind(total[as_index(0)]) for total in totals]


def _fold(vector: Expr, lanes: int) -> Expr:
    """The sum of a vector's lanes, in halves: log2(lanes) additions."""
    while lanes > 1:
        lanes //= 2
        low, high = (
            tirx.Shuffle([vector], [tirx.const(start + i, "int32") for i in range(lanes)])
            for start in (0, lanes)
        )
        vector = bind(low + high)
    return vector
