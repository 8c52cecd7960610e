"""Convolutions on NCHW become calls of our kernels, their bias and activation fused.

The weights are packed by Relax operators on whatever expression they are, so that
:func:`~sam3_tvm.compiler.passes.lift_params.lift_params` packs parameters offline. Those that are
parameters are stored in the precision asked for; others stay in float32.

Handled, in float32 with static channels and spatial sizes and a batch of any kind:

- ``relax.nn.conv2d``: any kernel, stride, padding and dilation, without groups;
- ``relax.nn.conv2d_transpose``: 2 x 2 with stride 2, without padding;
- a convolution whose kernel covers its whole input: a matrix product, left to the pass that
  dispatches those (run it afterwards).

Whatever else there is stays as it is, for ``LegalizeOps``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

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
from sam3_tvm.compiler.passes.dataflow import Dataflow, call_of, shape_of, static_int
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
    """A convolution and what follows it: ``activation(conv(x, weight) + bias)``; ``stored``
    says that its weights are known at compile time."""

    conv: Any
    stored: bool
    bias: Any | None = None
    activation: str | None = None

    @property
    def epilogue(self) -> ConvEpilogue:
        return ConvEpilogue(self.bias is not None, self.activation)


def _find_chains(func: Any) -> tuple[dict[Any, _Chain], set[Any]]:
    """Chains by the variable that holds their result, and the variables between."""
    flow = Dataflow(func)
    chains: dict[Any, _Chain] = {}
    inner = set()
    for binding in flow.bindings:
        if not (_is_supported(binding.value) or _is_supported_transpose(binding.value)):
            continue
        end = binding.var
        chain = _Chain(binding.value, flow.is_offline(binding.value.args[1]))
        user = flow.only_user(end)
        if user is not None and (bias := _bias_of(flow.definition(user), end)) is not None:
            inner.add(end)
            end, chain = user, replace(chain, bias=bias)
            user = flow.only_user(end)
        if user is not None and (call := call_of(flow.definition(user), *_ACTIVATIONS)) is not None:
            inner.add(end)
            end, chain = user, replace(chain, activation=_ACTIVATIONS[call.op.name])
        chains[end] = chain
    return chains, inner


def _bias_of(value: Any, conv: Any) -> Any | None:
    """The other operand, if ``value`` adds something of shape [1, C, 1, 1] to ``conv``."""
    if call_of(value, "relax.add") is None:
        return None
    left, right = value.args
    bias = right if left.same_as(conv) else left
    channels = _sizes(conv)[1]
    fits = _sizes(bias) in ([1, channels, 1, 1], [channels, 1, 1])
    return bias if fits and not bias.same_as(conv) else None


def _sizes(expr: Any) -> list[int]:
    """The extents of a float32 tensor, -1 for a symbolic one; empty for anything else."""
    known = [static_int(d) for d in shape_of(expr) or []]
    return [-1 if d is None else d for d in known]


def _is_plain(call: Any, kernel_layout: str) -> bool:
    """Whether layouts, types, groups and shapes are those that the kernels are made for."""
    attrs = call.attrs
    x, weight = call.args
    return (
        attrs.data_layout == attrs.out_layout == "NCHW"
        and attrs.kernel_layout == kernel_layout
        and attrs.groups == 1
        and len(_sizes(x)) == len(_sizes(weight)) == 4
        and -1 not in _sizes(x)[1:]
        and -1 not in _sizes(weight)
    )


def _is_supported(value: Any) -> bool:
    return call_of(value, "relax.nn.conv2d") is not None and _is_plain(value, "OIHW")


def _is_supported_transpose(value: Any) -> bool:
    return (
        call_of(value, "relax.nn.conv2d_transpose") is not None
        and _is_plain(value, "IOHW")
        and _sizes(value.args[1])[2:] == [2, 2]
        and list(value.attrs.strides) == [2, 2]
        and list(value.attrs.dilation) == [1, 1]
        and not any(value.attrs.padding)
        and not any(value.attrs.output_padding)
    )


def _shape_of(call: Any) -> ConvShape:
    x, weight = (_sizes(arg) for arg in call.args)
    attrs = call.attrs
    top, left, bottom, right = map(int, attrs.padding)
    down, across = map(int, attrs.strides)
    return ConvShape(
        in_channels=x[1],
        out_channels=weight[0],
        height=x[2],
        width=x[3],
        kernel=(weight[2], weight[3]),
        stride=(down, across),
        padding=(top, left, bottom, right),
        dilation=(int(attrs.dilation[0]), int(attrs.dilation[1])),
    )


@mutator
class _Dispatcher(PyExprMutator):  # type: ignore[misc]
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
        bias = None if chain.bias is None else self.visit_expr(chain.bias)
        if call_of(chain.conv, "relax.nn.conv2d_transpose") is not None:
            return self._transpose(chain, x, weight, bias)
        shape = _shape_of(chain.conv)
        covers = shape.kernel == (shape.height, shape.width) and not any(shape.padding)
        if covers and shape.taps > 1:
            return self._product(chain, shape, x, weight, bias)
        return self._conv(chain, shape, x, weight, bias)

    def _conv(self, chain: _Chain, shape: ConvShape, x: Any, weight: Any, bias: Any) -> Any:
        batch = x.ty.shape[0]
        flat = pointwise_shape(self.target, shape)
        if flat != shape:
            x = self._emit(relax.op.reshape(x, (batch, flat.in_channels, flat.height, flat.width)))
        rows = self._emit(relax.op.reshape(weight, (shape.out_channels, -1)))
        precision = self._precision(chain)
        depth = shape.in_channels * shape.taps
        operands = [x, *self._packed(rows, shape.out_channels, depth, precision)]
        out = (batch, flat.out_channels, flat.out_height, flat.out_width)
        kernel = conv_kernel(self.target, flat, chain.epilogue, precision)
        gvar = self.builder_.add_func(kernel, conv_name(flat, chain.epilogue, precision))
        call = self._call(gvar, operands, bias, flat.out_channels, out)
        if flat == shape:
            return call
        return relax.op.reshape(
            self._emit(call), (batch, shape.out_channels, shape.out_height, shape.out_width)
        )

    def _transpose(self, chain: _Chain, x: Any, weight: Any, bias: Any) -> Any:
        batch = x.ty.shape[0]
        _, channels, height, width = _sizes(chain.conv.args[0])
        out_channels = _sizes(chain.conv.args[1])[1]
        # [I, O, 2, 2] to [O, 2, 2, I]: a row of weights per channel and place in the 2 x 2.
        rows = self._emit(relax.op.permute_dims(weight, [1, 2, 3, 0]))
        rows = self._emit(relax.op.reshape(rows, (4 * out_channels, channels)))
        precision = self._precision(chain)
        sizes = (channels, out_channels, height, width, chain.epilogue, precision)
        kernel = conv_transpose_kernel(self.target, *sizes)
        gvar = self.builder_.add_func(kernel, conv_transpose_name(*sizes))
        operands = [x, *self._packed(rows, 4 * out_channels, channels, precision)]
        out = (batch, out_channels, 2 * height, 2 * width)
        return self._call(gvar, operands, bias, out_channels, out)

    def _product(self, chain: _Chain, shape: ConvShape, x: Any, weight: Any, bias: Any) -> Any:
        """One output pixel: reshape, matmul, and the epilogue as operators."""
        batch, depth = x.ty.shape[0], shape.in_channels * shape.taps
        x = self._emit(relax.op.reshape(x, (batch, depth)))
        weight = self._emit(relax.op.reshape(weight, (shape.out_channels, depth)))
        weight = self._emit(relax.op.permute_dims(weight))
        y = self._emit(relax.op.matmul(x, weight))
        if bias is not None:
            bias = self._emit(relax.op.reshape(bias, (shape.out_channels,)))
            y = self._emit(relax.op.add(y, bias))
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
        self, gvar: Any, operands: list[Any], bias: Any, channels: int, out: tuple[Any, ...]
    ) -> Any:
        if bias is not None:
            operands = [*operands, self._emit(relax.op.reshape(bias, (channels,)))]
        return relax.call_tir(gvar, operands, relax.TensorType(out, "float32"))

    def _emit(self, expr: Any) -> Any:
        return self.builder_.emit(expr)
