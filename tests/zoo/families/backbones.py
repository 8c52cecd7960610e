"""Convolutional and hybrid backbones."""

from __future__ import annotations

from tests.zoo.entry import Entry, image, model

__all__ = ["ENTRIES"]

_PICTURE = {"pixel_values": image(64)}


def _entry(name: str, cls: str, **settings: object) -> Entry:
    return Entry(name, model(cls, **settings), _PICTURE, "transformers")


_STAGES = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]}

ENTRIES = [
    _entry("ResNet, basic blocks", "ResNetModel", embedding_size=8, layer_type="basic", **_STAGES),
    _entry("ResNet, bottlenecks", "ResNetForImageClassification", embedding_size=8, **_STAGES),
    _entry("ConvNeXt", "ConvNextForImageClassification", **_STAGES),
    _entry("ConvNeXt V2", "ConvNextV2Model", **_STAGES),
    _entry("DINOv3 ConvNeXt", "DINOv3ConvNextModel", **_STAGES),
    _entry(
        "RegNet",
        "RegNetModel",
        embedding_size=8,
        groups_width=8,
        depths=[1, 1, 2, 1],
        hidden_sizes=[8, 16, 24, 32],
    ),
    _entry(
        "RegNet, plain blocks",
        "RegNetForImageClassification",
        embedding_size=8,
        groups_width=8,
        layer_type="x",
        **_STAGES,
    ),
    _entry(
        "BiT",
        "BitModel",
        embedding_size=32,
        hidden_sizes=[32, 32, 64, 64],
        depths=[1, 1, 1, 1],
        num_groups=4,
    ),
    _entry(
        "BiT, dynamic padding",
        "BitModel",
        embedding_size=32,
        hidden_sizes=[32, 32, 64, 64],
        depths=[1, 1, 1, 1],
        num_groups=4,
        global_padding="SAME",
        layer_type="bottleneck",
    ),
    _entry("MobileNet V1", "MobileNetV1Model", depth_multiplier=0.25, min_depth=4),
    _entry(
        "MobileNet V2",
        "MobileNetV2ForImageClassification",
        depth_multiplier=0.25,
        min_depth=4,
        depth_divisible_by=4,
    ),
    _entry(
        "MobileViT",
        "MobileViTModel",
        hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[4, 8, 12, 16, 24, 32, 48],
        num_attention_heads=2,
        image_size=64,
    ),
    _entry("MobileViT V2", "MobileViTV2Model", width_multiplier=0.25, image_size=64),
    _entry(
        "EfficientNet",
        "EfficientNetModel",
        width_coefficient=0.25,
        depth_coefficient=0.3,
        image_size=64,
        hidden_dim=320,
        depth_divisor=4,
    ),
    _entry("FocalNet", "FocalNetModel", image_size=64, embed_dim=8, depths=[1, 1, 2, 1]),
    _entry(
        "FocalNet, layer scale",
        "FocalNetForImageClassification",
        image_size=64,
        embed_dim=8,
        depths=[1, 1],
        focal_levels=[2, 2],
        focal_windows=[3, 3],
        use_layerscale=True,
        use_post_layernorm=True,
        use_post_layernorm_in_modulation=True,
        normalize_modulator=True,
        use_conv_embed=True,
        hidden_sizes=[8, 16],
    ),
    _entry(
        "PoolFormer",
        "PoolFormerModel",
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
    ),
    _entry(
        "LeViT",
        "LevitForImageClassification",
        image_size=64,
        hidden_sizes=[16, 24, 32],
        num_attention_heads=[2, 2, 2],
        depths=[1, 1, 1],
        key_dim=[8, 8, 8],
        down_ops=[["Subsample", 8, 2, 4, 2, 2], ["Subsample", 8, 3, 4, 2, 2]],
    ),
    _entry(
        "SwiftFormer",
        "SwiftFormerModel",
        image_size=64,
        depths=[1, 1, 1, 1],
        embed_dims=[8, 16, 24, 32],
    ),
    _entry(
        "HGNet V2",
        "HGNetV2Backbone",
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 16, 24],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 24, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_numb_of_layers=[2, 2, 2, 2],
        out_features=["stage2", "stage4"],
    ),
    _entry(
        "TextNet",
        "TextNetModel",
        conv_layer_kernel_sizes=[[[3, 3]], [[3, 3]], [[3, 1]], [[1, 3]]],
        conv_layer_strides=[[2], [2], [2], [2]],
        hidden_sizes=[8, 8, 16, 16, 24],
        stem_out_channels=8,
    ),
    Entry(
        "Swin2SR",
        model(
            "Swin2SRForImageSuperResolution",
            image_size=16,
            embed_dim=12,
            depths=[1, 2],
            num_heads=[2, 2],
            window_size=4,
            upscale=2,
        ),
        {"pixel_values": image(16)},
        "transformers",
    ),
    Entry(
        "Swin2SR, nearest and convolution",
        model(
            "Swin2SRForImageSuperResolution",
            image_size=16,
            embed_dim=12,
            depths=[1],
            num_heads=[2],
            window_size=4,
            upscale=4,
            upsampler="nearest+conv",
        ),
        {"pixel_values": image(16)},
        "transformers",
    ),
]
