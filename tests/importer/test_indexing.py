"""Lesson 5 and ``x[-1]``: slices, selections and index tensors against PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from import_harness import check, compare, compile_module
from torch.export import Dim

N = Dim("n", min=4, max=9)
X = torch.randn(4, 3, 6, generator=torch.Generator().manual_seed(0))
OTHERS = [(torch.randn(7, 3, 6),), (torch.randn(5, 3, 6),)]


@pytest.fixture(params=["static", "symbolic"])
def compared(request):
    def run(forward):
        if request.param == "static":
            check(forward, X)
        else:
            check(forward, X, dynamic_shapes=({0: N},), also=OTHERS)

    return run


def test_slices(compared):
    def forward(x):
        n = x.shape[0]
        ends = x[1:], x[:-1], x[-2:], x[1:100], x[-100:2], x[:], x[None, :2]
        steps = x[::2], x[..., 1:-1:2], x[2:1]
        return *ends, *steps, x[: n // 2], x[n - 1 :], x.narrow(1, -2, 1)

    compared(forward)


def test_selections(compared):
    def forward(x):
        return x[0], x[-1], x[:, -1], x[..., -2], x[x.shape[0] - 1], x[:, None, -1], x.select(-1, 2)

    compared(forward)


def test_index_tensors_count_from_the_end(compared):
    def forward(x):
        i, j = torch.tensor([0, -1]), torch.tensor([[1], [-2]])
        single = x[i], x[:, i], x[..., i], x[:, i[:1]]
        several = x[:, j, i], x[i, :, i], x[i, i, i], x[j, None, i]
        return *single, *several, torch.take(x, j), x.index_select(-1, i + 1)

    compared(forward)


def test_index_tensors_that_are_inputs():
    def forward(x, i, j):
        return x[i], x[:, j], x[i, j], x.gather(0, (i % 4)[:, None, None].expand(-1, 3, 6))

    i, j = torch.tensor([0, -1, 2]), torch.tensor([-3, 1, 0])
    check(forward, X, i, j, also=[(X, torch.tensor([-4, 3, 1]), torch.tensor([2, -1, -2]))])


def test_an_index_beyond_the_end_reads_no_foreign_memory():
    run = compile_module(lambda x, i: x[i], (torch.arange(4.0), torch.tensor([1])))
    assert run(torch.arange(4.0), torch.tensor([10**6]))[0] in range(4)


def test_masks(compared):
    def forward(x):
        kept = [True, False, True, True, False, False]
        return (
            x[x > 0],
            x[..., kept],
            x[:, kept[:3]],
            torch.nonzero(x > 0.2),
            x.masked_select(x > 1),
        )

    compared(forward)


def test_embedding_and_gather(compared):
    def forward(x):
        rank = x.argsort(-1)
        table = torch.arange(20.0).reshape(10, 2)
        return torch.nn.functional.embedding(rank, table), x.gather(2, rank[..., :2])

    compared(forward)


def test_flip_and_roll(compared):
    def forward(x):
        return x.flip(0, -1), x.roll(1, 0), x.roll((1, -2), (0, 2)), torch.roll(x, 5)

    compared(forward)


def test_writes(compared):
    def forward(x):
        i = torch.tensor([0, -1])
        rows, columns, pairs = x.clone(), x.clone(), x.clone()
        rows[i] = 1.0
        columns[:, i] = x[:, :2]
        pairs[:, i, i + 1] = torch.arange(2.0)
        masked, partly = x.clone(), x.clone()
        masked[x > 0] = 0.5
        partly[:, [True, False, True]] = x[:, :2]
        single, strided, last = x.clone(), x.clone(), x.clone()
        single[0, 1] = 3
        strided[..., 1::2] = 7
        last[-1] = x[0]
        return rows, columns, pairs, masked, partly, single, strided, last

    compared(forward)


def test_writes_of_nothing(compared):
    def forward(x):
        nowhere = torch.zeros(0, dtype=torch.int64)
        rows, columns, added, none = x.clone(), x.clone(), x.clone(), x[:, :0].clone()
        rows[:, nowhere] = 1.0
        columns[:, :, nowhere] = x[:, :, nowhere]
        none[..., torch.tensor([0, 1])] = 2.0
        return rows, columns, added.index_put_((nowhere,), x[:0], accumulate=True), none

    compared(forward)


def test_fills_and_scatters(compared):
    def forward(x):
        index = (x > 0).long()
        where = torch.tensor([0, 2])
        return (
            *(x.masked_fill(x > 0, -float("inf")), x.masked_fill(x > 0, torch.tensor(2.0))),
            x.masked_scatter(x > 0, torch.arange(400.0)),
            *(x.scatter(1, index, 9.0), x.scatter(2, index[..., :1], x[..., 1:2])),
            *(x.scatter_add(1, index, x), x.scatter(2, index[..., :1], x, reduce="multiply")),
            x.index_put((where,), torch.ones(2, 3, 6), accumulate=True),
            *(x.index_fill(1, where, 4.0), x.index_copy(2, where, x[..., 3:5])),
            x.index_add(1, where, x[:, :2], alpha=2),
        )

    compared(forward)


@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce(include_self):
    def forward(x, i):
        kinds = ("sum", "prod", "mean", "amax", "amin")
        return [x.scatter_reduce(0, i, x * 2, k, include_self=include_self) for k in kinds]

    check(forward, torch.randn(5, 2), torch.tensor([[0, 1], [0, 1], [2, 1], [0, 0], [4, 4]]))


def test_repeats_given_by_a_tensor():
    def forward(x, repeats):
        fixed = x.repeat_interleave(torch.tensor([1, 0, 2]), dim=1)
        return fixed, x.repeat_interleave(repeats, dim=0)

    check(forward, X, torch.tensor([0, 2, 1, 3]), also=[(X, torch.tensor([1, 1, 1, 0]))])


def test_sorting():
    def forward(x):
        largest, smallest = x.topk(3, -1), x.topk(2, 1, largest=False)
        ordered = *x.sort(-1, descending=True), *x.sort(1), x.argsort(2)
        stable = torch.sort((x > 0).int(), dim=-1, stable=True)
        bools = torch.argsort(x > 0, dim=1, descending=True, stable=True)
        return *largest, *smallest, *ordered, *stable, bools, torch.sort((x * 3).long(), 2).values

    check(forward, X)


BOUND = st.one_of(st.none(), st.integers(-12, 12))


@settings(max_examples=5, deadline=None, derandomize=True)
@given(st.lists(st.tuples(BOUND, BOUND, st.integers(1, 4)), min_size=16, max_size=16))
def test_any_slice(cuts):
    check(lambda x: [x[a:b:c] for a, b, c in cuts], torch.arange(9.0))


_TAKE = {}


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(-9, 8), min_size=4, max_size=4))
def test_any_index(positions):
    def forward(x, i):
        return x[i], x[i.reshape(2, 2)], x.reshape(3, 3)[i % 3, i // 9]

    x, i = torch.arange(9.0), torch.tensor(positions)
    run = _TAKE.setdefault("run", None) or compile_module(forward, (x, i))
    _TAKE["run"] = run
    compare(run(x, i), forward(x, i), rtol=0, atol=0)
