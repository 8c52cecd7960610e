"""Order statistics, counts, windows and writes by position that torch leaves undecomposed."""

from __future__ import annotations

import math

import pytest
import torch
from import_harness import check
from torch.export import Dim
from torch.nn import functional as F

N = Dim("n", min=3, max=12)
DRAW = torch.Generator().manual_seed(5)
X = torch.randn(4, 3, 6, generator=DRAW)


def statistics(x):
    return (
        *(torch.kthvalue(x, 2, 0).values, torch.kthvalue(x, 3, -1, keepdim=True).values),
        *(torch.mode(x, 0).values, torch.mode(x, -1, keepdim=True).values),
        *(torch.nanmedian(x), torch.nanmedian(x, 0).values, torch.nanmedian(x, -1, True).values),
        *(torch.nansum(x, 1), torch.nanmean(x, 0), torch.nanmean(x)),
    )


def test_statistics_with_nan_and_a_symbolic_axis():
    odd = X.clone()
    odd[1, 1, 2], odd[2, 0, 0], odd[0, 2, 1] = math.nan, math.inf, -math.inf
    odd[:, 2, 5] = math.nan
    others = [(odd,), (torch.randn(3, 3, 6),), (torch.randn(12, 3, 6),)]
    check(statistics, X, dynamic_shapes=({0: N},), also=others)


@pytest.mark.slow
def test_statistics_of_ints():
    def forward(x):
        # Which of several equal entries is named isn't laid down.
        values, positions = torch.mode(x, -1)
        second, place = torch.kthvalue(x, 2)
        return (
            *(values, torch.gather(x, -1, positions[..., None])),
            *(second, torch.gather(x, -1, place[..., None])),
            *(torch.mode(x, 0, keepdim=True).values, (x > 0).all(), torch.nanmedian(x, 0).values),
            *(torch._is_all_true(x > -9), torch._is_any_true(x > 2)),
        )

    check(forward, torch.randint(-3, 4, (4, 3, 6), generator=DRAW))
    check(lambda x: (*torch.kthvalue(x, 3, 0), *torch.nanmedian(x, 1)), X)
    check(lambda x: (*torch.kthvalue(x, 1), *torch.mode(x), torch.nanmedian(x)), torch.tensor(2.0))


def test_histograms():
    def forward(x):
        return (
            *(torch.histc(x, 7, -1, 1), torch.histc(x, 5), torch.histc(x.flatten(), 10, 0, 3)),
            *(torch.histc(x * 0 + 2, 3), torch.histc(x, 4, 1, 1)),
        )

    check(forward, X.clamp(-1, 1), dynamic_shapes=({0: N},), also=[(torch.randn(9, 3, 6),)])


def windows(x):
    return (*(x.unfold(-1, 2, 2), x.unfold(1, 3, 1), x.unfold(0, 2, 1), x.unfold(-1, 6, 4)),)


def test_windows():
    check(windows, X, dynamic_shapes=({0: N},), also=[(torch.randn(12, 3, 6),)])
    image = torch.randn(2, 3, 6, 8)

    def patches(x):
        columns = F.unfold(x, (2, 3), dilation=(2, 1), padding=(1, 0), stride=(2, 1))
        return columns, F.fold(F.unfold(x, 3, padding=1), (6, 8), 3, padding=1)

    batch = Dim("batch", min=1, max=4)
    check(patches, image, dynamic_shapes=({0: batch},), also=[(image[:1],)])


def test_writes_on_diagonals_and_strides():
    def forward(x, y):
        return (
            *(torch.diagonal_scatter(x, y[:3]), torch.diagonal_scatter(x, y[:2], -1)),
            *(torch.diagonal_scatter(x, y[:3], 2, 0, 1), x.diagonal_scatter(y[:3], -1, 1, 0)),
            torch.as_strided_scatter(x, y.reshape(2, 2), (2, 2), (6, 1), 1),
            *(x.put(torch.tensor([0, -1, 7, 3]), y), x.put(torch.tensor([1, 1]), y[:2], True)),
        )

    check(forward, torch.randn(3, 5), torch.randn(4))


@pytest.mark.parametrize("include", [True, False])
def test_slices_reduced_by_an_index(include):
    def forward(x, index, source):
        return tuple(
            torch.index_reduce(x, dim, index, source.movedim(0, dim), kind, include_self=include)
            for kind in ("prod", "mean", "amax", "amin")
            for dim in (0, -1)
        )

    index, source = torch.tensor([0, 2, 2, 0, 2]), torch.randn(5, 3, 3)
    check(forward, torch.randn(3, 3, 3), index, source)


def bags(mode, weighted=False):
    def forward(table, indices, offsets, weights):
        given = {"per_sample_weights": weights} if weighted else {}
        return (
            F.embedding_bag(indices, table, offsets, mode=mode, **given),
            F.embedding_bag(indices, table, offsets, mode=mode, padding_idx=1, **given),
            F.embedding_bag(indices, table, offsets, mode=mode, include_last_offset=True, **given),
            F.embedding_bag(indices.reshape(2, -1), table, mode=mode)
            if not weighted
            else table[:1],
        )

    return forward


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_bags_of_embeddings(mode):
    indices, offsets = torch.tensor([1, 2, 4, 1, 1, 0]), torch.tensor([0, 3, 3, 5, 6])
    check(bags(mode), torch.randn(5, 3), indices, offsets, torch.randn(6))
    if mode == "sum":
        weighted = bags(mode, weighted=True)
        check(weighted, torch.randn(5, 3), indices, offsets, torch.randn(6))


def test_triangular_indices_and_copies():
    def forward(x):
        rows, columns = torch.tril_indices(3, 5, 1)
        return (
            *(x[rows, columns], torch.triu_indices(4, 3, -1, dtype=torch.int32) + x[0, 0].int()),
            *(torch.view_copy(x, (5, 3)), *torch.unbind_copy(x, 1), torch.unfold_copy(x, 1, 2, 1)),
        )

    check(forward, torch.randn(3, 5))


def test_writes_of_bools_and_into_a_single_number():
    def forward(x, mask, place):
        one = x[0, 0]
        return (
            *(torch.index_fill(one, 0, place, 3.0), torch.index_copy(one, 0, place, x[0, 1])),
            *(torch.index_add(one, 0, place, x[0, 1]), torch.outer(mask, ~mask)),
            torch.scatter_add(mask, 0, torch.tensor([1, 1, 0]), torch.tensor([True, False, False])),
            torch.ops.aten.index_put(mask, [torch.tensor([2, 2])], mask[:2], True),
        )

    check(forward, torch.randn(3, 5), torch.tensor([True, False, False]), torch.tensor([0]))
