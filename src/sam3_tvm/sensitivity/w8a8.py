"""A linear layer in eight bits, as the compiled kernels compute it, in PyTorch."""

from __future__ import annotations

import torch

__all__ = ["product_w8a8"]

_MOST = 127
_SMALLEST = 1e-30


def product_w8a8(
    x: torch.Tensor, weight: torch.Tensor, smoothing: torch.Tensor | None = None
) -> torch.Tensor:
    """``x @ weight.T`` with both in eight bits: rows of x and of the weight each in units of their
    largest magnitude / 127, rounded to nearest, and the sum of integers exact.

    Args:
        x: activations, float32 ``[M, K]``.
        weight: float32 ``[N, K]``.
        smoothing: float32 ``[K]``, positive: by which columns of x are divided, and those of the
            weight multiplied, before they are rounded; None for none.

    Returns:
        float32 ``[M, N]``.
    """
    if smoothing is not None:
        x, weight = x / smoothing, weight * smoothing
    largest = x.abs().amax(1, keepdim=True)
    # Ties to even, as the kernel rounds; a row of zeros stays one.
    rows = (x * (_MOST / largest.clamp_min(_SMALLEST))).round()
    units = weight.abs().amax(1).clamp_min(_SMALLEST) / _MOST
    columns = (weight / units[:, None]).round()
    # Integers of this size are exact in float64, in float32 they aren't.
    sums = rows.double() @ columns.double().T
    return sums.float() * (largest * (1 / _MOST)) * units
