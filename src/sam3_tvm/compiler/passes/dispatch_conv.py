"""Convolutions on NCHW become calls of our kernels; a bias, an array and an activation join them.

The weights are packed by Relax operators on whatever expression they are, so that
:func:`~sam3_tvm.compiler.passes.lift_params.lift_params` packs parameters offline. Those that are
parameters are stored in the precision asked for; others stay in float32.

Handled, in float32 with static channels and spatial sizes and a batch of any kind:

- ``relax.nn.conv2d``: any kernel, stride, padding and dilation, without groups; 3 x 3 of stride 1
  by Winograd's algorithm where that pays, which depends on its size;
- such a convolution, 3 x 3 with a border of 1, of ``relax.image.resize2d`` to twice the size by
  the nearest pixel: one kernel, which never makes the larger picture;
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
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.compiler.kernels.conv import (
    ConvShape,
    conv_kernel,
    conv_name,
    conv_transpose_kernel,
    conv_transpose_name,
    packed_rows,
    pointwise_shape,
)
from sam3_tvm.compiler.kernels.conv_epilogue import ConvEpilogue
from sam3_tvm.compiler.kernels.conv_upsampled import (
    COLUMN_TERMS,
    PRODUCTS,
    ROW_TERMS,
    conv_upsampled_kernel,
    conv_upsampled_name,
)
from sam3_tvm.compiler.kernels.conv_winograd import conv_winograd_kernel, conv_winograd_name
from sam3_tvm.compiler.kernels.winograd_plan import winograd_pays
from sam3_tvm.compiler.passes.conv_patterns import (
    bias_of,
    is_convolution,
    is_transposed,
    residual_of,
    shape_of_conv,
    sizes,
    upsampled_source,
)
from sam3_tvm.compiler.passes.dataflow import Dataflow, call_of
from sam3_tvm.compiler.passes.store_weights import store_rows
from sam3_tvm.compiler.target import CpuTarget

__all__ = ["DispatchConv"]

_ACTIVATIONS = {"relax.nn.relu": "relu", "relax.nn.gelu": "gelu"}


@tvm.transform.module_pass(opt_level=0, name="DispatchConv")
class DispatchConv:
    """Replaces the convolutions of every Relax function.

    Args:
        target: the CPU that the kernels are for.
        weights: the precision in which weights are stored.
    """

    def __init__(self, target: CpuTarget, weights: str = "float32") -> None:
        self.target = target
        self.weights = weights

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Return ``mod`` with kernels for its convolutions."""
        mod = relax.transform.Normalize()(mod)
        dispatcher = _Dispatcher(mod, self.target, self.weights)
        for gvar, func in mod.functions_items():
            if isinstance(func, relax.Function):
                dispatcher.run(gvar, func)
        return dispatcher.builder_.get()


@dataclass(frozen=True)
class _Chain:
    """A convolution and what follows it: ``activation(conv(x, weight) + bias + residual)``;
    ``stored`` says that its weights are known at compile time, ``upsampled`` is the picture
    of half the size whose upsampling x is."""

    conv: Any
    stored: bool
    upsampled: Any | None = None
    bias: Any | None = None
    residual: Any | None = None
    activation: str | None = None

    @property
    def epilogue(self) -> ConvEpilogue:
        return ConvEpilogue(self.bias is not None, self.activation, self.residual is not None)


def _find_chains(func: Any) -> tuple[dict[Any, _Chain], set[Any]]:
    """Chains by the variable that holds their result, and the variables between."""
    flow = Dataflow(func)
    chains: dict[Any, _Chain] = {}
    inner: set[Any] = set()
    starts = [b for b in flow.bindings if is_convolution(b.value) or is_transposed(b.value)]
    # The sum of two convolutions can be the epilogue of one: of the one that depends on more.
    for binding in sorted(starts, key=lambda b: upsampled_source(flow, b.value) is None):
        chain = _Chain(binding.value, flow.is_offline(binding.value.args[1]))
        if (source := upsampled_source(flow, binding.value)) is not None:
            inner.add(binding.value.args[0])
            chain = replace(chain, upsampled=source)
        end = binding.var

        def user_of(end: Any) -> Any | None:
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
        if user is not None and (call := call_of(flow.definition(user), *_ACTIVATIONS)) is not None:
            inner.add(end)
            end, chain = user, replace(chain, activation=_ACTIVATIONS[call.op.name])
        chains[end] = chain
    return chains, inner


