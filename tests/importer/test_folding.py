"""What depends on constants alone is computed at import."""

from __future__ import annotations

import pytest
import torch
import tvm
from import_harness import Wrap, check
from torch.export import Dim

from sam3_tvm.importer import import_module, symbolic_bounds


class Rotary(torch.nn.Module):
    """Each layer makes the same tables, as rotary embeddings in models do."""

    def __init__(self):
        super().__init__()
        self.inverse = torch.nn.Buffer(1 / 100 ** (torch.arange(0, 8, 2) / 8), persistent=False)
        self.linear = torch.nn.Linear(8, 8)

    def rotate(self, x):
        angles = torch.outer(torch.arange(16, dtype=torch.float32), self.inverse)
        angles = torch.cat([angles, angles], -1)
        return x * angles.cos() + torch.cat([-x[..., 4:], x[..., :4]], -1) * angles.sin()

    def forward(self, x):
        return self.rotate(self.rotate(self.linear(x)))


def constants(mod):
    found = []

    def visit(expr):
        if isinstance(expr, tvm.ir.expr.GenericConst) and not any(expr.same_as(f) for f in found):
            found.append(expr)

    tvm.relax.analysis.post_order_visit(mod["main"], visit)
    return [c.value.numpy() for c in found]


def test_rotary_tables_are_folded_and_shared():
    x = torch.randn(3, 16, 8)
    batch = {0: Dim("batch", min=1, max=8)}
    mod, params = import_module(Rotary(), (x,), (batch,))
    text = mod.script()
    assert not any(f"R.{name}(" in text for name in ("sin", "cos", "arange", "outer"))
    assert sorted(c.shape for c in constants(mod)) == [(16, 8), (16, 8)]
    assert list(params) == ["linear.weight", "linear.bias"]
    check(Rotary(), x, dynamic_shapes=(batch,), also=[(torch.randn(1, 16, 8),)])


def test_repetition_is_not_stored():
    def forward(x):
        row = torch.arange(64.0)
        return x + torch.zeros(64, 64), x * row.expand(64, 64), x - row[:, None].repeat(1, 64)

    mod, _ = import_module(Wrap(forward), (torch.randn(64, 64),))
    assert max(c.size for c in constants(mod)) <= 64
    check(forward, torch.randn(64, 64))


def test_parameters_and_random_numbers_are_not_folded():
    layer = torch.nn.Linear(4, 4)
    mod, params = import_module(Wrap(layer.forward), (torch.randn(2, 4),))
    assert not constants(mod) or params == {}
    halves = torch.nn.Sequential(layer)
    halves.forward = lambda x: x @ (layer.weight * 2)
    mod, params = import_module(halves, (torch.randn(2, 4),))
    assert "0.weight" in params
    assert "R.multiply" in mod.script()


def test_constants_that_are_results():
    check(lambda x: (x, torch.arange(5), torch.arange(6).unbind()[2]), torch.randn(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.float64])
def test_constants_of_any_dtype(dtype):
    table = (torch.arange(6) % 4).to(dtype)
    mod, _ = import_module(Wrap(lambda x: (x, table + table)), (torch.randn(2),))
    assert symbolic_bounds(mod) == {}
    check(lambda x: (x, (table + table).float()), torch.randn(2))
