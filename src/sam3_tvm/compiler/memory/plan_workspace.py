"""Memory comes from the caller: one workspace for what dies in a call, a buffer for each result.

TVM plans storages, allocates them in every call and gives them back at its end. What is allocated
anew comes in pages of 4 KiB that the kernel clears one fault at a time, which for large tensors
takes longer than the arithmetic on them. Here a function ``f`` takes its memory as two more
arguments:

- ``views``, a tuple of tensors within the workspace, one for each place and shape that its values
  have. ``f_views(workspace, inputs...)`` makes it. A caller keeps it for further calls with the
  same shapes, so in a call a value costs one ``tuple_getitem``, or nothing where the same place
  has been used with the same shape before, and a reshape of it costs no more.
- ``results``, a tuple of buffers of bytes, one for each value that outlives the call.

``f_memory(inputs...)`` tells what they need, as one shape: the bytes of the workspace, then those
of each buffer. :mod:`sam3_tvm.compiler.memory.plan` decides what shares memory.

``vm.builtin`` has no view at an offset that kernels accept, since they take tensors that start
where their data starts; ``runtime.TVMTensorCreateView`` and ``vm.builtin.ensure_zero_offset``
together make one, and do so once per shape instead of once per call.

Functions that branch, or that hand a tensor to something other than a kernel, keep the memory
that TVM plans for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax import BlockBuilder

from sam3_tvm.compiler.memory.plan import Bytes, Lifetime, Plan, plan
from sam3_tvm.compiler.memory.sizes import Sizes, bound, bytes_value, int64, tensor_bytes

__all__ = ["MEMORY", "VIEWS", "KillUnplanned", "PlanWorkspace"]

MEMORY, VIEWS = "_memory", "_views"
"""What is appended to a function's name for those that tell and that divide its memory."""

_PLANNED = "workspace_planned"

Expr = Any


@tvm.transform.module_pass(opt_level=0, name="PlanWorkspace")
class PlanWorkspace:
    """Give every function its memory as arguments. Runs after CallTIRRewrite."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite the functions and add those that describe their memory."""
        result = tvm.IRModule(mod.functions, attrs=mod.attrs)
        for gvar, func in mod.functions_items():
            if not isinstance(func, relax.Function):
                continue
            found = _Values.of(func)
            if found is None:
                continue
            name = gvar.name_hint
            planned = _PlannedFunction(func, found)
            result[gvar] = planned.rewritten()
            result[f"{name}{MEMORY}"] = planned.memory(f"{name}{MEMORY}")
            result[f"{name}{VIEWS}"] = planned.views(f"{name}{VIEWS}")
        return result


@tvm.transform.module_pass(opt_level=0, name="KillUnplanned")
class KillUnplanned:
    """TVM's KillAfterLastUse for the functions that still allocate memory.

    A register that holds a view frees nothing when it is cleared.
    """

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        """Rewrite the functions that are not planned."""
        rest = {
            gvar: func
            for gvar, func in mod.functions_items()
            if not (isinstance(func, relax.Function) and func.attrs and _PLANNED in func.attrs)
        }
        result = tvm.IRModule(mod.functions, attrs=mod.attrs)
        result.update(relax.transform.KillAfterLastUse()(tvm.IRModule(rest)))
        return result


@dataclass
class _Value:
    """Memory that a function allocates.

    Attributes:
        size: its bytes.
        first, last: the steps of its first and last use.
        escapes: whether it outlives the call.
    """

    size: Expr
    first: int | None = None
    last: int = -1
    escapes: bool = False


