"""The linear layer: y = activation(x W^T + bias) + residual, weights packed offline.

x [M, K] with M symbolic (a product of leading axes), W [N, K] static. The weights come as
``[ceil(N / w), K, w]``, w being the width of the register tile, padded with zeros: the innermost
loop then reads them front to back, w values a step, wherever in N it is.
Blocking, registers and bytes moved are those of :mod:`~sam3_tvm.compiler.kernels.product.task`;
tasks are blocks of at most 96 rows x 128 or 256 columns, columns varying fastest, so that a
thread's consecutive tasks read the same rows of x. Blocks of rows are equally tall. Where K and N
are large, they are blocks of at most 192 rows and go by Strassen's algorithm
(:mod:`~sam3_tvm.compiler.kernels.product.strassen`), unless they have fewer than 96. A matrix unit
takes blocks of 192 rows x 512 columns.

The epilogue works on sums that lie in L2 and are read there once: bias, GELU (15 operations a
vector, 3 % of K = 1024's FMAs at most) or ReLU, and a residual cost no pass over memory.

Weights may be stored in float16, bfloat16 or int8, and widened on their way
(:mod:`~sam3_tvm.compiler.kernels.product.stored_weights`). Where the CPU multiplies bfloat16, they
are multiplied as they are, and x is rounded as a task copies it: two loads and a conversion for 32
values, which a task of 256 columns then uses for 128 steps each. Where nothing but such layers
reads a layer's result, that layer rounds it as it stores it (:class:`Rounded`), which gives the
same products: half the bytes for the widest value of a transformer's block, rounded once. So does a
layer norm (:mod:`~sam3_tvm.compiler.kernels.norm`).

In int8 (:mod:`~sam3_tvm.compiler.kernels.product.int8`) x comes quantised, with a scale for every
row: its largest magnitude is known when all of a row is, so that is the work of a kernel of its own
(:mod:`~sam3_tvm.compiler.kernels.product.quantise`) or of the norm that writes the row. Sums are of
integers, and both scales multiply them as the epilogue reads them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tvm import tirx

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32, Arithmetic
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    parallel,
    prefetch,
    scratch,
    size_var,
    splat,
    store,
    tensor,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import Dot, dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.int8 import largest_depth
from sam3_tvm.compiler.kernels.product.layout import PackedLayout
from sam3_tvm.compiler.kernels.product.matrix import Place
from sam3_tvm.compiler.kernels.product.quantise import quantised_width
from sam3_tvm.compiler.kernels.product.stored_weights import load_wide, name_suffix, scale_argument
from sam3_tvm.compiler.kernels.product.strassen import (
    emit_strassen_task,
    fewest_rows,
    strassen_blocks,
)
from sam3_tvm.compiler.kernels.product.task import (
    GemmBlocks,
    deep_blocks,
    emit_task,
    gemm_blocks,
    task_rows,
)
from sam3_tvm.compiler.kernels.product.tile import gemm_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["AS_FLOAT32", "Rounded", "kernel_name", "linear_kernel", "linear_layout"]

_LINE_BYTES = 64
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def linear_layout(target: CpuTarget, arithmetic: Arithmetic = FLOAT32) -> PackedLayout:
    """How a layer's weights are packed: a panel is as wide as the register tile."""
    dot = dot_for(target, arithmetic)
    return PackedLayout(gemm_tile(target).columns, dot.pack, arithmetic.weights)


@dataclass(frozen=True)
class Rounded:
    """What of a layer's operands is bfloat16 in memory, its bits as uint16, instead of float32.

    Attributes:
        x: the activations, rounded by the layer before.
        y: the result, for the layers behind.
    """

    x: bool = False
    y: bool = False

    def __str__(self) -> str:
        return ("_of_rounded" if self.x else "") + ("_rounded" if self.y else "")


AS_FLOAT32 = Rounded()
"""Neither."""


def kernel_name(
    n: int,
    k: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic = FLOAT32,
    rounded: Rounded = AS_FLOAT32,
) -> str:
    """What a profile lists the kernel as."""
    both = arithmetic.weights == arithmetic.activations == "int8"
    suffix = "_w8a8" if both else name_suffix(arithmetic.weights)
    return f"linear_{k}x{n}{epilogue}{rounded}{suffix}"


