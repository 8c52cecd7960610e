"""Arithmetic against PyTorch over dtypes, special values and numbers beside tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from import_harness import check, compare, compile_module

INF, NAN = float("inf"), float("nan")
FLOATS = torch.tensor([-7.5, -2, -0.5, 0, 0.5, 1, 2.5, 3.5, 9, NAN, INF, -INF])
DIVISORS = torch.tensor([2, -3, 0, 0.5, -0.25, 0.1, 7, -1, 3, 2, 1, 2])
INTS = torch.tensor([-7, -2, -1, 0, 1, 2, 5, 7, 8, -8, 100, -100])
INT_DIVISORS = torch.tensor([2, -3, 1, 5, -4, 3, 7, -1, 3, 2, 9, -9])


def binary(x, y):
    return (
        *(x + y, x - y, x * y, x / y, x // y, x % y),
        *(torch.add(x, y, alpha=2), torch.sub(x, y, alpha=3), torch.rsub(x, y)),
        *(torch.div(x, y, rounding_mode=mode) for mode in ("trunc", "floor")),
        torch.fmod(x, y),
        *(x == y, x != y, x < y, x <= y, x > y, x >= y),
        *(torch.maximum(x, y), torch.minimum(x, y), torch.clamp(x, y, y + 1)),
        *(torch.where(x > y, x, y), torch.atan2(x, y)),
        *(torch.logical_and(x, y), torch.logical_or(x, y), torch.logical_xor(x, y)),
    )


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param(FLOATS, DIVISORS, id="float-float"),
        pytest.param(INTS, DIVISORS, id="int-float"),
        pytest.param(FLOATS, INT_DIVISORS, id="float-int"),
        pytest.param(INTS.int(), INT_DIVISORS, id="int32-int64"),
        pytest.param(INTS.abs().byte(), INT_DIVISORS, id="uint8-int64"),
        pytest.param(FLOATS, torch.tensor(2.5, dtype=torch.float64), id="0d-doesnt-promote"),
    ],
)
def test_two_operands_of_mixed_dtypes(x, y):
    check(binary, x, y)


def test_two_halves():
    check(binary, FLOATS.half(), DIVISORS.half(), rtol=1e-3)


def numbers(x):
    return (
        *(x + 1, x - 2.5, x * 3, x * 0.1, x / 3, 2 / x.float(), 1 - x),
        *(x // 2, x // 2.5, x // -3, x % 3, x % -2.5, torch.fmod(x, 3)),
        *(torch.div(x, 2, rounding_mode="trunc"), x**2, 2 ** x.float()),
        *(x.float() ** 0.5, x.float() ** 3, x.float() ** -1),
        *(x == 2, x != 2, x > 0.5, x <= -1),
        *(torch.where(x > 0, x, 0), torch.where(x > 0, 1.5, x), torch.where(x > 0, 1, 0)),
        *(x.clamp(-1, 2), x.clamp(min=0.5), x.clamp(max=2.5), x.clamp(3, -3)),
    )


@pytest.mark.parametrize("x", [FLOATS, FLOATS.half(), INTS, INTS.int()], ids=lambda x: str(x.dtype))
def test_python_numbers_beside_tensors(x):
    check(numbers, x)


def test_bools():
    def forward(a, b):
        return (
            *(a + b, a * b, a & b, a | b, a ^ b, ~a, a == b, a != b, a < b, a >= b),
            *(a + 1, a * 2.5, a == 1, a & True, torch.maximum(a, b), torch.where(a, b, a)),
            *(a.int() - b.int(), torch.logical_not(a)),
        )

    check(forward, torch.tensor([True, False, True]), torch.tensor([True, True, False]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_bits_and_integer_powers(dtype):
    def forward(x, y):
        powers = (x**3, x**0, torch.pow(x, y), 2 ** y.abs(), x ** y.abs())
        return x & y, x | y, x ^ y, ~x, x << 2, x >> 1, x & 6, x | 3, *powers

    check(forward, INTS.to(dtype), INT_DIVISORS.to(dtype))


# fmt: off
FUNCTIONS = (
    torch.exp, torch.log, torch.sqrt, torch.rsqrt, torch.sin, torch.cos, torch.tan, torch.asin,
    torch.acos, torch.atan, torch.sinh, torch.cosh, torch.tanh, torch.asinh, torch.acosh,
    torch.atanh, torch.erf, torch.sigmoid, torch.reciprocal, torch.exp2, torch.log2,
    torch.log10, torch.expm1, torch.log1p, torch.erfc, torch.floor, torch.ceil, torch.trunc,
    torch.round, torch.abs, torch.neg, torch.sign, torch.square, torch.isnan, torch.isinf,
    torch.isfinite, torch.isposinf, torch.isneginf, torch.nan_to_num, torch.logical_not,
)
# fmt: on


@pytest.mark.parametrize(
    ("x", "rtol"),
    [
        (FLOATS, 1e-5),
        (torch.tensor([1e-8, -1e-6, 1e-4, 0.3, 0.99, -0.5, 4.5]), 1e-5),
        (INTS, 1e-5),
        (torch.tensor([0.3, 0.99, -0.5, 4.5]).half(), 2e-3),
        (torch.tensor([0.3, 0.99, -0.5, 4.5]).bfloat16(), 1e-2),
    ],
    ids=["special", "small", "ints", "half", "bfloat16"],
)
def test_functions_of_one_operand(x, rtol):
    check(lambda x: [function(x) for function in FUNCTIONS], x, rtol=rtol, atol=rtol / 10)


def test_round_to_decimals_and_logit():
    def forward(x):
        return x.round(decimals=1), x.round(decimals=-1), x.logit(), x.logit(eps=0.1), x.frac()

    check(forward, torch.tensor([0.25, 0.35, 0.5, 0.75, 15.0, 25.0]))


_VALUES = st.floats(-1e4, 1e4, width=32)
_DIVIDE = {}


def _division():
    if not _DIVIDE:

        def forward(x, y):
            return (
                *(x // y, x % y, torch.fmod(x, y), torch.div(x, y, rounding_mode="trunc")),
                *(x.long() // 7, x.long() % -5, x == y, x < y),
            )

        _DIVIDE["forward"] = forward
        _DIVIDE["run"] = compile_module(forward, (torch.ones(2), torch.ones(2)))
    return _DIVIDE["forward"], _DIVIDE["run"]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.tuples(_VALUES, _VALUES), st.tuples(_VALUES, _VALUES))
def test_division_of_any_numbers(xs, ys):
    forward, run = _division()
    x, y = torch.tensor(xs), torch.tensor(ys)
    compare(run(x, y), forward(x, y), rtol=1e-6, atol=0)
