"""Splits functions in two: what the picture alone decides, and what a prompt adds.

``f(inputs..., params...)`` becomes ``f_image(image inputs..., params...) -> kept...`` and
``f_prompt(kept..., other inputs..., params...) -> outputs...``, so that the first runs once per
picture and the second with every prompt; one after the other they compute what ``f`` did, by the
same operations. Functions are split where that moves heavy work (products, convolutions,
attention) into the image half: in SAM 3 the DETR encoder's first self-attention, the
convolutions over the finer features, and the keys and values that the geometry encoder looks at.
At SAM 3's size the prompt half has 0.88 of the DETR encoder's time left, half of the mask
decoder's and a quarter of the geometry encoder's.

What is kept between the halves is the cheapest set of values that the prompt half can go on
from. A value costs the bytes that it has at batch 1. Cheap operations (element by element, or
moving elements) may run in the prompt half, again for each prompt, where keeping their operands
costs less; all others run in the image half. That is a minimum vertex cut: its sources are the
image inputs and the results of operations that aren't cheap, its sinks what the prompt half
reads, its edges lead from operands to the results of cheap operations. Among equal cuts the one
closest to the prompt leaves it the least to do. An image input in the cut becomes an input of
the prompt half. What needs no picture (position encodings) costs nothing and isn't kept.

That a batch of prompts may share what one picture gave, repeated, is the components' contract:
the rows of a batch don't see each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from sam3_tvm.compiler.graph.dataflow import call_of, static_int
from sam3_tvm.compiler.graph.min_cut import min_vertex_cut
from sam3_tvm.compiler.graph.stages import IMAGE_INPUTS, image_inputs, image_values
from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.manifest import Stages

__all__ = ["STAGE_INPUTS", "SplitStages", "image_half", "prompt_half", "stages"]

STAGE_INPUTS = "stage_inputs"
"""The attribute of a half: positions in the whole function of the inputs that it takes. In the
prompt half these follow the kept tensors."""

Expr = Any

_HEAVY = (
    "relax.matmul",
    "relax.nn.conv2d",
    "relax.nn.conv2d_transpose",
    "relax.nn.attention",
    "relax.nn.attention_bias",
)

_CHEAP = tuple(
    f"relax.{name}"
    for name in (
        *("add", "subtract", "multiply", "divide", "negative", "abs", "maximum", "minimum"),
        *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal"),
        *("logical_and", "logical_or", "logical_not", "where", "astype", "nn.relu"),
        *("reshape", "permute_dims", "expand_dims", "squeeze", "broadcast_to"),
        *("concat", "split", "strided_slice"),
    )
)


def image_half(name: str) -> str:
    """The name of the half of function ``name`` that runs once per picture."""
    return f"{name}_image"


def prompt_half(name: str) -> str:
    """The name of the half of function ``name`` that runs with every prompt."""
    return f"{name}_prompt"


def stages(mod: tvm.IRModule, component: Component) -> Stages | None:
    """How a component is compiled, after :class:`SplitStages`: None if it is whole."""
    halves = {g.name_hint: f for g, f in mod.functions_items() if isinstance(f, relax.Function)}
    first = halves.get(image_half(component.name))
    second = halves.get(prompt_half(component.name))
    if first is None or second is None:
        return None
    taken, others = (
        [component.inputs[int(i)] for i in half.attrs[STAGE_INPUTS]] for half in (first, second)
    )
    count = int(second.attrs["num_input"]) - len(others)
    dims: dict[str, Dim] = {}
    for params, specs in ((first.params, taken), (list(second.params)[count:], others)):
        for var, spec in zip(params, specs, strict=False):
            dims.update(_dims(var, spec))
    kept = tuple(
        TensorSpec(
            var.name,
            f"{var.ty.dtype}",
            tuple(_dim(extent, dims) for extent in var.ty.shape.values),
            per_image=True,
        )
        for var in list(second.params)[:count]
    )
    names = (tuple(spec.name for spec in specs) for specs in (taken, others))
    return Stages(
        image_half(component.name), next(names), kept, prompt_half(component.name), next(names)
    )


def _dims(var: Expr, spec: TensorSpec) -> dict[str, Dim]:
    """The dimensions of an input by the names of the symbols that stand for them."""
    extents = var.ty.values if spec.dtype == "shape" else var.ty.shape
    return {
        extent.name: dim
        for extent, dim in zip(extents, spec.shape, strict=True)
        if isinstance(dim, Dim) and isinstance(extent, tvm.tirx.Var)
    }


def _dim(extent: Expr, dims: Mapping[str, Dim]) -> int | Dim:
    size = static_int(extent)
    return dims[extent.name] if size is None else size


@tvm.transform.module_pass(opt_level=0, name="SplitStages")
class SplitStages:
    """Splits every function with image inputs whose image half has heavy work.

    Expects A-normal form without dead code. The halves take all parameters of the whole:
    :func:`lift_params` leaves to each those that it uses.
    """

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """The module with the halves in place of each function that is split."""
        halves: dict[str, relax.Function] = {}
        result = tvm.IRModule(global_infos=mod.global_infos)
        for gvar, func in mod.functions_items():
            found = _split(gvar.name_hint, func) if image_inputs_of(func) else None
            if found is None:
                result[gvar] = func
            else:
                halves.update(found)
        for name, half in halves.items():
            # A variable belongs to one function only, also the one behind a symbolic size.
            result[name] = relax.utils.copy_with_new_vars(half)
        return relax.transform.Normalize()(result)


def image_inputs_of(func: Any) -> list[Expr]:
    """The image inputs of a Relax function; none of any other function."""
    return image_inputs(func) if isinstance(func, relax.Function) else []


def _split(name: str, func: relax.Function) -> dict[str, relax.Function] | None:
    pictured = _pictured(func)
    frontier = _frontier(func, pictured)
    if frontier is None:
        return None
    inputs = list(func.params)[: int(func.attrs["num_input"])]
    kept = [var for var in frontier if var not in inputs]
    first = _needed(func, kept, stop=set())
    moved = [b.value for b in _bindings(func) if b.var in first and b.var in pictured]
    if all(call_of(value, *_HEAVY) is None for value in moved):
        return None
    second = _needed(func, relax.analysis.free_vars(func.body.body), stop=set(frontier))
    taken = [i for i, var in enumerate(inputs) if var in first]
    others = [i for i, var in enumerate(inputs) if var in second]
    halves = {
        image_half(name): _image_half(func, kept, taken, first),
        prompt_half(name): _prompt_half(func, kept, others, second),
    }
    if any(relax.analysis.free_symbolic_vars(half) for half in halves.values()):
        # A size that only an input tells which the half doesn't take.
        return None
    return {
        key: half.with_attr("global_symbol", key)
        if func.attrs and "global_symbol" in func.attrs
        else half
        for key, half in halves.items()
    }


def _bindings(func: relax.Function) -> Iterator[Expr]:
    for block in func.body.blocks:
        yield from block.bindings


def _pictured(func: relax.Function) -> set[Expr]:
    """The values that depend on the picture, and on nothing that is known later."""
    known = image_values(func)
    found = set(image_inputs(func))
    for binding in _bindings(func):
        if binding.var in known and found.intersection(relax.analysis.free_vars(binding.value)):
            found.add(binding.var)
    return found


def _frontier(func: relax.Function, pictured: set[Expr]) -> list[Expr] | None:
    """The values that are kept for the prompt half; None if some can't be."""
    costs = {var: _bytes(var) for var in func.params if var in pictured}
    edges: dict[Expr, list[Expr]] = {}
    sources = list(costs)
    sinks = list(relax.analysis.free_vars(func.body.body))
    for binding in _bindings(func):
        var, value = binding.var, binding.value
        read = relax.analysis.free_vars(value)
        if var not in pictured:
            sinks.extend(read)
            continue
        costs[var] = _bytes(var)
        if not _is_cheap(value):
            # Runs in the image half: once it has run, its operands aren't needed any more.
            sources.append(var)
            continue
        for operand in read:
            edges.setdefault(operand, []).append(var)
    edges = {var: readers for var, readers in edges.items() if var in pictured}
    return min_vertex_cut(costs, edges, sources, [var for var in sinks if var in pictured])


