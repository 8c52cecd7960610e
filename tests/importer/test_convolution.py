"""Convolutions against PyTorch: strides, dilations, groups, paddings, transposes, dtypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import Wrap, check
from torch.export import Dim

from sam3_tvm.importer import import_module
from sam3_tvm.importer.errors import ConversionError


def sample(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(s).to(dtype) for s in shapes]


def test_two_dimensions() -> None:
    def convolve(x: Any, w: Any, grouped: Any, b: Any) -> Any:
        return (
            F.conv2d(x, w, b),
            F.conv2d(x, w, stride=2, padding=1),
            F.conv2d(x, w, b, stride=(2, 1), padding=(0, 3), dilation=(1, 2)),
            F.conv2d(x, grouped, b, groups=2, padding="same"),
            F.conv2d(x, w[:, :, :2], b, padding="same", dilation=(3, 2)),
            F.conv2d(x, w, b, padding="valid"),
            F.conv2d(x[0], w, b),
        )

    args = sample((2, 4, 9, 10), (6, 4, 3, 3), (6, 2, 3, 4), (6,))
    check(convolve, *args, rtol=1e-4, atol=1e-5)


def test_one_and_three_dimensions() -> None:
    def convolve(x: Any, w: Any, y: Any, v: Any, b: Any) -> Any:
        return (
            F.conv1d(x, w, b, stride=2, padding=2, dilation=2),
            F.conv1d(x, w[:, :, :2], padding="same"),
            F.conv1d(x[0], w, b),
            F.conv3d(y, v, b, stride=(1, 2, 2), padding=1),
            F.conv3d(y, v, padding="same"),
        )

    args = sample((2, 4, 11), (6, 4, 3), (1, 3, 4, 5, 6), (6, 3, 3, 2, 3), (6,))
    check(convolve, *args, rtol=1e-4, atol=1e-5)


def test_transposed() -> None:
    def convolve(x: Any, w: Any, y: Any, v: Any, z: Any, u: Any, b: Any) -> Any:
        return (
            F.conv_transpose2d(x, w, b, stride=2),
            F.conv_transpose2d(x, w, b, stride=3, padding=1, output_padding=(2, 1)),
            F.conv_transpose2d(x, w, stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
            F.conv_transpose2d(x, w[:, :3], b, stride=2, groups=2, output_padding=1),
            F.conv_transpose2d(x[0], w, b),
            F.conv_transpose1d(y, v, b, stride=2, padding=1, output_padding=1),
            F.conv_transpose3d(z, u, b, stride=2),
        )

    args = sample(
        *((2, 4, 5, 6), (4, 6, 3, 2), (2, 4, 7), (4, 6, 3)),
        *((1, 2, 3, 4, 3), (2, 6, 2, 2, 2), (6,)),
    )
    check(convolve, *args, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)],
    ids=str,
)
def test_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    args = sample((1, 40, 4, 5), (6, 40, 3, 3), (40, 6, 2, 2), (6,), dtype=dtype)
    check(
        lambda x, w, t, b: (F.conv2d(x, w, b), F.conv_transpose2d(x, t, b, stride=2)),
        *args,
        rtol=tolerance,
        atol=4 * tolerance,
    )


def test_batch_and_sides_vary() -> None:
    b, h, w = (Dim(n, min=4, max=32) for n in "bhw")

    def convolve(x: Any, k: Any, t: Any) -> Any:
        return F.conv2d(x, k, stride=2, padding=1), F.conv_transpose2d(x, t, stride=2)

    def args(*size: int) -> Any:
        return sample((size[0], 3, *size[1:]), (5, 3, 3, 3), (3, 5, 2, 2))

    check(
        convolve,
        *args(4, 6, 7),
        dynamic_shapes=({0: b, 2: h, 3: w}, None, None),
        also=[args(5, 9, 4)],
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_as_many_groups_as_pictures(rank: int) -> None:
    """Weights that depend on the picture, by a batch that is one picture in many groups."""
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]

    def modulated(x: Any, w: Any, bias: Any) -> Any:
        together = x.reshape(1, -1, *x.shape[2:]), w.reshape(-1, *w.shape[2:])
        plain = convolve(*together, padding=1, groups=x.shape[0])
        strided = convolve(
            *together, bias.flatten(), stride=2, dilation=2, padding=2, groups=x.shape[0]
        )
        return plain, strided, convolve(*together, padding="same", groups=x.shape[0])

    def args(batch: int) -> Any:
        return sample((batch, 4, *[5] * rank), (batch, 6, 4, *[3] * rank), (batch, 6))

    batch = Dim("batch", min=1, max=8)
    check(
        modulated,
        *args(2),
        dynamic_shapes=({0: batch}, {0: batch}, {0: batch}),
        also=[args(1), args(3)],
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_transposed_convolution_in_symbolic_groups_is_refused() -> None:
    def transposed(x: Any, w: Any) -> Any:
        return F.conv_transpose2d(x.reshape(1, -1, 5, 5), w.flatten(0, 1), groups=x.shape[0])

    batch = Dim("batch", min=1, max=8)
    with pytest.raises(ConversionError, match="in as many groups as a symbolic size"):
        import_module(
            Wrap(transposed), sample((2, 4, 5, 5), (2, 4, 3, 2, 2)), (({0: batch}, {0: batch}),)
        )


def test_a_convolution_stays_one_operator() -> None:
    mod, _ = import_module(Wrap(F.conv2d), sample((1, 3, 5, 5), (4, 3, 3, 3), (4,)))
    text = mod.script()
    assert text.count("R.nn.conv2d(") == 1
    assert text.count("R.add(") == 1