@mutator
class _Dispatcher(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, target: CpuTarget, weights: str) -> None:
        super().__init__(mod)
        self.target = target
        self.weights = weights
        self.chains: dict[Any, _Chain] = {}
        self.inner: set[Any] = set()
        self.chain: _Chain | None = None

    def run(self, gvar: Any, func: Any) -> None:
        """Rewrite one function, if it has a convolution."""
        self.chains, self.inner = _find_chains(func)
        if self.chains:
            self.builder_.update_func(gvar, self.visit_expr(func))

    def visit_var_binding_(self, binding: Any) -> None:
        """Leave out what a kernel absorbs; announce what ends a chain."""
        if binding.var not in self.inner:
            self.chain = self.chains.get(binding.var)
            super().visit_var_binding_(binding)

    def visit_call_(self, call: Any) -> Any:
        """Replace the operator that ends a chain."""
        chain, self.chain = self.chain, None
        if chain is None:
            return super().visit_call_(call)
        x, weight = (self.visit_expr(arg) for arg in chain.conv.args)
        bias, residual = (
            None if extra is None else self.visit_expr(extra)
            for extra in (chain.bias, chain.residual)
        )
        if call_of(chain.conv, "relax.nn.conv2d_transpose") is not None:
            return self._transpose(chain, x, weight, bias)
        shape = shape_of_conv(chain.conv)
        if chain.upsampled is not None:
            x = self.visit_expr(chain.upsampled)
            return self._conv_upsampled(chain, shape, x, weight, bias, residual)
        covers = shape.kernel == (shape.height, shape.width) and not any(shape.padding)
        if covers and shape.taps > 1:
            return self._product(chain, shape, x, weight, bias, residual)
        return self._conv(chain, shape, x, weight, bias, residual)

    def _conv(
        self, chain: _Chain, shape: ConvShape, x: Any, weight: Any, bias: Any, residual: Any
    ) -> Any:
        batch = x.ty.shape[0]
        flat = pointwise_shape(self.target, shape)
        if flat != shape:
            x = self._emit(relax.op.reshape(x, (batch, flat.in_channels, flat.height, flat.width)))
            if residual is not None:
                given = (batch, flat.out_channels, flat.height, flat.width)
                residual = self._emit(relax.op.reshape(residual, given))
        rows = self._emit(relax.op.reshape(weight, (shape.out_channels, -1)))
        precision = self._precision(chain)
        depth = shape.in_channels * shape.taps
        operands = [x, *self._packed(rows, shape.out_channels, depth, precision)]
        out = (batch, flat.out_channels, flat.out_height, flat.out_width)
        make, name_of = conv_kernel, conv_name
        if winograd_pays(self.target, flat):
            make, name_of = conv_winograd_kernel, conv_winograd_name
        kernel = make(self.target, flat, chain.epilogue, precision)
        gvar = self.builder_.add_func(kernel, name_of(flat, chain.epilogue, precision))
        call = self._call(gvar, operands, bias, residual, flat.out_channels, out)
        if flat == shape:
            return call
        return relax.op.reshape(
            self._emit(call), (batch, shape.out_channels, shape.out_height, shape.out_width)
        )

    def _transpose(self, chain: _Chain, x: Any, weight: Any, bias: Any) -> Any:
        batch = x.ty.shape[0]
        _, channels, height, width = sizes(chain.conv.args[0])
        out_channels = sizes(chain.conv.args[1])[1]
        # [I, O, 2, 2] to [O, 2, 2, I]: a row of weights per channel and place in the 2 x 2.
        rows = self._emit(relax.op.permute_dims(weight, [1, 2, 3, 0]))
        rows = self._emit(relax.op.reshape(rows, (4 * out_channels, channels)))
        precision = self._precision(chain)
        given = (channels, out_channels, height, width, chain.epilogue, precision)
        kernel = conv_transpose_kernel(self.target, *given)
        gvar = self.builder_.add_func(kernel, conv_transpose_name(*given))
        operands = [x, *self._packed(rows, 4 * out_channels, channels, precision)]
        out = (batch, out_channels, 2 * height, 2 * width)
        return self._call(gvar, operands, bias, None, out_channels, out)

    def _conv_upsampled(
        self, chain: _Chain, shape: ConvShape, x: Any, weight: Any, bias: Any, residual: Any
    ) -> Any:
        batch, op = x.ty.shape[0], relax.op
        channels, depth = shape.out_channels, shape.in_channels
        r = packed_rows(self.target)
        groups = -(-channels // r)
        # Each pair of channels has nine weights and gets nine sums of them: a product by 9 x 9.
        terms = np.kron(np.array(ROW_TERMS), np.array(COLUMN_TERMS)).T.astype("float32")
        weight = self._emit(op.reshape(weight, (channels * depth, 9)))
        weight = self._emit(op.matmul(weight, relax.const(terms)))
        weight = self._emit(op.reshape(weight, (channels, depth, PRODUCTS)))
        if channels % r:
            missing = groups * r - channels
            weight = self._emit(op.nn.pad(weight, [0, missing, 0, 0, 0, 0]))
        weight = self._emit(op.reshape(weight, (groups, r, depth, PRODUCTS)))
        weight = self._emit(op.permute_dims(weight, [0, 3, 1, 2]))
        count = groups * PRODUCTS * r
        rows = self._emit(op.reshape(weight, (count, depth)))
        precision = self._precision(chain)
        given = (depth, channels, shape.height // 2, shape.width // 2, chain.epilogue, precision)
        kernel = conv_upsampled_kernel(self.target, *given)
        gvar = self.builder_.add_func(kernel, conv_upsampled_name(*given))
        operands = [x, *self._packed(rows, count, depth, precision)]
        out = (batch, channels, shape.out_height, shape.out_width)
        return self._call(gvar, operands, bias, residual, channels, out)

    def _product(
        self, chain: _Chain, shape: ConvShape, x: Any, weight: Any, bias: Any, residual: Any
    ) -> Any:
        """One output pixel: reshape, matmul, and the epilogue as operators."""
        batch, depth = x.ty.shape[0], shape.in_channels * shape.taps
        x = self._emit(relax.op.reshape(x, (batch, depth)))
        weight = self._emit(relax.op.reshape(weight, (shape.out_channels, depth)))
        weight = self._emit(relax.op.permute_dims(weight))
        y = self._emit(relax.op.matmul(x, weight))
        if bias is not None:
            bias = self._emit(relax.op.reshape(bias, (shape.out_channels,)))
            y = self._emit(relax.op.add(y, bias))
        if residual is not None:
            residual = self._emit(relax.op.reshape(residual, (batch, shape.out_channels)))
            y = self._emit(relax.op.add(y, residual))
        if chain.activation is not None:
            y = self._emit(getattr(relax.op.nn, chain.activation)(y))
        return relax.op.reshape(y, (batch, shape.out_channels, 1, 1))

    def _precision(self, chain: _Chain) -> str:
        return self.weights if chain.stored else "float32"

    def _packed(self, rows: Any, count: int, depth: int, precision: str) -> list[Any]:
        """[count, depth] to [ceil(count / r), depth, r], zeros behind the last row; for int8
        with the scales."""
        r = packed_rows(self.target)
        panels = -(-count // r)
        if count % r:
            rows = self._emit(relax.op.nn.pad(rows, [0, panels * r - count, 0, 0]))
        rows, scale = store_rows(self._emit, rows, precision)
        rows = self._emit(relax.op.reshape(rows, (panels, r, depth)))
        packed = self._emit(relax.op.permute_dims(rows, [0, 2, 1]))
        return [packed] if scale is None else [packed, scale]

    def _call(
        self,
        gvar: Any,
        operands: list[Any],
        bias: Any,
        residual: Any,
        channels: int,
        out: tuple[Any, ...],
    ) -> Any:
        if bias is not None:
            operands = [*operands, self._emit(relax.op.reshape(bias, (channels,)))]
        if residual is not None:
            operands = [*operands, residual]
        return relax.call_tir(gvar, operands, relax.TensorType(out, "float32"))

    def _emit(self, expr: Any) -> Any:
        return self.builder_.emit(expr)
