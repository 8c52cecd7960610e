"""A 3 x 3 convolution over a picture that was upsampled by 2, nearest, in a quarter of its work.

In one dimension, with weights w0, w1, w2 over x upsampled: of the outputs 2t and 2t + 1

    even[t] = w0 x[t-1] + (w1 + w2) x[t]  = s x[t] + w0 (x[t-1] - x[t])
    odd[t]  = (w0 + w1) x[t] + w2 x[t+1]  = s x[t] + w2 (x[t+1] - x[t])

where s = w0 + w1 + w2. So two outputs take three products, one of them shared, instead of six
(or of four, with the weights of each parity summed). The upsampled border of one zero is a zero
before and one behind x. With ``d[t] = x[t-1] - x[t]`` the last difference is ``-d[t+1]``, and its
sign goes to the weights, which are (s, w0, -w2), made offline: three numbers for three.

In two dimensions it is that in rows and in columns: 9 products of a pixel give 4 outputs, 2.25
for an output where the convolution has 9 and its four 2 x 2 convolutions of single parities
have 4. That is what Winograd's F(4 x 4, 3 x 3) takes (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016), but here by differences of neighbours alone, so that
nothing is lost to rounding: the errors are those of the direct sum, about 1e-6 of the largest.

Nothing of the upsampled size is read or written but the result, and the residual if there is
one. The nine products of a channel are nine panels of weights to the strips of
:mod:`~sam3_tvm.compiler.kernels.conv.strips`. Scratch holds six maps of each input channel: x
and its difference with the row above, each with its differences with the left and the right
neighbour. The difference with the row below is that with the row above one row further. A map
is read from a constant offset, rows lie exactly one width apart, so a strip of 144 columns is
three tiles of 48 and none is wasted. The nine sums are combined, interleaved and stored at the
end of a task.

Bytes. The reduction goes through 256 channels in one go: the sums, nine times as many as a plain
product has, are stored once and never loaded again. A tile's pixels of one map, 48 KiB of 256
channels x 48, come from L2 at 8 bytes a cycle, and the weights at one; blocks of 64 or 128
channels, which L1 holds, were 7 to 13 % slower for loading sums. The sums of a task (9 x its
channels x its pixels) take at most 3/4 of L2, with strips of about 144 pixels. The maps are made
again by each task over other channels: a dozen operations a vector against 9 multiply-adds for
each of up to 128 channels.

Where the CPU multiplies pairs of bfloat16, a map is of words of two channels: differences are taken
in float32 and rounded once, so that they are as near as pixels themselves would be.

At 256 channels, 144 x 144 to 288 x 288, it takes 1/3.6 of the time of the direct kernel on the
upsampled picture, at 90 % of its FLOP/s.
"""

from __future__ import annotations

from tvm import tirx

from sam3_tvm.arithmetic import FLOAT32, Arithmetic
from sam3_tvm.compiler.kernels.conv.doubled import store_doubled
from sam3_tvm.compiler.kernels.conv.strips import StripPlan, conv_layout, emit_strips
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    kernel,
    load,
    loop,
    size_var,
    splat,
    store,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot, dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.stored_weights import name_suffix, scale_argument
from sam3_tvm.compiler.kernels.product.tile import wide_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = [
    "COLUMN_TERMS",
    "PRODUCTS",
    "ROW_TERMS",
    "conv_upsampled_kernel",
    "conv_upsampled_name",
    "upsampled_dot",
]

ROW_TERMS = ((1, 1, 1), (1, 0, 0), (0, 0, -1))
"""What products take of the three rows of the weights: the sum, the first, the last negated."""

COLUMN_TERMS = ((1, 1, 1), (1, 0, 0), (0, 0, 1))
"""The same of columns, whose differences with the right neighbour have a map of their own."""

PRODUCTS = len(ROW_TERMS) * len(COLUMN_TERMS)
"""Products of a pixel, for four outputs."""

# Channels of the reduction in scratch at once.
_BLOCK = 256

# Pixels of a strip, at most, if a row has no more.
_PIXELS = 192


def conv_upsampled_name(
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic = FLOAT32,
) -> str:
    """What a kernel of :func:`conv_upsampled_kernel` is called."""
    sizes = f"{in_channels}x{out_channels}_{height}x{width}"
    return f"conv_upsampled3x3_{sizes}{epilogue}{name_suffix(arithmetic.weights)}"