@dataclass
class _Values:
    """The memory of a function's variables.

    Attributes:
        values: by the variable that allocates.
        behind: the allocating variables whose memory a variable may share.
    """

    values: dict[Expr, _Value] = field(default_factory=dict)
    behind: dict[Expr, frozenset[Expr]] = field(default_factory=dict)

    @staticmethod
    def of(func: relax.Function) -> _Values | None:
        """None for a function that must be left alone."""
        found = _Values()
        for step, binding in enumerate(_bindings(func)):
            if not found._take(step, binding):
                return None
        for var in found._variables(func.body.body):
            found.values[var].escapes = True
        return found

    def _take(self, step: int, binding: Expr) -> bool:
        value, var = binding.value, binding.var
        if not isinstance(binding, relax.VarBinding) or isinstance(value, relax.If):
            return False
        if _is_call(value, "relax.builtin.alloc_tensor"):
            extents = value.args[0]
            if not isinstance(extents, relax.ShapeExpr):
                return False
            self.values[var] = _Value(tensor_bytes(extents.values, value.args[1].value))
            self.behind[var] = frozenset({var})
            return True
        shared = self._variables(value)
        if not isinstance(value, relax.Call):
            self.behind[var] = shared
            return True
        if _is_call(value, "relax.reshape"):
            self.behind[var] = self._variables(value.args[0])
            return True
        if not isinstance(value.op, tvm.ir.GlobalVar):
            return not shared
        for used in shared:
            tensor = self.values[used]
            tensor.first = step if tensor.first is None else tensor.first
            tensor.last = step
        return True

    def _variables(self, expr: Expr) -> frozenset[Expr]:
        """The allocating variables whose memory an expression may share."""
        if isinstance(expr, relax.Var):
            return self.behind.get(expr, frozenset())
        if isinstance(expr, relax.Tuple):
            return frozenset().union(*(self._variables(f) for f in expr.fields))
        if isinstance(expr, relax.TupleGetItem):
            return self._variables(expr.tuple_value)
        if isinstance(expr, relax.Call):
            return frozenset().union(*(self._variables(a) for a in expr.args))
        return frozenset()


