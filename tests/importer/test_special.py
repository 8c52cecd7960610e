"""Special functions and functions of the bits of a number."""

from __future__ import annotations

import math

import pytest
import torch
from import_harness import check
from torch.export import Dim

ODD = torch.tensor([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 2.5, -2.5, 1e-40, 3e38])
EDGES = torch.tensor([0.0, -0.0, 1e-20, -1e-7, 50.0, -85.3, math.nan, math.inf, -math.inf])
RANGE = torch.cat([torch.linspace(-30, 30, 201) + 0.03, EDGES])


def special(x):
    return (
        *(torch.lgamma(x), torch.digamma(x), torch.erfinv(x / 30), torch.polygamma(0, x)),
        *(torch.special.i0(x), torch.special.i0e(x), torch.special.i1(x), torch.special.i1e(x)),
        torch.mvlgamma(x.abs() + 2, 3),
    )


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [(torch.float32, 1e-5, 1e-6), (torch.float64, 1e-9, 1e-9), (torch.bfloat16, 8e-3, 1e-6)],
)
def test_special_functions(dtype, rtol, atol):
    # PyTorch's own Bessel functions of bfloat16 lose digits in its arithmetic at 88.
    check(special, RANGE.to(dtype), rtol=rtol, atol=atol)


def test_special_functions_of_ints_and_symbolic_sizes():
    check(special, torch.arange(-5, 20), rtol=1e-5, atol=1e-5)
    n = Dim("n", min=1, max=300)
    check(special, RANGE, dynamic_shapes=({0: n},), also=[(RANGE[:7],)])


def test_trigamma():
    def forward(x):
        return torch.polygamma(1, x)

    check(forward, RANGE.double()[RANGE > -80], rtol=1e-8)


def by_bits(a, b):
    return (
        *(torch.signbit(a), torch.copysign(a, b), torch.copysign(a, -2.0), *torch.frexp(a)),
        *(torch.nextafter(a, b), torch.hypot(a, b), torch.fmax(a, b), torch.fmin(a, b)),
        *(torch.angle(a), torch.ldexp(a, torch.tensor(3)), torch.heaviside(a, b)),
        *(torch.xlogy(a, b), torch.logaddexp(a, b), torch.logaddexp2(a, b), torch.sinc(a)),
        *(torch.special.entr(a), torch.special.xlog1py(a, b)),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bits_and_pairs_of_odd_numbers(dtype):
    a, b = (x.flatten() for x in torch.meshgrid(ODD.to(dtype), ODD.to(dtype), indexing="ij"))
    check(by_bits, a.contiguous(), b.contiguous())


def test_bits_of_halves_and_broadcasting():
    def forward(a, b):
        return (
            *(torch.signbit(a), torch.copysign(a, b), torch.hypot(a, b), torch.fmax(a, b)),
            *(torch.frexp(a)[0], torch.fmin(a, b)),
        )

    check(forward, ODD.half().reshape(-1, 1), ODD.half())


def test_ints():
    def forward(a, b):
        return (
            *(torch.gcd(a, b), torch.lcm(a, b), torch.signbit(a), torch.copysign(a, b)),
            *(torch.angle(a), torch.fmax(a, b), torch.fmin(a, b)),
        )

    a = torch.cat([torch.randint(-500, 500, (60,)), torch.tensor([0, 0, 7, 832040, 1])])
    b = torch.cat([torch.randint(-500, 500, (60,)), torch.tensor([0, 7, 0, 514229, -1])])
    check(forward, a, b)
    check(forward, a.int(), b.int().reshape(-1, 1))


def test_rrelu_has_its_mean_slope_at_inference():
    def forward(x):
        return torch.nn.functional.rrelu(x, 0.1, 0.5), torch.nn.functional.rrelu(x)

    check(forward, ODD)


def test_bits_as_another_dtype():
    def forward(x):
        return x.view(torch.int32), x.view(torch.int32).view(torch.float32)

    check(forward, torch.tensor([1.0, -0.0, 3.5]))