def upsampled_dot(target: CpuTarget, in_channels: int, arithmetic: Arithmetic) -> Dot:
    """The instruction that a kernel of :func:`conv_upsampled_kernel` is made of: pairs where input
    channels are pairs."""
    dot = dot_for(target, arithmetic).by_vectors
    return FMA if in_channels % dot.pack else dot


def _plan(
    target: CpuTarget, channels: int, depth: int, height: int, width: int, dot: Dot
) -> StripPlan:
    """``depth`` counts words of ``dot``."""
    tile = wide_tile(target)
    blocks = -(-depth * dot.pack // _BLOCK)
    groups = -(-channels // tile.rows)

    def waste(rows: int) -> float:
        pixels = rows * width
        return -(-pixels // tile.columns) * tile.columns / pixels

    tallest = max(1, min(height, _PIXELS // width))
    rows = min(range(tallest, 0, -1), key=waste)
    pixels = -(-rows * width // tile.columns) * tile.columns
    # Every core should find several tasks, and the sums of one fit in 3/4 of L2.
    fits = max(1, target.l2_bytes * 3 // 4 // (4 * PRODUCTS * tile.rows * pixels))
    wanted = -(-4 * target.cores // -(-height // rows))
    chunks = max(wanted, -(-groups // fits))
    return StripPlan(
        tile=tile,
        channels=PRODUCTS * tile.rows * groups,
        depth=depth,
        block=-(-depth // blocks),
        taps=(1, 1),
        rows=rows,
        all_rows=height,
        columns=width,
        pitch=width,
        chunk=PRODUCTS * max(1, -(-groups // chunks)),
        dot=dot,
        maps=6,
        reach=width,
        spare=dot.pack * (rows + 2) * (width + 2),
    )


def conv_upsampled_kernel(
    target: CpuTarget,
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic = FLOAT32,
) -> Expr:
    """The PrimFunc ``(x [B, I, H, W], packed, [scale], [bias [O]], [residual], y [B, O, 2H, 2W])``.

    ``y = activation(conv3x3(upsampled(x)) + bias + residual)``, padded by 1, the residual of the
    shape of y. ``packed`` is ``[ceil(O / r) * 9, I, r]``, r of
    :func:`~sam3_tvm.compiler.kernels.conv.strips.conv_layout`: for r output channels nine panels
    after each other, panel 3 i + j holding the weights ``sum over m, n of ROW_TERMS[i][m] *
    COLUMN_TERMS[j][n] * w[o, k, m, n]``. It is stored as the arithmetic says,
    rounded after these sums, by row of a panel; int8 has ``scale``, a factor for each row of each
    panel. All else is float32. B is symbolic.
    """
    dot = upsampled_dot(target, in_channels, arithmetic)
    plan = _plan(target, out_channels, in_channels // dot.pack, height, width, dot)
    name = conv_upsampled_name(in_channels, out_channels, height, width, epilogue, arithmetic)

    def shift(product: Expr) -> Expr:
        """The map that a product reads, one row further for differences with the row below."""
        rows, columns = product // as_index(3), product % as_index(3)
        which = tirx.min(rows, as_index(1)) * as_index(3) + columns
        return which * as_index(plan.map_stride) + rows // as_index(2) * as_index(plan.pitch)

    with kernel(name, dot.features, dot.llvm) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, in_channels, height, width))
        weight = conv_layout(target, arithmetic, dot).argument("weight", plan.channels, in_channels)
        scale = scale_argument(arithmetic.weights, plan.channels)
        out_shape = (batch, out_channels, 2 * height, 2 * width)
        bias, residual = epilogue.arguments(out_channels, out_shape)
        y = tensor("y", out_shape)

        def fill(*where: Expr) -> None:
            _fill_maps(plan, height, x, *where)

        def write(image: Expr, row: Expr, row0: Expr, rows: Expr, sums: Expr, at: Expr) -> None:
            r = plan.tile.rows
            channel = bind(row // as_index(PRODUCTS * r) * as_index(r) + row % as_index(r))

            def emit() -> None:
                shift = None if bias is None else bind(load(bias, channel))
                factors = [
                    None if scale is None else bind(load(scale, row + as_index(p * r)))
                    for p in range(PRODUCTS)
                ]
                with loop(rows) as line:
                    for column, lanes in vectors(plan.columns, plan.tile.lanes):
                        offset = bind(at + line * as_index(plan.pitch) + column)
                        quads = _combine(plan, sums, offset, factors, lanes)
                        for down, pair in enumerate(quads):
                            out_row = bind((row0 + line) * as_index(2) + as_index(down))
                            here = (image, channel, out_row, column)
                            store_doubled(y, pair, lanes, here, epilogue, shift, residual)

            # The first panel of a group writes for all nine.
            wanted = row // as_index(r) % as_index(PRODUCTS) == as_index(0)
            with when(tirx.all(wanted, channel < as_index(out_channels))):
                emit()

        emit_strips(plan, batch, weight, fill=fill, write=write, group=PRODUCTS, shift=shift)
    return made.func


def _combine(
    plan: StripPlan, sums: Expr, offset: Expr, factors: list[Expr | None], lanes: int
) -> list[list[Expr]]:
    """Nine sums of the same pixels to the four outputs of each, ``[row parity][column parity]``."""
    terms = []
    for p, factor in enumerate(factors):
        stride = as_index(p * plan.tile.rows * plan.sums_stride)
        term = load(sums, offset + stride, lanes=lanes)
        terms.append(bind(term if factor is None else term * splat(factor, lanes)))
    # The column parities within all rows, within differences with the row above, and below.
    halves = [[bind(terms[3 * i] + terms[3 * i + 1 + side]) for side in (0, 1)] for i in range(3)]
    return [[bind(halves[0][s] + halves[1 + down][s]) for s in (0, 1)] for down in (0, 1)]


def _fill_maps(
    plan: StripPlan,
    height: int,
    x: Expr,
    image: Expr,
    k0: Expr,
    count: Expr,
    row0: Expr,
    rows: Expr,
    inputs: Expr,
) -> None:
    """The six maps of channels k0 and on, or of words of them; those of row differences have a row
    more."""
    width, lanes, dot = plan.columns, plan.tile.lanes, plan.dot
    # Rows row0 - 1 .. row0 + rows of the channels of a word, each between two zeros, in scratch
    # behind the maps.
    line = width + 2
    lines = [plan.block * plan.input_stride + i * (plan.rows + 2) * line for i in range(dot.pack)]

    def put(value: Expr, at: Expr, n: int) -> None:
        store(inputs, tirx.reinterpret(_vector(dot.word, n), value), at, lanes=n)

    with loop(count) as k:
        for member, start in enumerate(lines):
            channel = bind((k0 + k) * as_index(dot.pack) + as_index(member))
            with loop(rows + as_index(2)) as r:
                row = bind(row0 + r - as_index(1))
                at = bind(as_index(start) + r * as_index(line))
                inside = tirx.all(row >= as_index(0), row < as_index(height))
                put(splat(0.0, 1), at, 1)
                put(splat(0.0, 1), at + as_index(line - 1), 1)
                with when(inside):
                    for column, n in vectors(width, lanes):
                        value = load(x, image, channel, row, column, lanes=n)
                        put(value, at + as_index(1) + column, n)
                with when(tirx.Not(inside)):
                    for column, n in vectors(width, lanes):
                        put(splat(0.0, n), at + as_index(1) + column, n)
        with loop(rows + as_index(1)) as r:
            to = bind(k * as_index(plan.input_stride) + r * as_index(plan.pitch))
            for column, n in vectors(width, lanes):
                here = bind((r + as_index(1)) * as_index(line) + column)
                each = [_maps(inputs, here + as_index(start), line, n) for start in lines]
                for i, values in enumerate(zip(*each, strict=True)):
                    value = values[0]
                    if dot.pairs is not None:
                        value = dot.pairs.two(values[0], values[1], n)
                    store(inputs, value, to + as_index(i * plan.map_stride) + column, lanes=n)


def _maps(inputs: Expr, here: Expr, line: int, lanes: int) -> list[Expr]:
    """A channel's values of the six maps at some pixels, the first of them at ``here`` of its
    rows."""

    def value(at: int) -> Expr:
        word = load(inputs, here + as_index(at), lanes=lanes)
        return tirx.reinterpret(_vector("float32", lanes), word)

    row_of = [bind(value(i)) for i in range(3)]
    above = [bind(value(i - line) - row_of[i]) for i in range(3)]
    found = []
    for left, middle, right in (row_of, above):
        found += [middle, bind(left - middle), bind(right - middle)]
    return found


def _vector(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"
