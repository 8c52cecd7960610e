"""The arithmetic of a Relax function, an attribute that it has from import to kernel."""

from __future__ import annotations

from collections.abc import Iterable

from tvm import relax

from sam3_tvm.arithmetic import FLOAT32, SCHEMES, Arithmetic

__all__ = ["arithmetic_of", "excepted_by", "excepting", "with_arithmetic"]

_ARITHMETIC = "arithmetic"
_EXCEPTED = "excepted_parameters"


def with_arithmetic(func: relax.Function, arithmetic: Arithmetic) -> relax.Function:
    """The function with a scheme, by whose name its passes and its manifest find it."""
    return func.with_attr(_ARITHMETIC, arithmetic.name)


def arithmetic_of(func: relax.Function) -> Arithmetic:
    """The scheme that a function computes by; float32 where it doesn't say."""
    name = (func.attrs or {}).get(_ARITHMETIC)
    return FLOAT32 if name is None else SCHEMES[f"{name}"]


def excepting(func: relax.Function, parameters: Iterable[str]) -> relax.Function:
    """The function with linear layers that compute as what the scheme has no part in does, by the
    names of the variables of their weights."""
    return func.with_attr(_EXCEPTED, sorted(parameters))


def excepted_by(func: relax.Function) -> frozenset[str]:
    """Those names; none where the function doesn't say."""
    return frozenset(map(str, (func.attrs or {}).get(_EXCEPTED, ())))
