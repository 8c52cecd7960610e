"""Elementwise operators, some by the bits of IEEE 754 numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sam3_tvm.importer.decompositions import decomposition

aten = torch.ops.aten

_SIGN = {torch.float32: (torch.int32, -(1 << 31)), torch.float64: (torch.int64, -(1 << 63))}
"""The integer dtype of the bits of a float, and the bit of its sign."""


def _number_dtype(*values: Any) -> torch.dtype:
    """PyTorch's promoted dtype of tensors and numbers, float32 where that is an integer."""
    found = values[0].dtype if len(values) == 1 else torch.result_type(*values)
    return found if found.is_floating_point else torch.get_default_dtype()


def _bits(x: Tensor) -> tuple[Tensor, int]:
    """The bits of a float32 or float64 tensor as ints, and the mask of the sign."""
    dtype, sign = _SIGN[x.dtype]
    return x.view(dtype), sign


def _wide(x: Tensor) -> Tensor:
    """A float tensor as float32 or float64, which hold every half exactly."""
    return x if x.dtype == torch.float64 else x.float()


@decomposition(aten.signbit.default)
def signbit(self: Tensor) -> Tensor:
    """Whether the sign is minus: of -0.0 and of NaN too."""
    if self.dtype == torch.bool:
        return torch.zeros_like(self)
    if not self.dtype.is_floating_point:
        return self < 0
    bits, _ = _bits(_wide(self))
    return bits < 0


@decomposition(aten.copysign.Tensor)
def copysign(self: Tensor, other: Tensor) -> Tensor:
    dtype = _number_dtype(self, other)
    work = torch.float64 if dtype == torch.float64 else torch.float32
    self, other = torch.broadcast_tensors(self.to(work), other.to(work))
    magnitude, sign = _bits(self)
    signs, _ = _bits(other)
    return ((magnitude & ~sign) | (signs & sign)).view(work).to(dtype)


@decomposition(aten.copysign.Scalar)
def copysign_scalar(self: Tensor, other: float) -> Tensor:
    dtype = _number_dtype(self, other)
    size = self.to(dtype).abs()
    return -size if math.copysign(1.0, other) < 0 else size


@decomposition(aten.nextafter.default)
def nextafter(self: Tensor, other: Tensor) -> Tensor:
    """The next number of the dtype from ``self`` towards ``other``."""
    if self.dtype not in _SIGN:
        return NotImplemented  # type: ignore[no-any-return]  # torch's way to decline
    self, other = torch.broadcast_tensors(self, other)
    bits, sign = _bits(self)
    away = (self > 0) == (other > self)
    moved = torch.where(away, bits + 1, bits - 1)
    towards, _ = _bits(other)
    smallest = (towards & sign) | 1
    bits = torch.where(self == 0, smallest, moved)
    found = torch.where(self == other, other, bits.view(self.dtype))
    return torch.where(torch.isnan(self) | torch.isnan(other), math.nan, found)


@decomposition(aten.ldexp.Tensor)
def ldexp(self: Tensor, other: Tensor) -> Tensor:
    """``self * 2 ** other``, as PyTorch forms it."""
    return self * torch.pow(2.0, other)


@decomposition(aten.frexp.Tensor)
def frexp(self: Tensor) -> tuple[Tensor, Tensor]:
    """A mantissa of magnitude 0.5 to 1 and the exponent of 2 that it is multiplied with."""
    if self.dtype == torch.float64:
        # 2^54 lifts the subnormal numbers, whose exponent is not in its bits.
        tiny = self.abs() < 2.0**-1022
        x = torch.where(tiny, self * 2.0**54, self)
    else:
        tiny, x = torch.zeros_like(self, dtype=torch.bool), self.double()
    bits = x.view(torch.int64)
    exponent = ((bits >> 52) & 0x7FF) - 1022
    keep = (x == 0) | ~torch.isfinite(x)
    mantissa = ((bits & ~(0x7FF << 52)) | (1022 << 52)).view(torch.float64)
    exponent = torch.where(keep, 0, exponent - torch.where(tiny, 54, 0))
    return torch.where(keep, x, mantissa).to(self.dtype), exponent.int()


@decomposition(aten.hypot.default)
def hypot(self: Tensor, other: Tensor) -> Tensor:
    """``sqrt(a² + b²)`` without overflow; infinite where either is, NaN or not."""
    dtype = torch.result_type(self, other)
    if dtype == torch.float64:
        a, b = self.double().abs(), other.double().abs()
        scale = torch.maximum(a, b).clamp(torch.finfo(dtype).tiny, torch.finfo(dtype).max)
        found = torch.sqrt((a / scale) ** 2 + (b / scale) ** 2) * scale
    else:
        a, b = self.double(), other.double()
        found = torch.sqrt(a * a + b * b)
    return torch.where(torch.isinf(a) | torch.isinf(b), math.inf, found).to(dtype)


def _extreme(least: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def choose(self: Tensor, other: Tensor) -> Tensor:
        found = torch.minimum(self, other) if least else torch.maximum(self, other)
        if not found.dtype.is_floating_point:
            return found
        self, other = self.to(found.dtype), other.to(found.dtype)
        return torch.where(torch.isnan(self), other, torch.where(torch.isnan(other), self, found))

    return choose


decomposition(aten.fmax.default)(_extreme(least=False))
decomposition(aten.fmin.default)(_extreme(least=True))


@decomposition(aten.lcm.default)
def lcm(self: Tensor, other: Tensor) -> Tensor:
    divisor = torch.gcd(self, other)
    one = torch.where(divisor == 0, 1, divisor)
    return (torch.div(self, one, rounding_mode="trunc") * other).abs().to(divisor.dtype)


@decomposition(aten.angle.default)
def angle(self: Tensor) -> Tensor:
    """0 or π by the sign of a real number; NaN of NaN."""
    if self.dtype.is_complex:
        return NotImplemented  # type: ignore[no-any-return]  # a rule for pairs has it
    dtype = _number_dtype(self)
    found = torch.where(self < 0, math.pi, 0.0).to(dtype)
    return torch.where(torch.isnan(self), self, found) if dtype == self.dtype else found


@decomposition(aten.rrelu_with_noise.default)
def rrelu(
    self: Tensor,
    noise: Tensor,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Any = None,
) -> Tensor:
    """A leaky ReLU of the mean slope, at inference."""
    if training:
        return NotImplemented  # type: ignore[no-any-return]  # it draws random slopes
    return torch.where(self > 0, self, self * ((lower + upper) / 2))


@decomposition(aten.rrelu_with_noise_functional.default)
def rrelu_functional(
    self: Tensor,
    noise: Tensor,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,
    generator: Any = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`rrelu`, with the noise, which isn't used."""
    if training:
        return NotImplemented  # type: ignore[no-any-return]  # it draws random slopes
    return torch.where(self > 0, self, self * ((lower + upper) / 2)), noise.clone()
