"""The size of pictures in transformers' configurations.

``config.image_size = N`` is transformers' own way to change it, and ``Sam3Config`` and
``Sam3TrackerVideoConfig`` hand it on to what they consist of. In transformers 5.23
``Sam3TrackerConfig`` keeps it for itself, and the sizes of feature maps, by which
``Sam3TrackerModel`` cuts what the backbone gives, follow in none but the one for video.
"""

from __future__ import annotations

from typing import Any

from sam3_tvm.sources.image_size import VisionShape

__all__ = ["follow", "resize"]


def _vision_shape(config: Any) -> VisionShape:
    """The vision encoder that a detector's configuration describes."""
    vision = config.vision_config.backbone_config
    layers, window = vision.num_hidden_layers, vision.window_size
    # Windows of 0 are none: every layer attends to the whole picture.
    whole = sum(not window or i in vision.global_attn_indexes for i in range(layers))
    return VisionShape(
        image=vision.image_size,
        own=vision.image_size,
        patch=vision.patch_size,
        window=window or 1,
        layers=layers,
        whole=whole,
        width=vision.hidden_size,
        hidden=vision.intermediate_size,
    )


def resize(config: Any, image: int | None) -> VisionShape:
    """Have a detector's configuration take pictures of another size; None, or its own, changes
    nothing.

    Returns:
        The vision encoder that it then describes.

    Raises:
        ImageSizeError: a size that its vision encoder can't be given.
    """
    shape = _vision_shape(config).at(image)
    if shape.image != shape.own:  # its own is left as the checkpoint says it
        config.image_size = shape.image
        _resize_maps(config.vision_config, shape.grid)
    return shape


def follow(config: Any) -> None:
    """Have a tracker's configuration take the pictures of its vision encoder's."""
    vision = config.vision_config
    # For video this sets the rest as well; for clicks it is a plain attribute.
    config.image_size = vision.image_size
    config.prompt_encoder_config.image_size = vision.image_size
    _resize_maps(vision, vision.image_size // vision.backbone_config.patch_size)


def _resize_maps(vision: Any, grid: int) -> None:
    vision.backbone_feature_sizes = [[times * grid] * 2 for times in (4, 2, 1)]
