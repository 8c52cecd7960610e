"""Diagonals, views of memory and padding, with every argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import Wrap, check
from torch.export import Dim

from sam3_tvm.importer import import_module
from sam3_tvm.importer.errors import ConversionError

A, B = Dim("a", min=2, max=20), Dim("b", min=3, max=20)


def test_diagonals() -> None:
    def diagonals(x: Any) -> Any:
        return x.diagonal(), x.diagonal(1, 1, 2), x.diagonal(-1, -1, 0), x.diagonal(0, 2, 1)

    x = torch.randn(2, 3, 4)
    check(lambda x: (*diagonals(x), x.diagonal(5), torch.diag(x[0])), x)
    check(diagonals, x, dynamic_shapes=({0: A, 1: B},), also=[(torch.randn(5, 7, 4),)])


def test_as_strided() -> None:
    def strided(x: Any) -> Any:
        return (
            *(x.as_strided((2, 2), (1, 2)), x.as_strided((3,), (2,), 1)),
            *(x.as_strided((2, 0), (1, 1)), x.permute(2, 0, 1).as_strided((2, 5), (3, 2), 4)),
        )

    check(strided, torch.randn(2, 3, 4))
    rows = ({0: A},)
    more = [(torch.randn(5, 3, 4),)]
    check(
        lambda x: x.as_strided((x.shape[0], 2, 2), (12, 4, 1)),
        torch.randn(2, 3, 4),
        dynamic_shapes=rows,
        also=more,
    )


def test_memory_beyond_a_tensor_is_refused() -> None:
    with pytest.raises(ConversionError, match="beyond"):
        import_module(Wrap(lambda x: x[:, 1:].as_strided((2,), (1,))), (torch.randn(2, 3),))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool], ids=str
)
def test_constant_padding(dtype: torch.dtype) -> None:
    def padded(x: Any) -> Any:
        return (
            *(F.pad(x, (1, 2)), F.pad(x, (-1, 2, 0, -1)), F.pad(x, (0, 0))),
            *(F.pad(x, (1, 0, 2, 1, 0, 3), value=3), F.pad(x[:0], (1, 1, 1, 1, 2, 0), value=2)),
        )

    check(padded, (3 * torch.randn(2, 3, 4)).to(dtype))


def test_what_padding_is_filled_with() -> None:
    inf, nan = float("inf"), float("nan")
    check(lambda x: [F.pad(x, (1, 2), value=v) for v in (-inf, nan)], torch.randn(2, 3))
    check(lambda x: [F.pad(x, (-1, 2), value=v) for v in (2**53 + 1, 1.7)], torch.arange(5))


def test_padding_by_symbolic_counts() -> None:
    check(
        lambda x: (F.pad(x, (0, 8 - x.shape[1], 0, x.shape[0])), F.pad(x, (0, -x.shape[1] % 4))),
        torch.randn(3, 4),
        dynamic_shapes=({0: A, 1: Dim("b", min=3, max=8)},),
        also=[(torch.randn(6, 7),)],
    )


def test_other_modes_of_padding() -> None:
    def padded(x: Any) -> Any:
        modes = ("reflect", "replicate", "circular")
        return [F.pad(x, (1, 2), mode=m) for m in modes] + [
            F.pad(x[None], (1, 2, 1, 0), mode=m) for m in modes
        ]

    x = torch.randn(2, 3, 4)
    check(padded, x, dynamic_shapes=({1: A, 2: B},), also=[(torch.randn(2, 6, 7),)])
