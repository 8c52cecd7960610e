"""Attention without its matrix: softmax(q k^T scale + bias) v, block by block of keys.

The running maximum and sum that let a softmax be taken in one sweep are those of Milakov and
Gimelshein, "Online normalizer calculation for softmax" (2018); doing so inside the product,
with the result rescaled whenever the maximum grows, is FlashAttention (Dao et al., 2022).

Scores are computed transposed, keys down and queries across the lanes. That has three uses on
a CPU. Maximum, sum and rescaling are lane by lane, so nothing is ever reduced across a vector.
Keys and values enter both products as the broadcast operand, so neither is transposed or
packed; only the queries are transposed, once per task, for all the keys. And a block may end
at any key: no score is computed that would have to be masked away. (A matrix unit takes other
copies and whole tiles: :mod:`~sam3_tvm.compiler.kernels.attention.products`. What follows is of
register tiles.)

A task is one head of one batch entry and up to 576 queries, in panels of one register tile's
width (48 queries on AVX-512, 24 on AVX2). Per block of 192 keys (head size 64, AVX-512):

- registers: 8 keys x 48 queries of scores, then 8 components x 48 queries of the result:
  24 accumulators + 3 vectors + 1 broadcast of 32 (4 x 3 on AVX2: all 16). Head sizes are
  multiples of 8, not of the linear layers' 12;
- L1: the panel's scores, 192 x 48 values = 36 KiB (18 KiB), written and read front to back: what
  128 keys would save of L2's bandwidth they cost in rescaled results, 1 % more;
- L2: a copy of the block's keys and values, 48 KiB each, used by all the task's panels. Read
  in place, the heads of a [B, L, H, D] array would lie 4096 bytes apart and fight for one
  cache set. Queries and results of the task: 144 KiB each; tasks have fewer panels where that
  would be more than half of the cache;
- L3: keys and values once per 576 queries, all of a window of SAM 3's: 288 FLOP a byte. The copies,
  and in rotary embeddings the keys' rotation, are what is left of memory's latency: with 384
  queries a task of bfloat16 takes 2 to 3 % longer, prefetching into L2 gained nothing.

The softmax is in powers of two: queries are multiplied by scale x log2(e), so that a score needs
neither that factor nor its inverse in its exponential. That leaves one maximum, six multiply-adds
or comparisons and six other operations a vector where the products take 2 x D: on a core that
adds on other ports (Zen 4) the bound is 90 % of the FMA peak at D = 32, 95 % at D = 64. AVX-512's
own instructions leave seven operations in all, five where weights are rounded to bfloat16, whose
products take D: 3 to 5 % of a whole attention on Zen 4.
What is added to scores is in :mod:`~sam3_tvm.compiler.kernels.attention.bias`, what an instruction
over pairs needs in :mod:`~sam3_tvm.compiler.kernels.attention.packing`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tvm import tirx

from sam3_tvm.compiler.kernels.attention.bias import (
    LOWEST,
    Bias,
    Separable,
    Task,
    Varying,
    bias_name,
    declare_bias,
)
from sam3_tvm.compiler.kernels.attention.operands import (
    Layout,
    Operand,
    transpose_panel,
)
from sam3_tvm.compiler.kernels.attention.products import Workspace, products_for
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    accumulators,
    as_index,
    bind,
    ceil_div,
    fill,
    kernel,
    load,
    loop,
    parallel,
    quotient,
    ramp,
    remainder,
    scratch,
    size_var,
    splat,
    store,
    tensor,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import FMA, Dot
from sam3_tvm.compiler.kernels.product.stored_weights import name_suffix
from sam3_tvm.compiler.kernels.vector_math import exp2_nonpositive, maximum, transposed
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["AttentionSpec", "attention_kernel", "kernel_name"]


@dataclass(frozen=True)
class AttentionSpec:
    """Everything about an attention that is known when it is compiled.

    Attributes:
        heads: number of heads.
        head_dim: components of a query and of a key.
        value_dim: components of a value.
        scale: factor of the scores.
        query, key, value, result: how each lies in memory. With windows in any of them, they
            have equally many windows a map.
        rotary: whether queries and keys are rotated, by one table [L, 2, D] (see
            :class:`~sam3_tvm.compiler.kernels.attention.operands.Operand`); Lq is Lk then, and
            head_dim is even.
        bias: None, or what is added to the scores: an array, given by the axes of
            [B, H, Lq, Lk] that it varies along, or the sum of two tables.
        causal: None, or "TopLeft" (query i sees keys 0 .. i) or "BottomRight" (the last query
            sees all the keys).
    """

    heads: int
    head_dim: int
    value_dim: int
    scale: float
    query: Layout = field(default_factory=Layout)
    key: Layout = field(default_factory=Layout)
    value: Layout = field(default_factory=Layout)
    result: Layout = field(default_factory=Layout)
    bias: Varying | Separable | None = None
    causal: str | None = None
    rotary: bool = False

    @property
    def windows(self) -> int:
        """Windows of a map; 1 where the batch counts none."""
        layouts = (self.query, self.key, self.value, self.result)
        return next((a.windows.count for a in layouts if a.windows is not None), 1)


def kernel_name(spec: AttentionSpec, dot: Dot = FMA) -> str:
    """What a profile lists the kernel as."""
    layouts = (spec.query, spec.key, spec.value, spec.result)
    orders = [layout.order for layout in layouts]
    parts = [f"attention_{spec.heads}x{spec.head_dim}"]
    if any(order != "BLHD" for order in orders):
        parts.append("_".join(order.lower() for order in dict.fromkeys(orders)))
    if any(layout.slots > 1 for layout in layouts):
        parts.append("packed")
    windows = next((layout.windows for layout in layouts if layout.windows is not None), None)
    if windows is not None:
        parts.append(f"windows_{windows.height}x{windows.width}")
    if spec.rotary:
        parts.append("rotary")
    if spec.bias is not None:
        parts.append(bias_name(spec.bias))
    if spec.causal is not None:
        parts.append("causal")
    if any(layout.rounded for layout in layouts[:3]):
        parts.append("of_rounded")
    if spec.result.rounded:
        parts.append("rounded")
    return "_".join(parts) + name_suffix(dot.a)


def attention_kernel(target: CpuTarget, spec: AttentionSpec, dot: Dot = FMA) -> Expr:
    """The PrimFunc ``(q, k, v, [bias, or its two tables], [rotary], y)``, all float32 but what a
    layout says, with B, Lq and Lk symbolic (and where there are windows, the number of images and
    the height of a window).

    Both products are made of ``dot``, all else is float32; head_dim must be whole words of it.

    A row whose every score is -inf gives zeros, as PyTorch's scaled_dot_product_attention
    does; so does a row without keys.
    """
    return _Attention(target, spec, dot).build()


def _rows(name: str, *layouts: Layout) -> tuple[Expr, Expr]:
    """A symbol for the rows of an operand or, of windows, for their height; and the rows."""
    rows = size_var(name)
    windows = [layout.windows for layout in layouts if layout.windows is not None]
    return rows, rows * as_index(windows[0].width) if windows else rows


class _Attention:
    """The generator's state: sizes, the tensors and the task's workspaces."""

    def __init__(self, target: CpuTarget, spec: AttentionSpec, dot: Dot) -> None:
        if spec.head_dim % dot.pack:
            raise ValueError(f"heads of {spec.head_dim} are no whole words of {dot.pack} values")
        self.spec = spec
        self.products = products_for(target, dot, spec.head_dim, spec.value_dim)
        self.dot = self.products.dot
        self.depth = self.products.depth
        self.tile = self.products.tile
        self.lanes = self.tile.lanes
        self.width = self.products.width
        self.packing = self.products.packing
        self.target = target
        self.task_queries, keys = self.products.sizes(target.tiles)
        unit = self.products.block_unit
        self.block = max(1, keys // unit) * unit  # keys of a block

    def _most_panels(self) -> int:
        """Panels of a task, at most: what lasts a task takes half of the second-level cache."""
        per_query = self.depth + self.spec.value_dim
        per_query += 0 if self.bias is None else self.bias.per_query
        fitting = self.target.l2_bytes // 2 // (4 * self.width * per_query)
        return max(1, min(fitting, self.task_queries // self.width))

    def build(self) -> Expr:
        spec = self.spec
        with kernel(kernel_name(spec, self.dot), self.dot.features, self.dot.llvm) as made:
            images = size_var("batch")
            batch = images * as_index(spec.windows)
            queries, keys = (spec.query, spec.result), (spec.key, spec.value)
            k_rows, self.lk = _rows("lk", *keys, *(queries if spec.rotary else ()))
            q_rows, self.lq = (k_rows, self.lk) if spec.rotary else _rows("lq", *queries)

            def operand(name: str, layout: Layout, rows: Expr, length: Expr, dim: int) -> Operand:
                windows = layout.windows is not None
                sizes = (images, rows) if windows else (batch, length)
                return Operand(name, layout, self.dot.pairs, *sizes, spec.heads, dim)

            self.q = operand("q", spec.query, q_rows, self.lq, spec.head_dim)
            self.k = operand("k", spec.key, k_rows, self.lk, spec.head_dim)
            self.v = operand("v", spec.value, k_rows, self.lk, spec.value_dim)
            self.bias: Bias | None = None
            if spec.bias is not None:
                sizes = (batch, spec.heads, self.lq, self.lk)
                self.bias = declare_bias(spec.bias, *sizes, self.block)
            if spec.rotary:
                table = tensor("rotary", (self.lq, 2, spec.head_dim))
                self.q.rotary = self.k.rotary = table
            self.y = operand("y", spec.result, q_rows, self.lq, spec.value_dim)

            self.most_panels = self._most_panels()
            panels = bind(ceil_div(self.lq, self.width))
            # Tasks of equal length, and some for every core.
            heads = tirx.max(batch * as_index(spec.heads), as_index(1))
            enough = tirx.min(panels, quotient(as_index(4 * self.target.cores) + heads - 1, heads))
            tiles = bind(tirx.max(enough, ceil_div(panels, self.most_panels)))
            each = bind(quotient(panels + tiles - 1, tirx.max(tiles, as_index(1))))
            with parallel(batch * as_index(spec.heads) * tiles) as task:
                head = bind(quotient(task, tiles))
                self.b = bind(head // as_index(spec.heads))
                self.h = bind(head % as_index(spec.heads))
                self.q0 = bind(remainder(task, tiles) * each * as_index(self.width))
                here = tirx.min(each * as_index(self.width), self.lq - self.q0)
                # Equal tasks may leave the last ones nothing.
                self._task(bind(tirx.max(here, as_index(0))))
        return made.func

    def _task(self, here: Expr) -> None:
        """The ``here`` queries from q0 on."""
        spec, width, word = self.spec, self.width, self.dot.word
        self.maxima = scratch(self.most_panels * width)
        self.sums = scratch(self.most_panels * width)
        scores, words = scratch(self.block * width), self.block // self.dot.pack
        space = self.space = Workspace(
            queries=scratch(self.most_panels * self.depth * width, word),
            keys=scratch(self.block * self.depth, word),
            values=scratch(words * spec.value_dim, word),
            scores=scores,
            weights=scores if self.dot.pack == 1 else scratch(words * width, word),
            scales=scratch(width),
            results=scratch(self.most_panels * spec.value_dim * width),
        )

        panels = bind(ceil_div(here, width))
        if self.bias is not None:
            task = Task(self.tile, self.b, self.h, self.q0, self.lq, panels)
            self.bias.begin_task(task, self.most_panels)
        self._load_queries(panels)
        fill(self.maxima, LOWEST, panels * as_index(width), self.lanes)
        fill(self.sums, 0.0, panels * as_index(width), self.lanes)
        fill(space.results, 0.0, panels * as_index(spec.value_dim * width), self.lanes)
        self.products.begin()
        with loop(ceil_div(self.lk, self.block)) as block:
            k0 = bind(block * as_index(self.block))
            count = bind(tirx.min(as_index(self.block), self.lk - k0))
            rows = (self.b, self.h, k0, count)
            self.packing.copy_keys(space.keys, self.k, rows, spec.head_dim)
            self.products.copy_values(space.values, self.v, rows, self.block)
            if self.bias is not None:
                self.bias.begin_block(k0, count)
            with loop(panels) as panel:
                self._block(panel, k0, count)
        self.products.end()
        self._store_results(here, panels)

    def _load_queries(self, panels: Expr) -> None:
        """Queries times scale, transposed: [panel, word, query]. The last one repeats."""
        spec, width = self.spec, as_index(self.width)
        scale = spec.scale * math.log2(math.e)
        with loop(panels) as p:
            base = bind(p * as_index(self.depth) * width)

            def query(i: Expr, word: Expr, lanes: int) -> Expr:
                row = bind(tirx.min(self.q0 + p * width + i, self.lq - as_index(1)))

                def scaled(d: Expr, lanes: int) -> Expr:
                    return self.q.load(self.b, row, self.h, d, lanes) * splat(scale, lanes)

                return self.packing.words(scaled, word, lanes)

            transpose_panel(self.tile, query, self.depth, self.space.queries, base)

    def _block(self, panel: Expr, k0: Expr, count: Expr) -> None:
        """One panel of queries against one block of keys."""
        spec, tile, lanes, width = self.spec, self.tile, self.lanes, self.width
        if self.bias is not None:
            self.bias.begin_panel(panel, k0, count)
        (largest,) = accumulators(1, tile.vectors, lanes)
        state = bind(panel * as_index(width))
        for j in range(tile.vectors):
            store(largest, load(self.maxima, state + as_index(j * lanes), lanes=lanes), j)

        def finish(key: Expr, j: int, score: Expr) -> Expr:
            """What is added to a score, which is then compared with the largest."""
            if self.bias is not None:
                score = bind(score + self.bias.vector(panel, k0, key, j))
            if spec.causal is not None:
                score = bind(self._causal(score, panel, j, k0 + key))
            store(largest, maximum(largest[as_index(j)], score), j)
            return score

        self.products.scores(self.space, panel, count, finish)

        (sums,) = accumulators(1, tile.vectors, lanes)
        for j in range(tile.vectors):
            at = state + as_index(j * lanes)
            new = bind(largest[as_index(j)])
            fallen = load(self.maxima, at, lanes=lanes) - new
            scale = bind(exp2_nonpositive(fallen, lanes, self.target.features))
            store(self.maxima, new, at, lanes=lanes)
            store(self.space.scales, scale, j * lanes, lanes=lanes)
            store(sums, load(self.sums, at, lanes=lanes) * scale, j)

        def weight(key: Expr, j: int) -> Expr:
            score = load(
                self.space.scores, key * as_index(width) + as_index(j * lanes), lanes=lanes
            )
            below = score - largest[as_index(j)]
            return exp2_nonpositive(below, lanes, self.target.features, self.dot.pack > 1)

        def add(j: int, weights: Expr) -> None:
            store(sums, sums[as_index(j)] + weights, j)

        self.packing.store_weights(self.space.weights, count, width, weight, add)
        for j in range(tile.vectors):
            store(self.sums, sums[as_index(j)], state + as_index(j * lanes), lanes=lanes)

        self.products.results(self.space, panel, count, self.block)

    def _causal(self, score: Expr, panel: Expr, vector: int, key: Expr) -> Expr:
        """-inf where the key comes after the query."""
        first = self.q0 + panel * as_index(self.width) + as_index(vector * self.lanes)
        if self.spec.causal == "BottomRight":
            first = first + self.lk - self.lq
        queries = ramp(first, self.lanes)
        after = queries < (key if self.lanes == 1 else tirx.Broadcast(key, self.lanes))
        return tirx.Select(after, splat(-math.inf, self.lanes), score)

    def _store_results(self, here: Expr, panels: Expr) -> None:
        """The task's results, divided by their sums and transposed back."""
        spec, tile, lanes = self.spec, self.tile, self.lanes
        zero, one = splat(0.0, lanes), splat(1.0, lanes)
        with loop(panels) as p, loop(tile.vectors) as part:
            i0 = bind(p * as_index(self.width) + part * as_index(lanes))
            base = bind(p * as_index(spec.value_dim * self.width) + part * as_index(lanes))
            total = bind(load(self.sums, i0, lanes=lanes))
            # A select, because a row without any visible key has the sum 0.
            store(self.space.scales, tirx.Select(total > zero, one / total, zero), 0, lanes=lanes)

            def result(d: Expr) -> Expr:
                value = load(self.space.results, base + d * as_index(self.width), lanes=lanes)
                return bind(value * load(self.space.scales, 0, lanes=lanes))

            def write(i: int, value: Expr, d: Expr, lanes: int) -> None:
                row = i0 + as_index(i)
                with when(row < here):
                    self.y.store(value, self.b, self.q0 + row, self.h, d, lanes)

            with loop(spec.value_dim // lanes) as block:
                d0 = bind(block * as_index(lanes))
                square = [result(d0 + as_index(d)) for d in range(lanes)]
                for i, vector in enumerate(transposed(square, lanes)):
                    write(i, vector, d0, lanes)
            for d in range(spec.value_dim // lanes * lanes, spec.value_dim):
                store(self.space.scores, result(as_index(d)), 0, lanes=lanes)
                for i in range(lanes):
                    write(i, load(self.space.scores, i), as_index(d), 1)
