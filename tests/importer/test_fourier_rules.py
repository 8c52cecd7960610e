"""Discrete Fourier transforms, by products and in stages."""

from __future__ import annotations

import pytest
import torch
from test_complex_numbers import check_complex
from torch import fft
from torch.export import Dim

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


def test_transforms():
    check_complex(transforms, X, Z, rtol=1e-4, atol=2e-5)


def test_transforms_in_float64():
    check_complex(transforms, X.double(), Z.to(torch.complex128), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [97, 100, 240, 512])
def test_many_points(count):
    """A prime takes one product, the others stages."""

    def forward(x):
        return fft.fft(x), fft.irfft(fft.rfft(x), n=count), fft.ifft(fft.fft(x)).real

    x = torch.randn(2, count, generator=torch.Generator().manual_seed(count))
    check_complex(forward, x, rtol=1e-4, atol=1e-4)


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


def test_what_is_infinite_or_nan_spreads_as_far_as_it_reaches():
    x = torch.randn(2, 6)
    x[0, 2] = float("nan")
    check_complex(lambda x: (fft.fft(x), fft.rfft(x)), x, atol=1e-5)
