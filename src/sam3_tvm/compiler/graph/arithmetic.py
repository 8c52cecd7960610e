"""The arithmetic of a Relax function, an attribute that it has from import to kernel."""

from __future__ import annotations

from tvm import relax

from sam3_tvm.arithmetic import BFLOAT16, FLOAT32, INT8, SCHEMES, Arithmetic

__all__ = [
    "arithmetic_of",
    "arithmetic_of_convolution",
    "arithmetic_of_layer",
    "with_arithmetic",
]

_ARITHMETIC = "arithmetic"


def with_arithmetic(func: relax.Function, arithmetic: Arithmetic) -> relax.Function:
    """The function with a scheme, by whose name its passes and its manifest find it."""
    return func.with_attr(_ARITHMETIC, arithmetic.name)


def arithmetic_of(func: relax.Function) -> Arithmetic:
    """The scheme that a function computes by; float32 where it doesn't say."""
    name = (func.attrs or {}).get(_ARITHMETIC)
    return FLOAT32 if name is None else SCHEMES[f"{name}"]


_FEWEST_OUTPUTS = 32
_FEWEST_BYTES = 64


def arithmetic_of_layer(scheme: Arithmetic, outputs: int, inputs: int) -> Arithmetic:
    """The part of its function's scheme that a linear layer computes by.

    What few outputs say (a box, a score, which of three masks) is what a user sees, and costs next
    to nothing in float32. An odd number of inputs is no pairs.
    """
    if scheme is INT8 and min(outputs, inputs) >= _FEWEST_BYTES:
        return INT8
    if scheme.besides is BFLOAT16 and inputs % 2:
        return FLOAT32
    return arithmetic_of_convolution(scheme, outputs)


def arithmetic_of_convolution(scheme: Arithmetic, outputs: int) -> Arithmetic:
    """The part of its function's scheme that a convolution computes by: by the same rule."""
    rest = scheme.besides
    return FLOAT32 if rest is BFLOAT16 and outputs < _FEWEST_OUTPUTS else rest
