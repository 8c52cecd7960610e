from __future__ import annotations

import torch
import transformers.models.sam3.modeling_sam3 as modeling_sam3

from sam3_tvm.sources.roi_align import roi_align
from training.pooling import differentiable_roi_align, pool


def _boxes() -> torch.Tensor:
    """In cells: ordinary ones, one over a border, a tiny and a whole one."""
    return torch.tensor(
        [
            [[1.3, 2.1, 6.8, 15.2], [-2.0, 4.0, 3.5, 17.5]],
            [[5.0, 5.0, 5.2, 5.1], [0.0, 0.0, 16.0, 16.0]],
        ]
    )


def test_pooling_is_roi_align() -> None:
    features = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = roi_align(features, _boxes(), 7)
    torch.testing.assert_close(pool(features, _boxes(), 7), expected, rtol=1e-5, atol=1e-5)


def test_pooling_has_a_gradient() -> None:
    features = torch.randn(2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    boxes = _boxes().double()
    assert torch.autograd.gradcheck(lambda f: pool(f, boxes, 3), features)


def test_transformers_is_left_as_it_was() -> None:
    before = vars(modeling_sam3).get("torchvision")
    with differentiable_roi_align():
        assert vars(modeling_sam3).get("torchvision") is not before
    assert vars(modeling_sam3).get("torchvision") is before