class _PlannedFunction:
    """A function with a plan for its memory, and the three that replace it."""

    def __init__(self, func: relax.Function, found: _Values) -> None:
        self.func = func
        self.behind = found.behind
        attrs = func.attrs or {}
        count = int(attrs["num_input"]) if "num_input" in attrs else len(func.params)
        self.inputs = list(func.params)[:count]
        lower = {str(k): int(v) for k, v in attrs.get("tir_var_lower_bound", {}).items()}
        self.sizes = Sizes(func, lower)
        self.results = {v: x.size for v, x in found.values.items() if x.escapes}
        inner = {v: x for v, x in found.values.items() if not x.escapes and x.first is not None}
        lifetimes = [
            Lifetime(self.sizes.polynomial(x.size), x.first, x.last)
            for x in inner.values()
            if x.first is not None
        ]
        self.plan: Plan = plan(lifetimes, self.sizes.lower)
        self.offsets = dict(zip(inner, self.plan.offsets, strict=True))
        # Each distinct place, shape and dtype, by its position in the tuple of views.
        self.places: dict[Any, tuple[int, Bytes, Expr]] = {}

    def rewritten(self) -> relax.Function:
        """The function, with the arguments ``views`` and ``results`` after its own."""
        views, results = (relax.Var(n, relax.AnyType()) for n in ("views", "results"))
        position = {var: i for i, var in enumerate(self.results)}
        seen: dict[int, Expr] = {}
        renamed: dict[Expr, Expr] = {}
        bindings = []
        for binding in _bindings(self.func):
            var, value = binding.var, binding.value
            if var in self.results:
                raw = relax.Var("buffer", relax.TensorType(ndim=1, dtype="uint8"))
                bindings.append(relax.VarBinding(raw, _item(results, position[var], raw.ty)))
                shape, dtype = value.args[0], value.args[1]
                value = _packed(
                    "runtime.TVMTensorCreateView", [raw, shape, dtype, int64(0)], var.ty
                )
            elif (offset := self._offset(var)) is not None:
                place = self._place(offset, var.ty)
                if place in seen:
                    renamed[var] = seen[place]
                    continue
                seen[place] = var
                value = _item(views, place, var.ty)
            elif _is_call(value, "relax.builtin.alloc_tensor"):
                continue  # never used
            bindings.append(relax.VarBinding(var, _substituted(value, renamed)))
        body = relax.SeqExpr(
            [relax.BindingBlock(bindings)], _substituted(self.func.body.body, renamed)
        )
        attrs = dict(self.func.attrs) if self.func.attrs else {}
        attrs[_PLANNED] = True
        # Everything that is matched against its type is an input.
        attrs.setdefault("num_input", len(self.inputs))
        return relax.Function(
            [*self.func.params, views, results],
            body,
            self.func.ret_ty,
            self.func.is_pure,
            tvm.ir.make_node("ir.DictAttrs", **attrs),
        )

    def _offset(self, var: Expr) -> Bytes | None:
        """Where a variable lies if it is a tensor in the workspace."""
        behind = self.behind.get(var, frozenset())
        if len(behind) != 1 or not isinstance(var.ty, relax.TensorType):
            return None
        return self.offsets.get(next(iter(behind)))

    def _place(self, offset: Bytes, ty: Expr) -> int:
        key = (offset, str(ty.dtype), tuple(str(e) for e in ty.shape.values))
        if key not in self.places:
            self.places[key] = (len(self.places), offset, ty)
        return self.places[key][0]

    def memory(self, name: str) -> relax.Function:
        """``f_memory(inputs...)``: the workspace's bytes and those of each result, as a shape."""
        builder = BlockBuilder()
        with builder.function(name, list(self.inputs)):
            named = self.sizes.define(builder, self.plan)
            total: Expr = int64(0)
            for end in self.plan.ends:
                total = tirx.max(total, bytes_value(end, named))
            answer = builder.emit(relax.ShapeExpr([total, *self.results.values()]))
            builder.emit_func_output(answer)
        return self._finished(builder, name)

    def views(self, name: str) -> relax.Function:
        """``f_views(workspace, inputs...)``: the tuple of views, in the order of the places."""
        builder = BlockBuilder()
        workspace = relax.Var("workspace", relax.TensorType(ndim=1, dtype="uint8"))
        with builder.function(name, [workspace, *self.inputs]):
            named = self.sizes.define(builder, self.plan)
            offsets = bound(
                builder, "offset", {o: bytes_value(o, named) for _, o, _ in self.places.values()}
            )
            fields = []
            for _, offset, ty in self.places.values():
                view = _packed(
                    "runtime.TVMTensorCreateView",
                    [workspace, ty.shape, _dtype(str(ty.dtype)), offsets[offset]],
                    ty,
                )
                fields.append(
                    builder.emit(_packed("vm.builtin.ensure_zero_offset", [builder.emit(view)], ty))
                )
            builder.emit_func_output(relax.Tuple(fields))
        return self._finished(builder, name)

    def _finished(self, builder: BlockBuilder, name: str) -> relax.Function:
        func = builder.get()[name]
        func = func.with_attr("relax.force_pure", True).with_attr(_PLANNED, True)
        return relax.utils.copy_with_new_vars(func)


def _substituted(expr: Expr, renamed: dict[Expr, Expr]) -> Expr:
    """A bound value with other variables in place of some."""
    if isinstance(expr, relax.Var):
        return renamed.get(expr, expr)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple([_substituted(f, renamed) for f in expr.fields])
    if isinstance(expr, relax.Call) and any(a in renamed for a in expr.args):
        args = [_substituted(a, renamed) for a in expr.args]
        return relax.Call(expr.op, args, expr.attrs, expr.ty_args)
    return expr


def _bindings(func: relax.Function) -> Iterator[Expr]:
    for block in func.body.blocks:
        yield from block.bindings


def _is_call(value: Expr, op: str) -> bool:
    return isinstance(value, relax.Call) and value.op == tvm.ir.Op.get(op)


def _item(items: Expr, position: int, ty: Expr) -> Expr:
    return _packed("vm.builtin.tuple_getitem", [items, int64(position)], ty)


def _packed(function: str, args: list[Expr], ty: Expr) -> Expr:
    return relax.Call(relax.ExternFunc(function), args, ty_args=[ty])


def _dtype(name: str) -> Expr:
    return tvm.ir.GenericConst(tvm.DataType(name), relax.AnyType())
