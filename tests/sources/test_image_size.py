"""Which sizes a vision encoder can be given, and what they cost."""

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch
from torch.utils.flop_counter import FlopCounterMode

from sam3_tvm.sources import open_source
from sam3_tvm.sources.image_size import ImageSizeError, VisionShape

SAM3 = VisionShape(1008, 1008, 14, 24, 32, 4, 1024, 4736)
TINY = VisionShape(168, 168, 14, 4, 4, 2, 96, 232)


@pytest.mark.parametrize("image", [224, 336, 504, 994, 1008, 1022, 1344])
def test_multiples_of_the_patch_are_taken(image):
    assert SAM3.at(image).grid == image // 14
    assert SAM3.at(image).own == 1008


def test_without_a_size_it_is_the_checkpoints_own():
    assert SAM3.at(None) == SAM3
    assert SAM3.at(504).at(None) == SAM3


@pytest.mark.parametrize(
    ("shape", "image", "says"),
    [
        (SAM3, 500, "a multiple of 14 from 224 to 1344; nearest are 490 and 504"),
        (SAM3, 1007, "nearest are 994 and 1008"),
        (SAM3, 223, "nearest is 224"),
        (SAM3, 225, "nearest are 224 and 238"),
        (SAM3, 210, "nearest is 224"),
        (SAM3, 1345, "nearest is 1344"),
        (SAM3, 0, "nearest is 224"),
        (SAM3, -14, "nearest is 224"),
        # A small model is made for less, and may be halved.
        (TINY, 70, "from 84 to 1344; nearest is 84"),
        (replace(SAM3, image=128, own=128, patch=8), 100, "8 from 64 to 768; nearest are 96"),
    ],
)
def test_other_sizes_say_what_is_accepted(shape, image, says):
    with pytest.raises(ImageSizeError) as error:
        shape.at(image)
    assert f"image size {image}: " in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_size_whose_windows_are_padded_says_which_are_not():
    assert SAM3.at(504).warning() == (
        "a picture of 504 pixels is 36 patches a side, which attention pads to 48, whole windows "
        "of 24: it computes 1.78 times the patches, and drops 5% of the vision encoder's work; "
        "336 and 672 need no padding"
    )
    assert "; 336 needs no padding" in SAM3.at(224).warning()
    assert "1008 and 1344" in SAM3.at(1022).warning()


@pytest.mark.parametrize("image", [336, 672, 1008, 1344])
def test_a_size_of_whole_windows_says_nothing(image):
    assert SAM3.at(image).warning() is None


@pytest.mark.parametrize("image", [112, 126])
def test_what_a_size_costs_is_what_pytorch_counts(image):
    """But for projections of padding, which PyTorch computes."""
    source = open_source("random:tiny", ("concepts",), image)
    shape = source.vision
    # By its matrices: PyTorch doesn't count the CPU's own kernel of attention.
    matrices = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), matrices:
        source.model.vision_encoder.backbone(torch.zeros(1, 3, image, image))
    windowed = shape.layers - shape.whole
    of_padding = windowed * 2 * 4 * shape.width**2 * (shape.padded**2 - shape.grid**2)
    assert shape.flops == counter.get_total_flops() - of_padding
    assert (of_padding > 0) == (image == 126)


def test_its_own_size_costs_all_of_it():
    assert SAM3.share == 1
    assert 0.2 < SAM3.at(504).share < 0.25
