"""Discrete Fourier transforms, by products and in stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from import_harness import Wrap, compile_module
from test_complex_numbers import as_real, check_complex
from torch import fft
from torch.export import Dim

from sam3_tvm.importer import import_module, symbolic_bounds

X = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(0))
Z = torch.randn(3, 4, 10, dtype=torch.complex64, generator=torch.Generator().manual_seed(1))


def transforms(x, z):
    window = torch.hann_window(8)
    return (
        # Real in, as FNet mixes its tokens.
        *(fft.fftn(x, dim=(-2, -1)).real, fft.fft(x), fft.fft2(x, s=(5, 6)), fft.ihfft(x)),
        *(fft.rfft(x), fft.rfft(x, n=7, norm="ortho"), fft.rfft(x, n=12, dim=0), fft.rfftn(x)),
        torch.stft(x[0], 8, 4, window=window, return_complex=True),
        # Complex in.
        *(fft.fft(z, n=7, dim=1), fft.fft(z, n=3, norm="ortho"), fft.ifft(z, norm="forward")),
        *(fft.ifftn(z), fft.ifft2(z, s=(5, 12)), fft.fftshift(z), fft.ifftshift(x, dim=1)),
        # Real out.
        *(fft.irfft(z), fft.irfft(z, n=9), fft.irfft(z, n=12, norm="ortho"), fft.irfft2(z)),
        *(fft.irfftn(z, dim=(0, 2)), fft.irfft(z, n=1), fft.hfft(z), fft.hfft(z, n=5)),
    )


@pytest.mark.slow
def test_transforms():
    check_complex(transforms, X, Z, rtol=1e-4, atol=2e-5)


def test_transforms_in_float64():
    def forward(x, z):
        return fft.rfft(x, norm="ortho"), fft.ifft(z, n=7), fft.irfft2(z)

    check_complex(forward, X.double(), Z.to(torch.complex128), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [97, 240])
def test_many_points(count):
    """A prime takes one product, the others stages."""

    def forward(x):
        return fft.fft(x), fft.irfft(fft.rfft(x), n=count), fft.ifft(fft.fft(x)).real

    x = torch.randn(2, count, generator=torch.Generator().manual_seed(count))
    check_complex(forward, x, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_symbolic_number_of_points():
    def forward(x):
        spectrum = fft.rfft(x, norm="ortho")
        return (
            *(fft.fft(x), spectrum, fft.irfft(spectrum, n=x.shape[-1], norm="ortho")),
            *(fft.fftn(x, dim=(0, 1)).imag, fft.ifft(x)),
        )

    points = Dim("points", min=2, max=64)
    others = [(torch.randn(3, 13),), (torch.randn(3, 64),), (torch.randn(3, 2),)]
    x = torch.randn(3, 10)
    check_complex(forward, x, dynamic_shapes=({1: points},), also=others, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("transform", [fft.rfft, fft.fft, fft.ihfft])
def test_a_size_stays_free_whatever_the_norm(transform):
    points = Dim("points", min=2, max=64)
    for norm in ("ortho", "forward", "backward"):
        module = Wrap(lambda x, norm=norm: transform(x, norm=norm))
        mod, _ = import_module(module, (torch.randn(3, 10),), (({1: points},),))
        assert symbolic_bounds(mod) == {"points": (2, 64)}


NAN = float("nan")


def rows(x, z):
    """Along rows of ten: whole, cropped to what comes before the seventh, and lengthened."""
    return (
        *(fft.fft(x), fft.ifft(x, norm="ortho"), fft.rfft(x), fft.ihfft(x, norm="ortho")),
        *(fft.fft(x, n=4), fft.rfft(x, n=4), fft.fft(x, n=13), fft.rfft(x, n=13, norm="forward")),
        *(fft.fft(z), fft.ifft(z, n=4), fft.ifft(z, n=13, norm="ortho")),
        *(fft.irfft(z), fft.hfft(z), fft.irfft(z, n=9), fft.irfft(z, n=10, norm="ortho")),
        *(fft.irfft(z, n=6), fft.irfft(z, n=1), fft.hfft(z, n=40), fft.irfft(z, n=240)),
    )


def planes(x, z):
    """Over planes of three rows of ten, of which the last row and column may be cropped."""
    return (
        *(fft.fft2(x), fft.rfft2(x), fft.fft2(x, s=(2, 6)), fft.rfft2(x, s=(5, 12), norm="ortho")),
        *(fft.fft2(z), fft.ifft2(z, s=(2, 6)), fft.irfft2(z), fft.irfftn(z, s=(5, 8), dim=(1, 2))),
    )


def check_lost(
    function: Callable[..., Any], axes: int, *inputs: tuple[torch.Tensor, ...], **options: Any
) -> None:
    """A transform that has NaN for PyTorch has nothing else for us; the others are PyTorch's.

    Args:
        axes: how many axes, the last ones, each transform goes over.
    """
    run = compile_module(function, inputs[0], **options)
    for given in inputs:
        for position, (ours, want) in enumerate(
            zip(run(*as_real(given)), function(*given), strict=True)
        ):
            lost = want.isnan().any(-1, keepdim=True)
            lost = lost if axes == 1 else lost.any(-2, keepdim=True)
            want = torch.where(lost, complex(NAN, NAN) if want.is_complex() else NAN, want)
            np.testing.assert_allclose(
                ours, as_real(want).numpy(), rtol=1e-4, atol=2e-5, err_msg=f"result {position}"
            )


def with_nan(place: int, points: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Three planes of a real and of a complex tensor; NaN in the last two, in one part each."""
    x, z = (torch.cat([t[:, :3], t[:, :3]], 2)[..., :points].clone() for t in (X, Z))
    x[1, 1, place], z[1, 1, place], z[2, 0, place] = NAN, complex(NAN, 1), complex(1, NAN)
    return x, z


@pytest.mark.slow
def test_a_row_with_nan_is_lost_as_a_whole_and_alone():
    # The last place is cropped by some, and the first has an imaginary part that counts for none.
    check_lost(rows, 1, *(with_nan(place) for place in (1, 8, 0, 5)))


def test_a_row_with_nan_is_lost_alone_where_sizes_are_symbolic():
    def some(x, z):
        return (
            *(fft.fft(x), fft.rfft(x, norm="ortho"), fft.ifft(z), fft.irfft(z, n=9)),
            *(fft.irfft(z, n=2 * z.shape[2] - 2), fft.irfft(z, n=2 * z.shape[2] - 1)),
        )

    sizes = {0: Dim("planes", min=1, max=8), 2: Dim("points", min=12, max=32)}
    given = (*(with_nan(place, 15) for place in (1, 8, 0)), with_nan(12, 13))
    check_lost(some, 1, *given, dynamic_shapes=(sizes, sizes))


def test_a_plane_with_nan_is_lost_as_a_whole_and_alone():
    check_lost(planes, 2, *(with_nan(place) for place in (1, 8)))