@dataclass(frozen=True)
class _Weights:
    """Packed weights of any precision, as the products read them.

    Attributes:
        packed: the argument, [panels, words of K, width * values in a word].
        layout: how they lie.
        dot: what multiplies them.
        lanes: words per vector.
        line: weights in a cache line.
        wide: scratch for a panel in words of wider values; None where weights are read in place.
    """

    packed: Expr
    layout: PackedLayout
    dot: Dot
    lanes: int
    line: int
    wide: Expr | None = None

    def read(self, column: Expr) -> Callable[[Expr, int], Expr]:
        """``b(k, j)`` of the panel that starts at a column: words, or values widened to float32;
        k counts from 0."""
        index = bind(column // as_index(self.layout.width))
        if self.dot.pack == 1:
            return lambda k, j: load_wide(self.packed, index, k, j * self.lanes, lanes=self.lanes)
        values = self.dot.pack * self.lanes

        def words(k: Expr, j: int) -> Expr:
            stored = load(self.packed, index, k, j * values, lanes=values)
            if self.dot.b == "int16":
                stored = stored.astype(f"int16x{values}")
            return tirx.reinterpret(f"{self.dot.word}x{self.lanes}", stored)

        return words

    def prefetch(self, column: Expr, k: Expr) -> None:
        """Step k of the panel that starts at a column."""
        width = self.layout.width
        for j in range(0, width * self.layout.pack, self.line):
            prefetch(self.packed, column // as_index(width), k, j)

    def place(self, column: Expr, k: Expr) -> Place:
        """Where step k of the panel that starts at a column lies."""
        index = (column // as_index(self.layout.width), k, as_index(0))
        return Place(self.packed, index, 4 * self.layout.width)

    def panel(self, column: Expr, k0: Expr, steps: Expr) -> Callable[[Expr, int], Expr]:
        """In place, or what :meth:`first_panel` left in scratch; k counts from k0."""
        if self.wide is not None:
            return lambda k, j: load(self.wide, self._at(k, j), lanes=self.lanes)
        b = self.read(column)
        return lambda k, j: b(k0 + k, j)

    def first_panel(self, column: Expr, k0: Expr, steps: Expr) -> Callable[[Expr, int], Expr]:
        """Widens, and stores to scratch; k counts from k0."""
        b = self.read(column)

        def widened(k: Expr, j: int) -> Expr:
            value = bind(b(k0 + k, j))
            store(self.wide, value, self._at(k, j), lanes=self.lanes)
            return value

        return widened

    def _at(self, k: Expr, j: int) -> Expr:
        return k * as_index(self.layout.width) + as_index(j * self.lanes)


def linear_kernel(
    target: CpuTarget,
    n: int,
    k: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic = FLOAT32,
    rounded: Rounded = AS_FLOAT32,
) -> Expr:
    """The PrimFunc ``(x [M, K], packed, [scale], [bias], [residual [M, N]], y [M, N])``.

    All are float32 but ``packed``, which is as the arithmetic stores weights (bfloat16: its bits,
    as uint16), and what ``rounded`` names; int8 has ``scale``, the factor of every output.

    Where activations are int8, too, it is ``(x [M, K'], x_scale [M], packed, scale, [offset],
    ...)`` with what :func:`~sam3_tvm.compiler.kernels.product.quantise.quantise_kernel` gives;
    ``offset``, int32 per output, is there if the instruction takes values with an offset: what that
    adds to a sum.

    Args:
        target: the CPU that it is for.
        n: outputs, any positive number.
        k: inputs, any positive number of whole words.
        epilogue: decides which of bias (padded like scale to a whole number of panels) and
            residual are arguments.
        arithmetic: how weights are stored and multiplied.
        rounded: which of x and y are bfloat16. Bytes take none, and give it where the target
            multiplies pairs of bfloat16, too.

    Raises:
        ValueError: sizes or operands that the instruction can't take.
    """
    dot, layout = dot_for(target, arithmetic), linear_layout(target, arithmetic)
    if dot.pairs and k % dot.pack:
        raise ValueError(f"{k} inputs are no whole words of {dot.pack} values")
    if dot.integers and k > largest_depth():
        raise ValueError(f"sums of {k} products don't fit 32 bits: at most {largest_depth()}")
    depth = layout.words(k)
    dot = dot.by_matrix(depth)
    pair_dot = dot_for(target, BFLOAT16).by_vectors if dot.integers and rounded.y else dot
    if (rounded.x and not dot.pairs) or (rounded.y and not pair_dot.pairs):
        raise ValueError(f"{dot.name} takes or gives no bfloat16 on {target.name}")
    blocks, halved = _blocks(target, n, depth, dot)
    most_rows = (halved or blocks).rows
    unit = blocks.tile.rows if halved is None else 2 * blocks.tile.rows
    chunks = ceil_div(n, blocks.columns)
    name = kernel_name(n, k, epilogue, arithmetic, rounded)
    both = dict.fromkeys((dot, pair_dot))
    features = dict.fromkeys(feature for one in both for feature in one.features)
    with kernel(name, tuple(features), "".join(one.llvm for one in both)) as made:
        m = size_var("m")
        if dot.integers is None:
            x, x_scale = tensor("x", (m, k), "uint16" if rounded.x else "float32"), None
        else:
            x = tensor("x", (m, quantised_width(k, dot.integers)), dot.a)
            x_scale = tensor("x_scale", (m,))
        packed = layout.argument("weight", n, k)
        scale = scale_argument(arithmetic.weights, layout.rows(n))
        offset = tensor("offset", (layout.rows(n),), dot.sum) if dot.a_zero else None
        bias, residual = epilogue.arguments(layout.rows(n), (m, n))
        y = tensor("y", (m, n), "uint16" if rounded.y else "float32")
        weights = _Weights(
            packed, layout, dot, blocks.tile.lanes, _LINE_BYTES // _BYTES[arithmetic.weights]
        )

        def words(row: Expr, first: Expr, lanes: int) -> Expr:
            """``lanes`` words of a row of x."""
            if dot.pack == 1:
                return load(x, row, first, lanes=lanes)
            at = bind(first * as_index(dot.pack))
            if dot.pairs is None or rounded.x:
                stored = load(x, row, at, lanes=dot.pack * lanes)
                return tirx.reinterpret(dot.word if lanes == 1 else f"{dot.word}x{lanes}", stored)
            first, second = (load(x, row, at + as_index(n), lanes=lanes) for n in (0, lanes))
            return dot.pairs.neighbours(first, second, lanes)

        height = bind(task_rows(m, most_rows, unit))

        with parallel(ceil_div(m, height) * as_index(chunks)) as task:
            row0 = bind(task // as_index(chunks) * height)

            def write(row: Expr, column: Expr, value: Expr, lanes: int) -> None:
                here = (row0 + row, column)
                if offset is not None:
                    value = value - load(offset, column, lanes=lanes)
                if x_scale is not None:
                    value = value.astype("float32" if lanes == 1 else f"float32x{lanes}")
                    value = value * splat(load(x_scale, row0 + row), lanes)
                value = epilogue.apply(
                    value,
                    lanes,
                    scale=None if scale is None else load(scale, column, lanes=lanes),
                    bias=None if bias is None else load(bias, column, lanes=lanes),
                    residual=None if residual is None else load(residual, *here, lanes=lanes),
                )
                if pair_dot.pairs is not None and rounded.y:
                    value = pair_dot.pairs.halves(bind(value), lanes)
                store(y, value, *here, lanes=lanes)

            rows = bind(tirx.min(height, m - row0))
            common: dict[str, Any] = {
                "rows": rows,
                "columns": n,
                "first_column": bind(task % as_index(chunks) * as_index(blocks.columns)),
                "depth": depth,
                "dot": dot,
                "load_a": lambda row, kk, lanes: words(row0 + row, kk, lanes),
                "prefetch_b": weights.prefetch,
                "write": write,
            }
            if dot.b != arithmetic.weights:
                wide = scratch(blocks.depth * layout.width, dot.word)
                weights = replace(weights, wide=wide)
            ordinary = common | {
                "panel": weights.panel,
                "first_panel": None if weights.wide is None else weights.first_panel,
                "place_b": weights.place,
            }
            if halved is not None:
                fewest = as_index(fewest_rows(halved))
                with when(rows >= fewest):
                    emit_strassen_task(
                        halved,
                        load_b=weights.read,
                        prefetch_a=lambda row, kk: prefetch(x, row0 + row, kk * as_index(dot.pack)),
                        **common,
                    )
                with when(rows < fewest):
                    emit_task(blocks, **ordinary)
            elif blocks.matrix is not None:
                deep = deep_blocks(blocks, depth)
                with when(rows <= as_index(deep.rows)):
                    emit_task(deep, **ordinary)
                with when(rows > as_index(deep.rows)):
                    emit_task(blocks, **ordinary)
            else:
                emit_task(blocks, **ordinary)
    return made.func


def _blocks(
    target: CpuTarget, n: int, words: int, dot: Dot
) -> tuple[GemmBlocks, GemmBlocks | None]:
    """Those of the ordinary product, and of Strassen's where that is faster: one cut into columns,
    and an ordinary block for the rows that are too few for a halved one.

    Sums of quarters would have to be rounded once more where a product takes less than float32, or
    bytes.
    """
    blocks = gemm_blocks(target, n, words, dot)
    halved = strassen_blocks(target, n, words, dot) if dot.exact_sums else None
    if halved is not None:
        blocks = replace(blocks, panels=halved.panels, rows=fewest_rows(halved))
    return blocks, halved
