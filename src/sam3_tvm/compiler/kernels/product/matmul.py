"""The product of two activations: C[b] = A[b] B[b], batched, either operand shared.

As the linear layer (:mod:`~sam3_tvm.compiler.kernels.product.task` has the blocking), except that
nothing could be packed beforehand: a task packs each panel of B, ``depth`` x tile columns, just
before its rows are swept over it. The packing reads and writes each value of B once per task,
so tasks are taller than the linear layer's, up to 216 rows: 2 operations per vector against 216
FMAs, and SAM 3's 200 queries are one block. More rows are blocks of nearly equal height, since
threads get runs of tasks: 192 + 8 rows left one of two with next to nothing to do.
B may be stored transposed ([N, K]); its panels are then packed value by value.

Sizes may all be symbolic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    loop,
    parallel,
    quotient,
    remainder,
    scratch,
    size_var,
    splat,
    store,
    tensor,
    when,
)
from sam3_tvm.compiler.kernels.product.task import emit_task, gemm_blocks, task_rows
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["MatmulSpec", "kernel_name", "matmul_kernel"]

# Rows of a task, as a part of the linear layer's.
_TALLER = 9 / 4


@dataclass(frozen=True)
class MatmulSpec:
    """Everything about a product that is known when it is compiled.

    Attributes:
        n: columns of B, None where symbolic.
        k: rows of B, None where symbolic.
        transposed: B is stored as [batch, N, K].
        a_batched, b_batched: whether the operand has the result's batch; else it has batch 1
            and is shared.
        bias: a value per row of the result is added.
    """

    n: int | None
    k: int | None
    transposed: bool = False
    a_batched: bool = True
    b_batched: bool = True
    bias: bool = False


def kernel_name(spec: MatmulSpec) -> str:
    """What a profile lists the kernel as."""
    name = f"matmul_{spec.k or 'k'}x{spec.n or 'n'}"
    shared = "" if spec.a_batched else "_shared_a"
    shared += "" if spec.b_batched else "_shared_b"
    name += ("_transposed" if spec.transposed else "") + shared
    return name + ("_bias" if spec.bias else "")


def matmul_kernel(target: CpuTarget, spec: MatmulSpec) -> Expr:
    """The PrimFunc ``(a [B|1, M, K], b [B|1, K, N] or [B|1, N, K], [bias [B, M]], c [B, M, N])``,
    float32."""
    blocks = gemm_blocks(target, spec.n, spec.k)
    height = blocks.tile.rows
    blocks = replace(blocks, rows=int(_TALLER * blocks.rows) // height * height)
    width, lanes = blocks.tile.columns, blocks.tile.lanes
    with kernel(kernel_name(spec)) as made:
        batch, m = size_var("batch"), size_var("m")
        n = size_var("n") if spec.n is None else spec.n
        k = size_var("k") if spec.k is None else spec.k
        a = tensor("a", (batch if spec.a_batched else 1, m, k))
        b_shape = (n, k) if spec.transposed else (k, n)
        b = tensor("b", (batch if spec.b_batched else 1, *b_shape))
        bias = tensor("bias", (batch, m)) if spec.bias else None
        c = tensor("c", (batch, m, n))
        chunks = bind(as_index(ceil_div(n, blocks.columns)))
        tall = bind(task_rows(m, blocks.rows, height))
        row_blocks = bind(ceil_div(m, tall))

        with parallel(batch * row_blocks * chunks) as task:
            index = bind(quotient(task, row_blocks * chunks))
            row0 = bind(remainder(quotient(task, chunks), row_blocks) * tall)
            packed = scratch(blocks.depth * width)
            in_a = index if spec.a_batched else as_index(0)
            in_b = index if spec.b_batched else as_index(0)

            def panel(column: Expr, k0: Expr, steps: Expr) -> Callable[[Expr, int], Expr]:
                column = bind(column)
                if spec.transposed:
                    _pack_columns(packed, b, in_b, column, as_index(n), k0, steps, width)
                else:
                    _pack_rows(packed, b, in_b, column, n, k0, steps, width, lanes)
                return lambda kk, j: load(
                    packed, kk * as_index(width) + as_index(j * lanes), lanes=lanes
                )

            def write(row: Expr, column: Expr, value: Expr, lanes: int) -> None:
                if bias is not None:
                    value = value + splat(load(bias, index, row0 + row), lanes)
                store(c, value, index, row0 + row, column, lanes=lanes)

            emit_task(
                blocks,
                rows=bind(tirx.min(tall, m - row0)),
                columns=n,
                first_column=bind(remainder(task, chunks) * as_index(blocks.columns)),
                depth=k,
                load_a=lambda row, kk, lanes: load(a, in_a, row0 + row, kk, lanes=lanes),
                panel=panel,
                write=write,
            )
    return made.func


def _pack_columns(
    packed: Expr,
    b: Expr,
    index: Expr,
    column: Expr,
    n: Expr,
    k0: Expr,
    steps: Expr,
    width: int,
) -> None:
    """A panel of a B stored as [N, K]; columns past the end repeat the last one."""
    with loop(width) as i:
        row = bind(tirx.min(column + i, n - as_index(1)))
        with loop(steps) as kk:
            store(packed, load(b, index, row, k0 + kk), kk * as_index(width) + i)


def _pack_rows(
    packed: Expr,
    b: Expr,
    index: Expr,
    column: Expr,
    n: Expr | int,
    k0: Expr,
    steps: Expr,
    width: int,
    lanes: int,
) -> None:
    """A panel of a B stored as [K, N]; columns past the end repeat the last one."""

    def vectors() -> None:
        with loop(steps) as kk:
            for j in range(0, width, lanes):
                value = load(b, index, k0 + kk, column + as_index(j), lanes=lanes)
                store(packed, value, kk * as_index(width) + as_index(j), lanes=lanes)

    if isinstance(n, int) and n % width == 0:
        vectors()
        return
    end = as_index(n)
    with when(column + as_index(width) <= end):
        vectors()
    with when(column + as_index(width) > end), loop(steps) as kk, loop(width) as i:
        last = tirx.min(column + i, end - as_index(1))
        store(packed, load(b, index, k0 + kk, last), kk * as_index(width) + i)
