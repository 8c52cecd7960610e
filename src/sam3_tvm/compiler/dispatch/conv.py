"""Convolutions on NCHW become calls of our kernels; a bias, an array and an activation join them.

The weights are packed by Relax operators on whatever expression they are, so that
:func:`~sam3_tvm.compiler.memory.weights.lift_params` packs parameters offline. Those that are
parameters are stored as the function's arithmetic says; others stay in float32.

Handled, in float32 with static channels and spatial sizes and a batch of any kind:

- ``relax.nn.conv2d``: any kernel, stride, padding and dilation, without groups; by a matrix unit
  where the arithmetic and the target have one that fits; else 3 x 3 of stride 1 by Winograd's
  algorithm where that pays, which depends on its size;
- such a convolution, 3 x 3 with a border of 1, of ``relax.image.resize2d`` to twice the size by
  the nearest pixel: one kernel, which never makes the larger picture, and another for a matrix
  unit;
- ``relax.nn.conv2d_transpose``: 2 x 2 with stride 2, without padding;
- a convolution whose kernel covers its whole input: a matrix product, left to the pass that
  dispatches those (run it afterwards).

Whatever else there is stays as it is, for ``LegalizeOps``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tvm
from tvm import relax

from sam3_tvm.arithmetic import FLOAT32, Arithmetic
from sam3_tvm.compiler.dispatch.store_weights import pack_weights
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of
from sam3_tvm.compiler.graph.conv_patterns import (
    bias_of,
    is_convolution,
    is_transposed,
    residual_of,
    shape_of_conv,
    sizes,
    upsampled_source,
)
from sam3_tvm.compiler.graph.dataflow import Dataflow, activation_of, call_of
from sam3_tvm.compiler.graph.rewriting import Emit, NewValue, rewrite_bindings
from sam3_tvm.compiler.kernels.conv.direct import (
    conv_dot,
    conv_kernel,
    conv_name,
    conv_transpose_kernel,
    conv_transpose_name,
    pointwise_shape,
)
from sam3_tvm.compiler.kernels.conv.parities import (
    PARITIES,
    conv_parities_kernel,
    conv_parities_name,
    parity_plan,
    parity_terms,
)
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.strips import conv_layout
from sam3_tvm.compiler.kernels.conv.upsampled import (
    COLUMN_TERMS,
    PRODUCTS,
    ROW_TERMS,
    conv_upsampled_kernel,
    conv_upsampled_name,
    upsampled_dot,
)
from sam3_tvm.compiler.kernels.conv.winograd import conv_winograd_kernel, conv_winograd_name
from sam3_tvm.compiler.kernels.conv.winograd_plan import winograd_pays
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["DispatchConv"]

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="DispatchConv")
class DispatchConv:
    """Replaces the convolutions of every Relax function, which compute by its arithmetic.

    Args:
        target: the CPU that the kernels are for.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its convolutions."""
        return rewrite_bindings(mod, self._find)

    def _find(self, func: relax.Function) -> dict[Expr, NewValue]:
        scheme = arithmetic_of(func)

        def arithmetic(chain: _Chain) -> Arithmetic:
            return scheme.of_convolution(chain.outputs) if chain.stored else FLOAT32

        return {
            var: _Dispatch(self.target, arithmetic(chain), chain)
            for var, chain in _find_chains(func).items()
        }


@dataclass(frozen=True)
class _Chain:
    """A convolution and what follows it: ``activation(conv(x, weight) + bias + residual)``;
    ``stored`` says that its weights are known at compile time, ``upsampled`` is the picture
    of half the size whose upsampling x is."""

    conv: Expr
    stored: bool
    upsampled: Expr | None = None
    bias: Expr | None = None
    residual: Expr | None = None
    activation: str | None = None

    @property
    def outputs(self) -> int:
        """Channels of the result."""
        weight = sizes(self.conv.args[1])
        return weight[1] if is_transposed(self.conv) else weight[0]

    @property
    def epilogue(self) -> Epilogue:
        residual = None if self.residual is None else "before"
        return Epilogue(self.bias is not None, self.activation, residual)


def _find_chains(func: relax.Function) -> dict[Expr, _Chain]:
    """Chains by the variable that holds their result."""
    flow = Dataflow(func)
    chains: dict[Expr, _Chain] = {}
    # What a kernel computes on its way, so that no other chain takes it.
    inner: set[Expr] = set()
    starts = [b for b in flow.bindings if is_convolution(b.value) or is_transposed(b.value)]
    # The sum of two convolutions can be the epilogue of one: of the one that depends on more.
    for binding in sorted(starts, key=lambda b: upsampled_source(flow, b.value) is None):
        chain = _Chain(binding.value, flow.is_offline(binding.value.args[1]))
        if (source := upsampled_source(flow, binding.value)) is not None:
            inner.add(binding.value.args[0])
            chain = replace(chain, upsampled=source)
        end = binding.var

        def user_of(end: Expr) -> Expr | None:
            user = flow.only_user(end)
            return None if user in chains or user in inner else user

        user = user_of(end)
        if user is not None and (bias := bias_of(flow.definition(user), end)) is not None:
            inner.add(end)
            end, chain = user, replace(chain, bias=bias)
            user = user_of(end)
        if user is not None and is_convolution(binding.value):
            residual = residual_of(flow.definition(user), end)
            if residual is not None:
                inner.add(end)
                end, chain = user, replace(chain, residual=residual)
                user = user_of(end)
        if user is not None and (name := activation_of(flow.definition(user))) is not None:
            inner.add(end)
            end, chain = user, replace(chain, activation=name)
        chains[end] = chain
    return chains


@dataclass(frozen=True)
class _Dispatch:
    """Gives the variable that a chain ends in its kernel's call as value."""

    target: CpuTarget
    arithmetic: Arithmetic
    chain: _Chain

    def __call__(self, emit: Emit) -> Expr:
        """The call of the kernel that serves the convolution's shape best."""
        chain = self.chain
        if call_of(chain.conv, "relax.nn.conv2d_transpose") is not None:
            return self._transpose(emit)
        shape = shape_of_conv(chain.conv)
        if chain.upsampled is not None:
            return self._conv_upsampled(emit, shape, chain.upsampled)
        covers = shape.kernel == (shape.height, shape.width) and not any(shape.padding)
        if covers and shape.taps > 1:
            return self._product(emit, shape)
        return self._conv(emit, shape)

    def _conv(self, emit: Emit, shape: ConvShape) -> Expr:
        chain, op = self.chain, relax.op
        x, weight = chain.conv.args
        residual, batch = chain.residual, x.ty.shape[0]
        flat = pointwise_shape(self.target, shape, self.arithmetic)
        if flat != shape:
            x = emit(op.reshape(x, (batch, flat.in_channels, flat.height, flat.width)))
            if residual is not None:
                given = (batch, flat.out_channels, flat.height, flat.width)
                residual = emit(op.reshape(residual, given))
        dot = conv_dot(self.target, flat, self.arithmetic)
        if dot.matrix is not None and shape.dense and shape.taps > 1:
            # A tap after the other: a word is two channels of one.
            weight = emit(op.permute_dims(weight, [0, 2, 3, 1]))
        rows = emit(op.reshape(weight, (shape.out_channels, -1)))
        layout = conv_layout(self.target, self.arithmetic, dot)
        operands = [x, *pack_weights(emit, layout, rows)]
        out = (batch, flat.out_channels, flat.out_height, flat.out_width)
        name, make = conv_name(flat, chain.epilogue, self.arithmetic, dot), conv_kernel
        if dot.matrix is None and winograd_pays(self.target, flat):
            name = conv_winograd_name(flat, chain.epilogue, self.arithmetic)
            make = conv_winograd_kernel
        made = make(self.target, flat, chain.epilogue, self.arithmetic)
        kernel = emit.kernel(name, made)
        call = self._call(emit, kernel, operands, residual, out)
        if flat == shape:
            return call
        return op.reshape(
            emit(call), (batch, shape.out_channels, shape.out_height, shape.out_width)
        )

    def _transpose(self, emit: Emit) -> Expr:
        x, weight = self.chain.conv.args
        _, channels, height, width = sizes(x)
        out_channels = sizes(weight)[1]
        # [I, O, 2, 2] to [O, 2, 2, I]: a row of weights per channel and place in the 2 x 2.
        rows = emit(relax.op.permute_dims(weight, [1, 2, 3, 0]))
        rows = emit(relax.op.reshape(rows, (4 * out_channels, channels)))
        given = (channels, out_channels, height, width, self.chain.epilogue, self.arithmetic)
        kernel = emit.kernel(
            conv_transpose_name(*given), conv_transpose_kernel(self.target, *given)
        )
        shape = ConvShape(channels, out_channels, height, width)
        dot = conv_dot(self.target, shape, self.arithmetic)
        layout = conv_layout(self.target, self.arithmetic, dot)
        operands = [x, *pack_weights(emit, layout, rows)]
        out = (x.ty.shape[0], out_channels, 2 * height, 2 * width)
        return self._call(emit, kernel, operands, None, out)

    def _conv_upsampled(self, emit: Emit, shape: ConvShape, x: Expr) -> Expr:
        op, chain, weight = relax.op, self.chain, self.chain.conv.args[1]
        channels, depth = shape.out_channels, shape.in_channels
        pooled = (depth, channels, shape.height // 2, shape.width // 2)
        plan = parity_plan(self.target, *pooled, self.arithmetic)
        given = (*pooled, chain.epilogue, self.arithmetic)
        # Each pair of channels has nine weights, and for each product of these sums of them.
        if plan is None:
            name, made = conv_upsampled_name(*given), conv_upsampled_kernel(self.target, *given)
            dot = upsampled_dot(self.target, depth, self.arithmetic)
            terms, products = np.kron(np.array(ROW_TERMS), np.array(COLUMN_TERMS)).T, PRODUCTS
        else:
            name, made = conv_parities_name(*given), conv_parities_kernel(self.target, *given)
            dot, terms, products = plan.dot, parity_terms(), PARITIES
        layout = conv_layout(self.target, self.arithmetic, dot)
        taps, r = terms.shape[1] // products, layout.width
        groups = -(-channels // r)
        weight = emit(op.reshape(weight, (channels * depth, 9)))
        weight = emit(op.matmul(weight, relax.const(terms.astype("float32"))))
        weight = emit(op.reshape(weight, (channels, depth, products * taps)))
        if channels % r:
            missing = groups * r - channels
            weight = emit(op.nn.pad(weight, [0, missing, 0, 0, 0, 0]))
        weight = emit(op.reshape(weight, (groups, r, depth, products, taps)))
        weight = emit(op.permute_dims(weight, [0, 3, 1, 4, 2]))
        rows = emit(op.reshape(weight, (groups * products * r, taps * depth)))
        operands = [x, *pack_weights(emit, layout, rows)]
        out = (x.ty.shape[0], channels, shape.out_height, shape.out_width)
        return self._call(emit, emit.kernel(name, made), operands, chain.residual, out)

    def _product(self, emit: Emit, shape: ConvShape) -> Expr:
        """One output pixel: reshape, matmul, and the epilogue as operators."""
        op, chain, (x, weight) = relax.op, self.chain, self.chain.conv.args
        batch, depth = x.ty.shape[0], shape.in_channels * shape.taps
        weight = emit(op.reshape(weight, (shape.out_channels, depth)))
        weight = emit(op.permute_dims(weight))
        y = emit(op.matmul(emit(op.reshape(x, (batch, depth))), weight))
        if chain.bias is not None:
            y = emit(op.add(y, emit(op.reshape(chain.bias, (shape.out_channels,)))))
        if chain.residual is not None:
            y = emit(op.add(y, emit(op.reshape(chain.residual, (batch, shape.out_channels)))))
        if chain.activation is not None:
            y = emit(getattr(op.nn, chain.activation)(y))
        return op.reshape(y, (batch, shape.out_channels, 1, 1))

    def _call(
        self,
        emit: Emit,
        kernel: tvm.ir.GlobalVar,
        operands: list[Expr],
        residual: Expr | None,
        out: tuple[Any, ...],
    ) -> Expr:
        """A kernel's call with what it adds to the product; ``out`` is its result's shape."""
        if self.chain.bias is not None:
            operands = [*operands, emit(relax.op.reshape(self.chain.bias, (out[1],)))]
        if residual is not None:
            operands = [*operands, residual]
        return relax.call_tir(kernel, operands, relax.TensorType(out, "float32"))
