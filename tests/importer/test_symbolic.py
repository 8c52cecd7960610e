"""Sizes as numbers: lesson 4, shape arithmetic, numbers out of tensors."""

from __future__ import annotations

import pytest
import torch
from import_harness import Wrap, check
from torch.export import Dim
from torch.nn import functional
from tvm import tirx

from sam3_tvm.importer import import_module
from sam3_tvm.importer.sizes import SizeTable

N = Dim("n", min=4, max=9)
OTHERS = [(torch.randn(7, 3),), (torch.randn(5, 3),)]


def vary(forward):
    check(forward, torch.randn(4, 3), dynamic_shapes=({0: N},), also=OTHERS)


def test_a_tensor_made_of_a_size_compares():
    def forward(x):
        n = x.shape[0]
        return torch.tensor(n) == x.shape[1], torch.tensor(n) == torch.arange(5), torch.tensor(n)

    vary(forward)


def test_sizes_as_operands():
    def forward(x):
        n = x.shape[0]
        ranges = torch.arange(n) / n, torch.arange(n, 2 * n), torch.arange(n) // n
        return x * n, x.sum() * (n / 3), x + n // 2, x - n % 3, n - x, x * n**2, *ranges

    vary(forward)


def test_sizes_as_sizes_and_fills():
    def forward(x):
        n = x.shape[0]
        sizes = torch.ones(2, n + 1), torch.zeros(n // 2 + 1, 2 * n), torch.ones(max(n, 3) - 1)
        return *sizes, torch.full((2,), n), torch.full((n,), 1.5)

    vary(forward)


def test_the_range_of_half_positions_has_a_rounded_length():
    vary(lambda x: torch.arange(0.5, x.shape[0]))


def test_guards_cost_nothing_and_hold():
    def forward(x):
        torch._check(x.shape[0] <= 9)
        assert x.shape[0] > 1
        return x[: x.shape[0] - 1]

    vary(forward)


def test_a_checked_number_from_a_tensor_becomes_a_size():
    def forward(x, k):
        k = k.item()
        torch._check(k >= 0)
        torch._check(k <= x.shape[0])
        return x[:k], x * k

    x = torch.randn(4, 3)
    check(
        forward,
        x,
        torch.tensor(2),
        dynamic_shapes=({0: N}, None),
        also=[(x, torch.tensor(0)), (x, torch.tensor(4))],
    )


def test_an_unchecked_number_from_a_tensor_may_be_negative():
    def forward(x, k, f):
        return x * k.item(), torch.where(x > 0, x, k.item()), x * (f.item() + 1)

    check(forward, torch.randn(3), torch.tensor(-2), torch.tensor(0.5))


@pytest.mark.parametrize("factor", [0.5, 1.5, 2.0, 0.7])
def test_rounded_products_of_sizes(factor):
    class Scale(torch.nn.Module):
        def forward(self, x):
            return x.new_zeros(torch.sym_int(x.shape[0] * factor), 2)

    others = [(torch.randn(n, 3),) for n in (5, 6, 7, 9)]
    check(Scale(), torch.randn(4, 3), dynamic_shapes=({0: N},), also=others)


def test_equal_sizes_are_written_alike():
    def forward(x):
        half = x[: x.shape[0] // 2]
        return torch.cat([half, half]) + torch.ones(x.shape[0] // 2 * 2, 1)

    mod, _ = import_module(Wrap(forward), (torch.randn(4, 3),), (({0: N},),))
    assert "match_cast" not in mod.script()


def test_size_table_proves_with_bounds():
    table = SizeTable({"n": (2, 8)})
    n = tirx.Var("n", "int64")
    table.define("n", n)
    assert table.proven(n >= 2)
    assert table.proven(n <= 8)
    assert not table.proven(n >= 3)
    assert table.equal(tirx.min(n, 8), n)
    assert table.simplify(n - n + 1) == 1


def test_sizes_that_pass_through_are_the_same_to_the_compiler():
    """A cast of a size, even to its own type, is no size that kernels can be fused over."""
    labels = torch.ones(2, 3, dtype=torch.int64)

    sizes = ({0: Dim("batch", min=1, max=9), 1: Dim("clicks", min=2, max=9)},)
    forward = Wrap(lambda x: functional.pad(x, (0, 1), value=-1))
    mod, _ = import_module(forward, (labels,), (sizes,))
    assert "Cast" not in str(mod["main"].ret_ty)
