"""Matrix products against PyTorch: dtypes, ranks, symbolic sizes, and any einsum."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from import_harness import Wrap, check
from torch.export import Dim

from sam3_tvm.importer import import_module

TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1.6e-2,
    torch.int64: 0.0,
    torch.int32: 0.0,
}


def sample(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    if dtype.is_floating_point:
        return [torch.randn(s).to(dtype) for s in shapes]
    return [torch.randint(-9, 9, s, dtype=dtype) for s in shapes]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_products_have_the_dtype_of_their_operands(dtype: torch.dtype) -> None:
    def products(x: Any, y: Any, w: Any, b: Any) -> Any:
        return (
            F.linear(x, w, b),
            F.linear(x, w),
            x @ y,
            x[0] @ y[0],
            torch.bmm(x, y),
            torch.addmm(b, x[0], w.T),
            torch.baddbmm(b, x, y[:, :, :5]),
        )

    args = sample(dtype, (2, 3, 300), (2, 300, 5), (5, 300), (5,))
    check(products, *args, rtol=TOLERANCE[dtype], atol=20 * TOLERANCE[dtype])


def test_vectors_and_batches_broadcast() -> None:
    def products(v: Any, m: Any, b: Any) -> Any:
        return (
            v @ v,
            torch.dot(v, v),
            m @ v,
            torch.mv(m, v),
            v @ m.T,
            b @ v,
            v @ b.mT,
            b @ m.T,
            m @ b.mT,
            b[:, :1] @ b[:1].mT,
            torch.outer(v, m[0]),
            torch.inner(b, m),
            torch.tensordot(b, m, dims=([3], [1])),
        )

    check(products, *sample(torch.float32, (4,), (3, 4), (2, 5, 3, 4)), rtol=1e-4, atol=1e-5)


def test_added_products_scale_both_terms() -> None:
    def products(c: Any, a: Any, b: Any) -> Any:
        return (
            torch.addmm(c, a, b, alpha=0.5, beta=2),
            torch.addmm(c, a, b, alpha=-1),
            torch.addmm(c.sqrt() - torch.inf, a, b, beta=0),
            torch.baddbmm(c, a[None], b[None], beta=0.25),
            torch.addmv(c[0], a, b[:, 0], alpha=3),
        )

    check(products, *sample(torch.float32, (1, 3), (3, 4), (4, 3)))
    check(
        lambda c, a, b: torch.addmm(c, a, b, alpha=3, beta=2),
        *sample(torch.int64, (2, 5), (2, 3), (3, 5)),
    )


def test_an_outer_product_promotes() -> None:
    check(torch.outer, torch.randn(3), torch.arange(4))


def test_sizes_vary() -> None:
    n, k = Dim("n", min=1, max=32), Dim("k", min=1, max=32)

    def products(x: Any, y: Any, w: Any) -> Any:
        return F.linear(x, w), x @ y, torch.einsum("nik,nkj->nij", x, y)

    def args(n: int, k: int) -> Any:
        return sample(torch.float32, (n, 3, k), (n, k, 2), (5, k))

    check(
        products,
        *args(2, 4),
        dynamic_shapes=({0: n, 2: k}, {0: n, 1: k}, {1: k}),
        also=[args(1, 1), args(7, 9)],
        atol=1e-5,
    )


def test_sums_in_half_precision_do_not_stall() -> None:
    ones = torch.ones(1, 1000, dtype=torch.bfloat16)
    check(F.linear, ones, ones)


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("bqc,bchw->bqhw", (2, 3, 4), (2, 4, 5, 6)),
    ("bchw,bqc->bqhw", (2, 4, 5, 6), (2, 3, 4)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("i...,i...->...", (3, 2, 4), (3, 2, 4)),
    ("i,j->ij", (3,), (4,)),
    ("i,j->ji", (3,), (4,)),
    ("i,i->", (3,), (3,)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->j", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iji->ij", (3, 2, 3)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("ij,kj->k", (2, 3), (4, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ab,cd,ef->ace", (2, 3), (4, 5), (2, 2)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    ("bij,bjk->bik", (1, 2, 3), (4, 3, 5)),
    (" b n d , d e -> b n e ", (2, 3, 4), (4, 5)),
]


def test_einsum_over_every_form_of_equation() -> None:
    shapes = [s for _, *each in EQUATIONS for s in each]
    operands = sample(torch.float32, *shapes)

    def all_of_them(*tensors: Any) -> Any:
        left = list(tensors)
        return [
            torch.einsum(equation, *[left.pop(0) for _ in shapes])
            for equation, *shapes in EQUATIONS
        ]

    check(all_of_them, *operands, rtol=1e-4, atol=1e-5)


LABELS = "abcd"
SIZES = dict(zip(LABELS, (2, 3, 1, 4), strict=True))
term = st.text(alphabet=LABELS, min_size=1, max_size=3)


equation = st.lists(term, min_size=1, max_size=3).flatmap(
    lambda terms: st.tuples(
        st.just(terms), st.permutations(sorted(set("".join(terms)))), st.integers(0, 3)
    )
)


@settings(max_examples=2, deadline=None, derandomize=True)
@given(st.lists(equation, min_size=8, max_size=8))
def test_einsum_over_drawn_equations(drawn: Any) -> None:
    equations = [",".join(ts) + "->" + "".join(order[:kept]) for ts, order, kept in drawn]
    terms = [ts for ts, _, _ in drawn]
    operands = sample(torch.float32, *[tuple(SIZES[c] for c in t) for ts in terms for t in ts])

    def all_of_them(*tensors: Any) -> Any:
        left = list(tensors)
        return [
            torch.einsum(e, *[left.pop(0) for _ in ts])
            for e, ts in zip(equations, terms, strict=True)
        ]

    check(all_of_them, *operands, rtol=1e-4, atol=1e-5)


def test_einsum_and_linear_are_matrix_products() -> None:
    def layers(x: Any, w: Any, b: Any) -> Any:
        return torch.einsum("bqc,bchw->bqhw", x, b), F.linear(x, w)

    args = sample(torch.float32, (2, 3, 4), (5, 4), (2, 4, 6, 7))
    mod, _ = import_module(Wrap(layers), args)
    text = mod.script()
    assert text.count("R.matmul(") == 2
    assert "R.einsum" not in text
