"""Views, permutations, joins and splits, with static and symbolic sizes."""

from __future__ import annotations

import pytest
import torch
from import_harness import check
from torch.export import Dim
from torch.nn.functional import pad

N = Dim("n", min=4, max=9)
X = torch.randn(4, 3, 6)
OTHERS = [(torch.randn(7, 3, 6),), (torch.randn(5, 3, 6),)]


@pytest.fixture(params=["static", "symbolic"])
def compared(request):
    def run(forward):
        if request.param == "static":
            check(forward, X)
        else:
            check(forward, X, dynamic_shapes=({0: N},), also=OTHERS)

    return run


def test_views(compared):
    def forward(x):
        n = x.shape[0]
        flat = x.view(n, -1), x.reshape(-1), x.flatten(0, 1), x.flatten(), x.ravel()
        axes = x.unflatten(2, (2, -1)), x.unsqueeze(-1), x[:, :1].squeeze(1), x[:, :1].squeeze()
        return *flat, *axes, x.view(n * 3, 6), x.reshape(1, n, 18), x.view_as(x)

    compared(forward)


def test_a_squeezed_axis_keeps_the_rank_known(compared):
    compared(lambda x: x.unsqueeze(-1).squeeze(-1).permute(2, 0, 1))


def test_permutations(compared):
    def forward(x):
        moves = x.movedim(0, -1), x.movedim((0, 1), (-1, 0)), x.transpose(-1, 0), x.mT
        return *moves, x.permute(2, 0, 1), x.permute(-1, -3, -2), x[0].t(), x.swapaxes(1, 2)

    compared(forward)


def test_copies(compared):
    def forward(x):
        n = x.shape[0]
        tiled = x.repeat(2, 1, 1), x.repeat(2, 1, 3, 1), x.tile(2), x.repeat(n, 1, 1)
        each = x.repeat_interleave(2, 0), x.repeat_interleave(3, -1), x.repeat_interleave(2)
        wide = x.expand(2, n, 3, 6), x[:, :1].expand(-1, 5, -1), x[0].expand_as(x)
        return *tiled, *each, *wide

    compared(forward)


def test_joins(compared):
    def forward(x):
        joined = torch.cat([x, x[:1]], -3), torch.cat([x, torch.empty(0), x]), torch.cat([x], 1)
        joined += torch.cat([x[:, 3:], x], 1), torch.cat([x[:, 3:], x[:, 3:].double()], 1)
        mixed = torch.cat([x, x > 0], 2), torch.stack([x, x.double()], -1), torch.stack([x[0]])
        flat = torch.hstack([x, x]), torch.vstack([x, x]), torch.dstack([x[0], x[1]])
        return *joined, *mixed, *flat, torch.column_stack([x[0, 0], x[1, 0]])

    compared(forward)


def test_splits(compared):
    def forward(x):
        sized = *x.split(2, -1), *x.split([1, 2], 1), *x.split([0, 4, 2], 2), *x.tensor_split(4, 2)
        return *sized, *x.chunk(2, 2), *x.chunk(4, -1), *x.unbind(1), *x.unbind(-1)

    compared(forward)


def test_splits_along_a_symbolic_axis():
    def forward(x):
        return x.split([1, x.shape[0] - 1]), torch.meshgrid(x[:, 0, 0], x[0, 0], indexing="xy")

    check(forward, X, dynamic_shapes=({0: N},), also=OTHERS)


def test_grids():
    def forward(x):
        a, b = x[0, 0], x[0, :, 0]
        both = (torch.meshgrid(a, b, indexing=order) for order in ("ij", "xy"))
        return *(grid for grids in both for grid in grids), *torch.broadcast_tensors(a, x)

    check(forward, X)


def test_empty_tensors():
    def forward(x):
        return x.reshape(0, 12), x.flatten(), x.repeat(2, 1, 1), x.sum(0), x.transpose(0, 1), x + 1

    check(forward, torch.randn(0, 3, 4))


def test_an_axis_that_may_be_empty():
    def forward(x):
        grown = torch.cat([x, x.new_ones(1, 3)])
        return grown, x.view(x.shape[0], 3, 1), x.sum(0), (x > 0).any(0), (x > 0).all(0)

    check(
        forward,
        torch.randn(4, 3),
        dynamic_shapes=({0: Dim("n", min=0, max=9)},),
        also=[(torch.randn(0, 3),), (torch.randn(1, 3),)],
    )


def test_padding(compared):
    def forward(x):
        fills = (
            *(pad(x, p, value=1.5) for p in ((1, 2), (1, 2, 0, 3), (-1, 2, 1, -2))),
            pad(x > 0, (1, 1)),
        )
        return *fills, pad(x, (2, 1), mode="reflect"), pad(x, (-1, 2), mode="replicate")

    compared(forward)
