"""The linear layer: y = activation(x W^T + bias) + residual, weights packed offline.

x [M, K] with M symbolic (a product of leading axes), W [N, K] static. The weights come as
``[ceil(N / w), K, w]``, w being the width of the register tile, padded with zeros: the innermost
loop then reads them front to back, w values a step, wherever in N it is.
Blocking, registers and bytes moved are those of :mod:`~sam3_tvm.compiler.kernels.gemm`; tasks
are blocks of 96 rows x 128 or 256 columns, columns varying fastest, so that a thread's
consecutive tasks read the same rows of x.

The epilogue works on sums that lie in L2 and are read there once: bias, GELU (15 operations a
vector, 3 % of K = 1024's FMAs at most) or ReLU, and a residual cost no pass over memory.

Weights may be stored in float16 or int8 (:mod:`~sam3_tvm.compiler.kernels.stored_weights`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx

from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    ceil_div,
    kernel,
    load,
    parallel,
    scratch,
    size_var,
    store,
    tensor,
)
from sam3_tvm.compiler.kernels.gemm import emit_task, gemm_blocks
from sam3_tvm.compiler.kernels.register_tile import gemm_tile
from sam3_tvm.compiler.kernels.stored_weights import load_wide, name_suffix, scale_argument
from sam3_tvm.compiler.kernels.vector_math import gelu, relu
from sam3_tvm.compiler.target import CpuTarget

__all__ = ["ACTIVATIONS", "Epilogue", "kernel_name", "linear_kernel", "packed_shape"]

ACTIVATIONS = {"gelu": gelu, "relu": relu}


@dataclass(frozen=True)
class Epilogue:
    """What is done to x W^T before it is stored, in this order.

    Attributes:
        bias: a vector of N is added.
        activation: a key of :data:`ACTIVATIONS`, or None.
        residual: an array of the result's shape is added.
    """

    bias: bool = False
    activation: str | None = None
    residual: bool = False


def packed_shape(target: CpuTarget, n: int, k: int) -> tuple[int, int, int]:
    """The shape of packed weights: (panels, K, columns of a panel)."""
    width = gemm_tile(target).columns
    return -(-n // width), k, width


def kernel_name(n: int, k: int, epilogue: Epilogue, precision: str = "float32") -> str:
    """What a profile lists the kernel as."""
    parts = ["linear", f"{k}x{n}", "bias" if epilogue.bias else "", epilogue.activation or ""]
    parts.append("residual" if epilogue.residual else "")
    return "_".join(filter(None, parts)) + name_suffix(precision)


def linear_kernel(
    target: CpuTarget, n: int, k: int, epilogue: Epilogue, precision: str = "float32"
) -> Expr:
    """The PrimFunc ``(x [M, K], packed, [scale], [bias], [residual [M, N]], y [M, N])``.

    All are float32 but ``packed``, which is of the precision given; int8 has ``scale``, the
    factor of every output.

    Args:
        target: the CPU that it is for.
        n: outputs, any positive number.
        k: inputs, any positive number.
        epilogue: decides which of bias (padded like scale to a whole number of panels) and
            residual are arguments.
        precision: ``"float32"``, ``"float16"`` or ``"int8"``.
    """
    blocks = gemm_blocks(target, n, k)
    panels, _, width = packed_shape(target, n, k)
    chunks = ceil_div(n, blocks.columns)
    lanes = blocks.tile.lanes
    with kernel(kernel_name(n, k, epilogue, precision)) as made:
        m = size_var("m")
        x = tensor("x", (m, k))
        weight = tensor("weight", (panels, k, width), precision)
        scale = scale_argument(precision, panels * width)
        bias = tensor("bias", (panels * width,)) if epilogue.bias else None
        residual = tensor("residual", (m, n)) if epilogue.residual else None
        y = tensor("y", (m, n))

        with parallel(ceil_div(m, blocks.rows) * as_index(chunks)) as task:
            row0 = bind(task // as_index(chunks) * as_index(blocks.rows))
            column0 = bind(task % as_index(chunks) * as_index(blocks.columns))
            wide = None if precision == "float32" else scratch(blocks.depth * width)

            def panel(column: Expr, k0: Expr, steps: Expr) -> Expr:
                index = bind(column // as_index(width))
                if wide is None:
                    return lambda kk, j: load(weight, index, k0 + kk, j * lanes, lanes=lanes)
                return lambda kk, j: load(
                    wide, kk * as_index(width) + as_index(j * lanes), lanes=lanes
                )

            def widened(column: Expr, k0: Expr, steps: Expr) -> Expr:
                index = bind(column // as_index(width))

                def b(kk: Expr, j: int) -> Expr:
                    value = bind(load_wide(weight, index, k0 + kk, j * lanes, lanes=lanes))
                    store(wide, value, kk * as_index(width) + as_index(j * lanes), lanes=lanes)
                    return value

                return b

            def write(row: Expr, column: Expr, value: Expr, lanes: int) -> None:
                if scale is not None:
                    value = value * load(scale, column, lanes=lanes)
                if bias is not None:
                    value = value + load(bias, column, lanes=lanes)
                if epilogue.activation is not None:
                    value = ACTIVATIONS[epilogue.activation](value, lanes)
                if residual is not None:
                    value = value + load(residual, row0 + row, column, lanes=lanes)
                store(y, value, row0 + row, column, lanes=lanes)

            emit_task(
                blocks,
                rows=bind(tirx.min(as_index(blocks.rows), m - row0)),
                columns=n,
                first_column=column0,
                depth=k,
                load_a=lambda row, kk, lanes: load(x, row0 + row, kk, lanes=lanes),
                panel=panel,
                first_panel=None if wide is None else widened,
                write=write,
            )
    return made.func
