"""Products with parameters, seen below whatever calls them."""

from __future__ import annotations

import torch
from torch import nn

from sam3_tvm.sensitivity.products import WeightProducts


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 6)
        self.bare = nn.Linear(6, 6, bias=False)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.matrix = nn.Parameter(torch.randn(6, 4))

    def forward(self, x, other):
        y = self.bare(self.linear(x))
        y, _ = self.attention(y, other, other, need_weights=False)
        # No parameter's product.
        return (y @ self.matrix) @ torch.ones(4, 2)


def test_every_product_with_a_parameter_is_seen_with_its_rows_and_name():
    torch.manual_seed(0)
    module, x, other = Mixed().train(), torch.randn(2, 5, 8), torch.randn(2, 3, 6)
    seen = {}

    def answer(product):
        exact = product.exact()
        seen[product.name] = (tuple(product.x.shape), product.shape)
        torch.testing.assert_close(exact, product.with_bias(product.x @ product.weight.T))
        return exact

    with torch.no_grad():
        want = module(x, other)
        with WeightProducts(module, answer):
            got = module(x, other)
    torch.testing.assert_close(got, want, rtol=0, atol=0)
    assert seen == {
        "linear.weight": ((10, 8), (6, 8)),
        "bare.weight": ((10, 6), (6, 6)),
        "attention.in_proj_weight[0:6]": ((10, 6), (6, 6)),
        "attention.in_proj_weight[6:18]": ((6, 6), (12, 6)),
        "attention.out_proj.weight": ((10, 6), (6, 6)),
        "matrix": ((10, 6), (4, 6)),
    }


def test_the_answer_is_what_the_module_gets_and_other_modules_are_left_alone():
    module, other = nn.Linear(4, 3), nn.Linear(4, 3)
    x = torch.randn(2, 4)
    with torch.no_grad():
        want, left = module(x) + 1, other(x)
        with WeightProducts(module, lambda product: product.exact() + 1):
            got, same = module(x), other(x)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(same, left, rtol=0, atol=0)
