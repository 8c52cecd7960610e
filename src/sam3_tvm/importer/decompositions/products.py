"""Products of several tensors, and what follows from the factors of matrices.

PyTorch raises for a matrix without an inverse or a factor; a compiled module can't, and gives
infinities or NaN there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sam3_tvm.importer.decompositions.registry import decomposition, present

aten = torch.ops.aten


@decomposition(aten._trilinear.default)
def trilinear(
    i1: Tensor,
    i2: Tensor,
    i3: Tensor,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    sumdim: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    """The product of three tensors, each with new axes, summed over some."""
    labels = "abcdefghijklmnopqrstuvwxyz"[: i1.ndim + len(expand1)]
    terms = [
        "".join(c for i, c in enumerate(labels) if i not in expand)
        for expand in (expand1, expand2, expand3)
    ]
    kept = "".join(c for i, c in enumerate(labels) if i not in sumdim)
    return torch.einsum(f"{','.join(terms)}->{kept}", i1, i2, i3)


_TERMS = 18
"""Terms of the exponential series; with a norm of at most 1/2 the next is below 1e-22."""
_HALVINGS = 12
"""How often a matrix may be halved before; the norm may be 2048."""


@decomposition(aten.linalg_matrix_exp.default)
def matrix_exp(self: Tensor) -> Tensor:
    """Scaling and squaring: ``exp(A) = exp(A / 2^s)^(2^s)``, the inner one by its series."""
    if self.dtype.is_complex:
        return NotImplemented  # type: ignore[no-any-return]  # torch's way to decline
    size = self.shape[-1]
    matrix = self.double()
    one = torch.eye(size, dtype=torch.float64).expand(matrix.shape)
    norm = matrix.abs().sum(-2, keepdim=True).amax(-1, keepdim=True) if self.numel() else matrix
    halvings = torch.ceil(torch.log2(norm.clamp(min=0.5))) + 1
    halvings = halvings.clamp(0, _HALVINGS)
    scaled = matrix * torch.pow(0.5, halvings)
    total = one
    for k in range(_TERMS, 0, -1):
        total = one + torch.matmul(scaled, total) / k
    for step in range(_HALVINGS):
        total = torch.where(halvings > step, torch.matmul(total, total), total)
    return total.to(self.dtype)


@decomposition(aten.linalg_inv.default, aten.inverse.default)
def inv(A: Tensor) -> Tensor:  # noqa: N803
    return torch.linalg.inv_ex(A).inverse


@decomposition(aten.linalg_solve.default)
def solve_unchecked(
    A: Tensor,  # noqa: N803 - torch's name
    B: Tensor,  # noqa: N803 - torch's name
    *,
    left: bool = True,
) -> Tensor:
    return torch.linalg.solve_ex(A, B, left=left).result


@decomposition(aten.linalg_cholesky.default)
def cholesky_unchecked(self: Tensor, *, upper: bool = False) -> Tensor:
    return torch.linalg.cholesky_ex(self, upper=upper).L


@decomposition(aten.linalg_lu_factor.default)
def lu_factor(A: Tensor, *, pivot: bool = True) -> Any:  # noqa: N803
    return torch.linalg.lu_factor_ex(A, pivot=pivot)[:2]


@decomposition(aten.linalg_inv_ex.default)
def inverse(A: Tensor, *, check_errors: bool = False) -> tuple[Tensor, Tensor]:  # noqa: N803
    """The inverse, as the solution of ``A X = 1``; with the number of the first pivot that is 0."""
    one = torch.eye(A.shape[-1], dtype=A.dtype).expand(A.shape)
    found = aten._linalg_solve_ex(A, one)
    return found[0], found[3]


@decomposition(aten._linalg_solve_ex.default)
def solve(
    A: Tensor,  # noqa: N803 - torch's name
    B: Tensor,  # noqa: N803 - torch's name
    *,
    left: bool = True,
    check_errors: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``A X = B`` (or ``X A = B``) by the LU factors; ``B`` may be a vector."""
    factors, pivots, info = torch.linalg.lu_factor_ex(A)
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    right = B.unsqueeze(-1) if vector else B
    found = torch.linalg.lu_solve(factors, pivots, right, left=left)
    return found.squeeze(-1) if vector else found, factors, pivots, info


@decomposition(aten._linalg_det.default)
def det(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: N803
    """The determinant: the product of the pivots, its sign that of the exchanges."""
    factors, pivots, _ = torch.linalg.lu_factor_ex(A)
    return _parity(pivots, A) * factors.diagonal(0, -2, -1).prod(-1), factors, pivots


@decomposition(aten._linalg_slogdet.default)
def slogdet(A: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # noqa: N803
    factors, pivots, _ = torch.linalg.lu_factor_ex(A)
    diagonal = factors.diagonal(0, -2, -1)
    sign = _parity(pivots, A) * diagonal.sign().prod(-1)
    return sign, diagonal.abs().log().sum(-1), factors, pivots


def _parity(pivots: Tensor, like: Tensor) -> Tensor:
    """1 for an even, -1 for an odd number of exchanges of rows."""
    exchanged = pivots != torch.arange(1, pivots.shape[-1] + 1, dtype=pivots.dtype)
    return 1 - 2 * (exchanged.sum(-1) % 2).to(like.dtype)


@decomposition(aten.linalg_lu.default)
def lu(A: Tensor, *, pivot: bool = True) -> Any:  # noqa: N803
    """``A = P L U``."""
    factors, pivots, _ = torch.linalg.lu_factor_ex(A, pivot=pivot)
    return torch.lu_unpack(factors, pivots)


@decomposition(aten.triangular_solve.default)
def triangular_solve(
    self: Tensor,
    A: Tensor,  # noqa: N803 - torch's name
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> tuple[Tensor, Tensor]:
    matrix = A.mT if transpose else A
    found = torch.linalg.solve_triangular(
        matrix, self, upper=upper != transpose, unitriangular=unitriangular
    )
    return found, A.clone()


@decomposition(*present("cholesky.default"))  # until torch 2.13
def cholesky(self: Tensor, upper: bool = False) -> Tensor:
    return torch.linalg.cholesky_ex(self, upper=upper).L


@decomposition(aten.cholesky_solve.default)
def cholesky_solve(self: Tensor, input2: Tensor, upper: bool = False) -> Tensor:
    """Solve by a Cholesky factor, which is ``input2``."""
    lower = input2.mT if upper else input2
    y = torch.linalg.solve_triangular(lower, self, upper=False)
    return torch.linalg.solve_triangular(lower.mT, y, upper=True)


@decomposition(aten.cholesky_inverse.default)
def cholesky_inverse(self: Tensor, upper: bool = False) -> Tensor:
    one = torch.eye(self.shape[-1], dtype=self.dtype).expand(self.shape)
    return torch.cholesky_solve(one, self, upper)
