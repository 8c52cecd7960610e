"""``torch.cond``: both branches, nested, with symbolic sizes, and only the branch taken runs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from import_harness import check
from torch.export import Dim

ROWS = ({0: Dim("rows", min=1, max=9)},)


def nested(x: Any) -> Any:
    def positive(x: Any) -> Any:
        return torch.cond(
            x.max() > 5, lambda x: (x * 3, x.sum()), lambda x: (x.relu(), x.mean()), (x,)
        )

    return torch.cond(x.sum() > 0, positive, lambda x: (x * 2 - 1, x.amax()), (x,))


def test_nested_branches_of_static_and_symbolic_sizes() -> None:
    x = torch.rand(2, 3)
    check(nested, x, also=[(-x,), (x + 9,)])
    check(nested, x, dynamic_shapes=ROWS, also=[(-torch.rand(5, 3),), (torch.rand(1, 3) + 9,)])


def test_a_condition_on_a_size() -> None:
    def forward(x: Any) -> Any:
        return torch.cond(x.shape[0] > 3, lambda x: x + 1, lambda x: x * 2 - 1, (x,))

    check(forward, torch.randn(2, 3), dynamic_shapes=ROWS, also=[(torch.randn(5, 3),)])


class Branches(torch.nn.Module):
    """Parameters, a buffer, a table, and an operator that is decomposed, in branches."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4)
        self.shift = torch.nn.Buffer(torch.ones(4))

    def forward(self, x: Any) -> Any:
        return torch.cond(
            x.sum() > 0,
            lambda x: self.linear(x) + self.shift,
            lambda x: F.hardswish(F.layer_norm(x, (4,))) * torch.arange(4.0),
            (x,),
        )


def test_parameters_and_constants_in_branches() -> None:
    x = torch.rand(2, 4)
    check(Branches(), x, dynamic_shapes=ROWS, also=[(-torch.rand(7, 4),)])


def test_the_other_branch_does_not_run() -> None:
    """A division of integers by zero would end the process."""

    def forward(x: Any, n: Any) -> Any:
        return torch.cond(n != 0, lambda x, n: x // n, lambda x, n: x + 1, (x, n))

    check(forward, torch.arange(5), torch.tensor(2), also=[(torch.arange(5), torch.tensor(0))])
