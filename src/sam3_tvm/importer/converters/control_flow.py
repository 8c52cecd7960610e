"""``torch.cond`` and assertions on data.

Each branch becomes a Relax function, of which one is called in an ``If``: in one function TVM's
memory planning would let a branch write to memory that only the other allocates. Besides the
tensors a branch takes every symbolic size that is known where it is called, as a shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from tvm import relax

from sam3_tvm.importer.converters._tensors import dtype_of
from sam3_tvm.importer.converters.arithmetic import is_tensor
from sam3_tvm.importer.converters.comparisons import truth
from sam3_tvm.importer.registry import Context, convert, converter, is_symbolic

aten = torch.ops.aten


@converter(torch.ops.higher_order.cond)
def cond(
    cx: Context,
    pred: Any,
    true_graph: fx.GraphModule,
    false_graph: fx.GraphModule,
    operands: Sequence[Any] = (),
) -> Any:
    """What ``true_graph`` or ``false_graph`` makes of the operands: a tuple."""
    if isinstance(pred, bool):
        return _call(cx, true_graph if pred else false_graph, operands)
    condition = cx.reshape(truth(cx, pred), ())
    true_call, false_call = (_call(cx, g, operands) for g in (true_graph, false_graph))
    return cx.emit(relax.If(condition, true_call, false_call))


def _call(cx: Context, graph: fx.GraphModule, operands: Sequence[Any]) -> relax.Call:
    """A call of the function that a branch becomes."""
    outer = cx.state.sizes
    inner, sizes = outer.with_fresh_variables()
    inputs: list[Any] = []
    # Types and sizes by torch's own idea of the operands, in the new function's variables.
    for operand, node in zip(operands, cx.node.args[3], strict=True):  # type: ignore[arg-type]
        fake = node.meta["val"] if isinstance(node, fx.Node) else node
        if is_tensor(operand):
            shape = [inner.expr(size) for size in fake.shape]
            inputs.append(relax.Var("operand", relax.TensorType(shape, dtype_of(operand))))
        else:
            inputs.append(inner.expr(fake) if is_symbolic(operand) else operand)
    params = [value for value in inputs if is_tensor(value)]
    params.append(relax.Var("sizes", relax.ShapeType([new for _, new in sizes])))
    name = f"branch_{cx.state.branches}"
    cx.state.branches += 1
    cx.state.sizes = inner
    try:
        # Assertions aren't pure, nor are calls of branches that may hold some.
        pure = not any(_asserts(node) for node in _nodes(graph))
        with cx.builder.function(name, params, pure=pure):
            results = _inline(cx, graph, inputs)
            packed = cx.emit(relax.Tuple([cx.tensor(value) for value in results]))
            cx.builder.emit_func_output(packed)
    finally:
        cx.state.sizes = outer
    function = cx.builder.get().get_global_var(name)
    given = relax.ShapeExpr([old for old, _ in sizes])
    return relax.Call(function, [*filter(is_tensor, operands), given])


def _nodes(graph: fx.GraphModule) -> list[fx.Node]:
    modules = [m for m in graph.modules() if isinstance(m, fx.GraphModule)]
    return [node for module in modules for node in module.graph.nodes]


def _asserts(node: fx.Node) -> bool:
    return node.target in (aten._assert_async.default, aten._assert_async.msg)


def _inline(cx: Context, graph: fx.GraphModule, inputs: Sequence[Any]) -> list[Any]:
    """The results of a graph whose calls are converted here and now."""
    env = cx.importer.env
    given = iter(inputs)
    results: Any = ()
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            env[node] = next(given)
        elif node.op == "get_attr":
            env[node] = getattr(graph, node.target)
        elif node.op == "output":
            results = fx.map_arg(node.args[0], lambda n: env[n])
        else:
            env[node] = convert(cx.state, node, cx.importer)
    return list(results)


@converter(aten._assert_async.default, aten._assert_async.msg)
def assert_async(cx: Context, self: relax.Expr, assert_msg: str = "Assertion failed") -> relax.Expr:
    """Stop with a message where the only entry of a tensor is false."""
    condition = cx.reshape(truth(cx, self), ())
    return cx.emit(relax.op.assert_op(condition, [], format=assert_msg))
