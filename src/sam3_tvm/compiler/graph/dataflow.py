"""What a rewrite asks about a Relax function: who defines a value, who uses it, and whether
it depends on the parameters alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tvm import relax
from tvm.ir import GenericConst
from tvm.sym import Analyzer

__all__ = [
    "Dataflow",
    "activation_of",
    "call_of",
    "constant",
    "float32_shape_of",
    "operands",
    "same_shape",
    "shape_of",
    "static_int",
]

Expr = Any


class Dataflow:
    """Definitions and uses of a function's variables. Expects A-normal form (Normalize)."""

    def __init__(self, func: relax.Function) -> None:
        self._value: dict[Expr, Expr] = {}
        self._users: dict[Expr, list[Expr | None]] = {}
        self.bindings: list[Expr] = []
        """Every binding of a call in order, ``If`` branches included."""
        self._offline: set[Expr] = set(_parameters(func))
        self._walk(func.body)

    def _walk(self, body: Expr) -> None:
        for block in body.blocks:
            for binding in block.bindings:
                value = binding.value
                self._value[binding.var] = value
                if isinstance(value, relax.If):
                    self._use(value.cond, None)
                    self._walk(value.true_branch)
                    self._walk(value.false_branch)
                    continue
                for operand in operands(value):
                    self._use(operand, binding.var if isinstance(value, relax.Call) else None)
                if isinstance(value, relax.Call):
                    self.bindings.append(binding)
                if self._depends_on_parameters_only(value, binding.var):
                    self._offline.add(binding.var)
        for operand in operands(body.body):
            self._use(operand, None)

    def _use(self, operand: Expr, user: Expr | None) -> None:
        self._users.setdefault(operand, []).append(user)

    def _depends_on_parameters_only(self, value: Expr, var: Expr) -> bool:
        # A parameter broadcast to the batch depends on the batch.
        if relax.analysis.tir_vars_in_type(var.ty):
            return False
        tensors = list(operands(value))
        return bool(tensors) and all(map(self.is_offline, tensors))

    def is_offline(self, expr: Expr) -> bool:
        """Whether it can be computed at compile time: a parameter, a constant, or made of them."""
        return isinstance(expr, GenericConst) or expr in self._offline

    def definition(self, expr: Expr) -> Expr:
        """The value that a variable is bound to, through plain renames; other things as is."""
        root = self.root(expr)
        return self._value.get(root, root)

    def root(self, expr: Expr) -> Expr:
        """The variable behind plain renames; other things as is."""
        while isinstance(self._value.get(expr), relax.Var):
            expr = self._value[expr]
        return expr

    def parameters(self, expr: Expr) -> frozenset[str]:
        """Names of the variables without a definition, the function's own, that a value is
        computed from."""
        value = self.definition(expr)
        if isinstance(value, relax.Var):
            return frozenset((f"{value.name}",))
        behind = (x for x in operands(value) if isinstance(x, relax.Var))
        return frozenset[str]().union(*map(self.parameters, behind))

    def users(self, var: Expr) -> list[Expr | None]:
        """The variable bound to each call that uses ``var``, once for each use; None for another
        use: in a tuple, a branch, a rename or the function's result."""
        return self._users.get(var, [])

    def uses(self, var: Expr) -> int:
        """How often calls and others use a variable."""
        return len(self._users.get(var, []))

    def only_user(self, var: Expr) -> Expr | None:
        """The variable bound to the one call that uses ``var``, once; None if there are more
        uses, or others: in a tuple, a branch or the function's result."""
        users = self._users.get(var, [])
        return users[0] if len(users) == 1 else None


def _parameters(func: relax.Function) -> list[Expr]:
    if func.attrs is None or "num_input" not in func.attrs:
        return []
    return list(func.params)[int(func.attrs["num_input"]) :]


def operands(value: Expr) -> Iterator[Expr]:
    """Variables and constants in a value, repeated where they are used repeatedly."""
    if isinstance(value, relax.Var | GenericConst):
        yield value
    elif isinstance(value, relax.Call):
        for arg in value.args:
            yield from operands(arg)
    elif isinstance(value, relax.Tuple):
        for field in value.fields:
            yield from operands(field)
    elif isinstance(value, relax.TupleGetItem):
        yield from operands(value.tuple_value)


def call_of(value: Expr, *operators: str) -> Expr | None:
    """The value itself where it is a call of one of these operators, else None."""
    if not isinstance(value, relax.Call):
        return None
    return value if getattr(value.op, "name", None) in operators else None


def activation_of(value: Expr) -> str | None:
    """The activation that a value is of its only operand: ``gelu``, or ``relu``, which the
    importer writes as the larger of 0 and x; else None."""
    call = call_of(value, "relax.nn.gelu", "relax.nn.relu", "relax.maximum")
    if call is None:
        return None
    if call.op.name != "relax.maximum":
        return str(call.op.name).removeprefix("relax.nn.")
    return "relu" if constant(call.args[0]) == 0 else None


def constant(expr: Expr) -> float | None:
    """The number of a scalar constant, else None."""
    if isinstance(expr, GenericConst) and expr.value.shape == ():
        return float(expr.value.numpy())
    return None


def shape_of(expr: Expr) -> list[Expr] | None:
    """The dimensions of a tensor, of any dtype, whose rank and dimensions are known, else None."""
    ty = expr.ty
    if not isinstance(ty, relax.TensorType) or not isinstance(ty.shape, relax.ShapeExpr):
        return None
    return list(ty.shape.values)


def float32_shape_of(expr: Expr) -> list[Expr] | None:
    """The same of a float32 tensor, in which kernels take and give values; else None."""
    return shape_of(expr) if getattr(expr.ty, "dtype", None) == "float32" else None


def static_int(dim: Expr) -> int | None:
    """A dimension's value where it is known at compile time."""
    return int(dim.value) if hasattr(dim, "value") else None


def same_shape(a: Sequence[Expr], b: Sequence[Expr]) -> bool:
    """Whether two shapes are equal for every value of their symbols."""
    prove = Analyzer().can_prove_equal
    return len(a) == len(b) and all(prove(x, y) for x, y in zip(a, b, strict=True))
