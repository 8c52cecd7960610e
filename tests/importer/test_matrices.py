"""Factors of matrices and systems of equations; distances; products by group."""

from __future__ import annotations

import pytest
import torch
from import_harness import check
from torch.export import Dim

DRAW = torch.Generator().manual_seed(3)
A = torch.randn(2, 3, 5, 5, generator=DRAW, dtype=torch.float64)
B = torch.randn(2, 3, 5, 2, generator=DRAW, dtype=torch.float64)
BATCH = Dim("batch", min=1, max=4)


@pytest.mark.slow
def test_solutions_and_determinants():
    def forward(a, b):
        lu, pivots = torch.linalg.lu_factor(a)
        return (
            *(torch.linalg.det(a), *torch.linalg.slogdet(a), a.logdet(), torch.linalg.inv(a)),
            *(torch.linalg.solve(a, b), torch.linalg.solve(a, b.mT, left=False)),
            *(torch.linalg.solve(a, b[..., 0]), *torch.linalg.lu(a), lu, pivots),
            torch.linalg.lu_solve(lu, pivots, b),
            torch.linalg.lu_solve(lu, pivots, b, adjoint=True),
            torch.linalg.lu_solve(lu, pivots, b.mT, left=False),
            torch.linalg.lu_solve(lu, pivots, b.mT, left=False, adjoint=True),
        )

    others = [(A[:1], B[:1]), (A[[0, 1, 1]], B[[1, 0, 1]])]
    check(forward, A, B, dynamic_shapes=({0: BATCH}, {0: BATCH}), also=others, rtol=1e-9)


def test_triangles_and_symmetric_matrices():
    def forward(a, b):
        positive = a @ a.mT + torch.eye(5, dtype=a.dtype)
        factor = torch.linalg.cholesky(positive)
        return (
            *(factor, torch.linalg.cholesky(positive, upper=True)),
            *(torch.cholesky_solve(b, factor), torch.cholesky_solve(b, factor.mT, upper=True)),
            torch.cholesky_inverse(factor),
            torch.linalg.solve_triangular(factor, b, upper=False),
            torch.linalg.solve_triangular(factor.mT, b.mT, upper=True, left=False),
            torch.linalg.solve_triangular(factor, b, upper=False, unitriangular=True),
            torch.linalg.solve_triangular(factor[0, :1], b, upper=False),
            *torch.triangular_solve(b, factor.mT),
            torch.triangular_solve(b, factor, upper=False, transpose=True)[0],
        )

    check(forward, A, B, rtol=1e-8)


@pytest.mark.slow
def test_orthogonal_factors_and_exponentials():
    def forward(a, b):
        return (
            *(*torch.linalg.qr(a), *torch.linalg.qr(b, mode="complete"), *torch.linalg.qr(b)),
            *(torch.linalg.qr(b.mT)[1], torch.linalg.qr(a, mode="r")[1]),
            *(torch.linalg.matrix_exp(a), torch.linalg.matrix_exp(a * 20 - 60)),
            *(torch.linalg.matrix_power(a, 3), torch.linalg.matrix_power(a, -2)),
        )

    check(forward, A, B, rtol=1e-7, atol=1e-9)


def test_float32_and_what_has_no_solution():
    def forward(a):
        _, info = torch.linalg.cholesky_ex(a)
        _, pivots, singular = torch.linalg.lu_factor_ex(a)
        return info, torch.linalg.det(a), pivots, singular, torch.linalg.cholesky_ex(a[2:])[0]

    a = torch.stack([torch.ones(3, 3), torch.zeros(3, 3), torch.eye(3), -torch.eye(3)])
    a[2, 2, 0] = a[2, 0, 2] = 0.5
    check(forward, a[:3])
    check(lambda a: torch.linalg.cholesky_ex(a).info, a)


def test_empty_matrices():
    def forward(a, b):
        return torch.linalg.det(a), torch.linalg.inv(a), torch.linalg.solve(a, b)

    check(forward, torch.zeros(2, 0, 0), torch.zeros(2, 0, 3))


def test_distances():
    def forward(x, y):
        return (
            *(torch.cdist(x, y, p=p) for p in (0.0, 1.0, 2.0, 3.5, float("inf"))),
            *(torch.cdist(x[0], y, p=1.0), torch.nn.functional.pdist(y[0])),
            *(torch.nn.functional.pdist(y[0], p=1.0), torch.dist(x, x + 1, 3)),
            torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist"),
        )

    rows = Dim("rows", min=2, max=25)
    x, y = torch.randn(2, 5, 3), torch.randn(2, 4, 3)
    x[0, 1] = y[0, 1]
    odd = x.clone()
    odd[1, 2, 0] = float("nan")
    others = [(odd, y), (torch.randn(2, 25, 3), y), (torch.randn(2, 2, 3), y)]
    check(forward, x, y, dynamic_shapes=({1: rows}, {}), also=others, rtol=1e-4, atol=1e-3)


def test_distances_of_close_points_and_of_nothing():
    x = torch.full((30, 3), 1000.0)
    y = x + torch.arange(30).reshape(30, 1) * 1e-3
    exact = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    check(lambda x, y: torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"), x, y)
    assert exact.max() > 0
    check(lambda x, y: torch.cdist(x, y), torch.zeros(0, 3), torch.zeros(4, 3))
    check(lambda x, y: torch.cdist(x, y), torch.zeros(2, 0), torch.zeros(4, 0))


def test_bilinear():
    layer = torch.nn.Bilinear(3, 4, 5)
    check(layer, torch.randn(2, 6, 3), torch.randn(2, 6, 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ends", [[2, 2, 7], [0, 3, 5]])
def test_products_by_group(ends):
    """The rows, the columns or the summed axis of a matrix in groups, some of them empty."""
    from transformers.integrations import moe  # noqa: F401 - registers its operator

    last = ends[-1]  # what PyTorch holds beyond the last group is whatever memory had

    def forward(a, b, c, ends):
        return (
            torch.ops.transformers.grouped_mm_fallback(a, b, ends),
            torch._grouped_mm(a.bfloat16(), b.bfloat16(), offs=ends)[:last],
            torch._grouped_mm(b.mT.bfloat16(), c.bfloat16(), offs=ends)[:, :last],
            torch._grouped_mm(b.bfloat16(), b.mT.contiguous().bfloat16()),
        )

    a, b, c = torch.randn(7, 16), torch.randn(3, 16, 16), torch.randn(16, 8)
    check(forward, a, b, c, torch.tensor(ends, dtype=torch.int32), rtol=1e-2, atol=1e-2)


def test_products_by_group_of_the_summed_axis():
    def forward(a, b, ends):
        return torch._grouped_mm(a.bfloat16(), b.bfloat16(), offs=ends)

    ends = torch.tensor([8, 8, 16], dtype=torch.int32)
    check(forward, torch.randn(8, 16), torch.randn(16, 8), ends, rtol=1e-2, atol=1e-2)