def _is_cheap(value: Expr) -> bool:
    if isinstance(value, relax.Var | relax.Tuple | relax.TupleGetItem):
        return True
    return call_of(value, *_CHEAP) is not None


def _bytes(var: Expr) -> int | None:
    """A tensor's size at batch 1; None for what can't be kept and repeated along the batch."""
    ty = var.ty
    if not isinstance(ty, relax.TensorType) or not isinstance(ty.shape, relax.ShapeExpr):
        return None
    sizes = [static_int(dim) for dim in ty.shape.values]
    symbols = [d for d, n in zip(ty.shape.values, sizes, strict=True) if n is None]
    if not all(isinstance(d, tvm.tirx.Var) for d in symbols):
        return None
    elements = math.prod(n for n in sizes if n is not None)
    return max(1, elements * int(tvm.DataType(f"{ty.dtype}").itemsize))


def _needed(func: relax.Function, results: Sequence[Expr], stop: set[Expr]) -> set[Expr]:
    """The variables that ``results`` are computed from, back to those in ``stop``, which are
    among them where they are the function's own parameters."""
    values = {binding.var: binding.value for binding in _bindings(func)}
    found = stop.intersection(func.params)
    todo = [var for var in results if var not in stop]
    while todo:
        var = todo.pop()
        if var not in found:
            found.add(var)
            read = relax.analysis.free_vars(values[var]) if var in values else ()
            todo.extend(x for x in read if x not in stop)
    return found


