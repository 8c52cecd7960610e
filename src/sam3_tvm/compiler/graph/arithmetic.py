"""The arithmetic of a Relax function, an attribute that it has from import to kernel."""

from __future__ import annotations

from tvm import relax

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32, SCHEMES, Arithmetic

__all__ = ["arithmetic_of", "arithmetic_of_layer", "with_arithmetic"]

_ARITHMETIC = "arithmetic"


def with_arithmetic(func: relax.Function, arithmetic: Arithmetic) -> relax.Function:
    """The function with a scheme, by whose name its passes and its manifest find it."""
    return func.with_attr(_ARITHMETIC, arithmetic.name)


def arithmetic_of(func: relax.Function) -> Arithmetic:
    """The scheme that a function computes by; float32 where it doesn't say."""
    name = (func.attrs or {}).get(_ARITHMETIC)
    return FLOAT32 if name is None else SCHEMES[f"{name}"]


_FEWEST_OUTPUTS = 32


def arithmetic_of_layer(scheme: Arithmetic, outputs: int, inputs: int = 0) -> Arithmetic:
    """The part of its function's scheme that a layer or a convolution computes by.

    What few outputs say (a box, a score, which of three masks) is what a user sees, and costs next
    to nothing in float32. An odd number of inputs is no pairs.
    """
    if scheme is BFLOAT16 and (outputs < _FEWEST_OUTPUTS or inputs % 2):
        return FLOAT32
    return scheme
