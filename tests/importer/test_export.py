import pytest
import torch
from import_harness import check
from torch._dynamo.exc import UserError
from torch.export import Dim

from sam3_tvm.importer import import_module, symbolic_bounds


class Chooses(torch.nn.Module):
    """Another result for sizes at which a condition holds."""

    def __init__(self, condition):
        super().__init__()
        self.condition = condition

    def forward(self, x):
        return x + 1 if self.condition(x.shape[0]) else x - 1


def small(n):
    return ({0: Dim("n", min=0, max=n)},)


def test_a_condition_on_sizes_that_torch_cannot_decide_is_tried_out():
    always = Chooses(lambda n: torch.sym_min(n * n, 64 * n) == n * n)
    with pytest.raises(UserError, match="Constraints violated"):
        torch.export.export(always, (torch.ones(3),), dynamic_shapes=small(64), strict=False)
    mod, _ = import_module(always, (torch.ones(3),), small(64))
    assert symbolic_bounds(mod) == {"n": (0, 64)}
    check(
        always, torch.ones(3), dynamic_shapes=small(64), also=[(torch.ones(0),), (torch.ones(9),)]
    )


@pytest.mark.parametrize("limit", [None, 64])
def test_one_that_some_size_breaks_stays_an_error(limit):
    mostly = Chooses(lambda n: torch.sym_min(n, 50) == n)
    with pytest.raises(UserError, match="Constraints violated"):
        import_module(mostly, (torch.ones(3),), small(limit))
    if limit is not None:
        import_module(mostly, (torch.ones(3),), small(50))