def _image_half(
    func: relax.Function, kept: Sequence[Expr], inputs: Sequence[int], needed: set[Expr]
) -> relax.Function:
    result = relax.Var("kept", relax.TupleType([var.ty for var in kept]))
    blocks = _blocks(func, needed)
    # Inside the last block, where variables of the dataflow may be read.
    last = [*blocks[-1].bindings, relax.VarBinding(result, relax.Tuple(kept))]
    blocks[-1] = type(blocks[-1])(last)
    return _function(func, inputs, [], relax.SeqExpr(blocks, result), result.ty)


def _prompt_half(
    func: relax.Function, kept: Sequence[Expr], inputs: Sequence[int], needed: set[Expr]
) -> relax.Function:
    given = {var: relax.Var(f"kept_{i}", var.ty) for i, var in enumerate(kept)}
    body = relax.SeqExpr(_blocks(func, needed), func.body.body)
    return _function(
        func, inputs, list(given.values()), _Renamer(given).visit_expr(body), func.ret_ty
    )


def _blocks(func: relax.Function, needed: set[Expr]) -> list[Expr]:
    """The function's blocks with the bindings of these variables only."""
    return [
        type(block)([b for b in block.bindings if b.var in needed]) for block in func.body.blocks
    ]


def _function(
    func: relax.Function, inputs: Sequence[int], kept: Sequence[Expr], body: Expr, result: Any
) -> relax.Function:
    """A half of ``func``, of this result type: takes ``kept``, some inputs, all parameters."""
    count = int(func.attrs["num_input"])
    params = [*kept, *(func.params[i] for i in inputs), *list(func.params)[count:]]
    half = relax.Function(params, body, result, func.is_pure, func.attrs)
    half = half.without_attr(IMAGE_INPUTS).with_attr("num_input", len(kept) + len(inputs))
    return half.with_attr(STAGE_INPUTS, list(inputs))


@mutator
class _Renamer(PyExprMutator):
    """Replaces variables."""

    def __init__(self, names: dict[Expr, Expr]) -> None:
        super().__init__()
        self.names = names

    def visit_var_(self, op: Any) -> Any:
        return self.names.get(op, op)

    def visit_dataflow_var_(self, op: Any) -> Any:
        return self.names.get(op, op)
