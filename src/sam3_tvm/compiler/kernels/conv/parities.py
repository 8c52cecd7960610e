"""The convolution of :mod:`~sam3_tvm.compiler.kernels.conv.upsampled` where a matrix unit
multiplies: each parity of the result is a 2 x 2 convolution of the picture that was doubled.

In one dimension

    even[t] = w0 x[t-1] + (w1 + w2) x[t]
    odd[t]  = (w0 + w1) x[t] + w2 x[t+1]

and in two the four parities of a pixel take four products each. That is 4 for an output, where
differences of neighbours take 2.25. But those are six maps of each input channel, made anew for
every task, and nine sums to combine for four outputs: work of vectors, which a matrix unit does
nothing of. This way is a plain product within a border of zeros, whose panels read one row or one
pixel further for odd parities, and no difference is rounded.

Panels come in groups of four, one for each parity of 32 output channels: the sums of both columns'
parities are interleaved as they are stored.

At 256 channels, on two threads of a Xeon of family 6, model 167: 28 ms from 144 x 144 to 288 x 288
and 9.5 ms from half of that, where differences took 105 and 26 in float32, 136 and 37 in pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.kernels.conv.doubled import store_doubled
from sam3_tvm.compiler.kernels.conv.filling import fill_rows
from sam3_tvm.compiler.kernels.conv.matrix_strips import (
    MatrixPlan,
    emit_by_matrix,
    plan_by_matrix,
)
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.emit import (
    Expr,
    as_index,
    bind,
    kernel,
    load,
    loop,
    size_var,
    tensor,
    vectors,
    when,
)
from sam3_tvm.compiler.kernels.product.dot import dot_for
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.stored_weights import name_suffix
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = [
    "PARITIES",
    "conv_parities_kernel",
    "conv_parities_name",
    "parity_plan",
    "parity_terms",
]

PARITIES = 4
"""Of the row and of the column of an output."""

_TAPS = (2, 2)

_TERMS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], "float32")
"""What a parity's two taps take of three weights: ``[parity, tap, weight]``."""


def parity_terms() -> NDArray[np.float32]:
    """Of the 9 weights of two channels the 16 of their parities: [9, 4 * 4], columns by parity of
    the row and of the column, then by tap."""
    terms: NDArray[np.float32] = np.einsum("ptm,qsn->mnpqts", _TERMS, _TERMS).reshape(9, -1)
    return terms


def conv_parities_name(
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic,
) -> str:
    """What a kernel of :func:`conv_parities_kernel` is called."""
    sizes = f"{in_channels}x{out_channels}_{height}x{width}"
    return f"conv_parities3x3_{sizes}{epilogue}{name_suffix(arithmetic.weights)}"


def parity_plan(
    target: CpuTarget,
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    arithmetic: Arithmetic,
) -> MatrixPlan | None:
    """How the product is cut; None where there is no kernel for it."""
    dot = dot_for(target, arithmetic)
    if dot.matrix is None or in_channels % dot.pack:
        return None
    panel = 2 * dot.matrix.side
    channels = PARITIES * -(-out_channels // panel) * panel
    depth, reach = in_channels // dot.pack, (1, 1)
    cut = (channels, depth, _TAPS, height, width, width + 2)
    return plan_by_matrix(target, dot, *cut, PARITIES, reach)


def conv_parities_kernel(
    target: CpuTarget,
    in_channels: int,
    out_channels: int,
    height: int,
    width: int,
    epilogue: Epilogue,
    arithmetic: Arithmetic,
) -> Expr:
    """The PrimFunc ``(x [B, I, H, W], packed, [bias [O]], [residual], y [B, O, 2H, 2W])``.

    ``y = activation(conv3x3(upsampled(x)) + bias + residual)``, padded by 1, the residual of the
    shape of y. ``packed`` is, by :func:`~sam3_tvm.compiler.kernels.conv.strips.conv_layout`, the
    matrix ``[ceil(O / 32) * 4 * 32, 4 * I]``: for 32 output channels a panel for each parity, whose
    rows have the weights of :func:`parity_terms` tap by tap. They are stored as the arithmetic
    says, rounded after these sums. All else is float32. B is symbolic.

    Raises:
        ValueError: there is no :func:`parity_plan`.
    """
    given = (in_channels, out_channels, height, width)
    plan = parity_plan(target, *given, arithmetic)
    if plan is None:
        raise ValueError(f"no whole tiles of a matrix unit: {given}")
    dot, panel = plan.dot, plan.panel
    shape = ConvShape(in_channels, out_channels, height, width, (3, 3), padding=(1, 1, 1, 1))
    name = conv_parities_name(*given, epilogue, arithmetic)

    def shift(parity: Expr) -> tuple[Expr, Expr]:
        return parity // as_index(2), parity % as_index(2)

    with kernel(name, dot.features, dot.llvm) as made:
        batch = size_var("batch")
        x = tensor("x", (batch, in_channels, height, width))
        layout = conv_layout(target, arithmetic, dot)
        weight = layout.argument("weight", plan.channels, PARITIES * in_channels)
        out_shape = (batch, out_channels, 2 * height, 2 * width)
        bias, residual = epilogue.arguments(out_channels, out_shape)
        y = tensor("y", out_shape)

        def write(image: Expr, row: Expr, row0: Expr, rows: Expr, sums: Expr, at: Expr) -> None:
            parity = bind(row // as_index(panel) % as_index(PARITIES))
            group = row // as_index(panel * PARITIES)
            channel = bind(group * as_index(panel) + row % as_index(panel))

            def emit() -> None:
                shift = None if bias is None else bind(load(bias, channel))
                with loop(rows) as line:
                    out_row = bind((row0 + line) * as_index(2) + parity // as_index(2))
                    for column, lanes in vectors(plan.columns, plan.lanes):
                        even = bind(at + line * as_index(plan.pitch) + column)
                        odd = even + as_index(panel * plan.sums_stride)
                        pair = [bind(load(sums, side, lanes=lanes)) for side in (even, odd)]
                        here = (image, channel, out_row, column)
                        store_doubled(y, pair, lanes, here, epilogue, shift, residual)

            # A panel of even columns writes the odd ones, too, which follow it.
            wanted = parity % as_index(2) == as_index(0)
            with when(wanted), when(channel < as_index(out_channels)):
                emit()

        emit_by_matrix(
            plan,
            batch,
            weight,
            fill=lambda *where: fill_rows(shape, plan, x, *where),
            write=write,
            shift=shift,
        )
    return made.func
