"""Vision transformers."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, flags, image, model

__all__ = ["ENTRIES"]

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
_SWIN = {"embed_dim": 8, "depths": [1, 2], "num_heads": [2, 4], "image_size": 32, "patch_size": 2}


def _entry(
    name: str,
    cls: str,
    size: int = 32,
    /,
    *,
    also: dict[str, Input] | None = None,
    options: dict[str, object] | None = None,
    **settings: object,
) -> Entry:
    inputs = {"pixel_values": image(size), **(also or {})}
    return Entry(name, model(cls, **settings), inputs, "transformers", options=options or {})


ENTRIES = [
    _entry("ViT", "ViTForImageClassification", **_SMALL),
    _entry(
        "ViT, interpolated positions",
        "ViTModel",
        48,
        options={"interpolate_pos_encoding": True},
        **_SMALL,
    ),
    _entry("DeiT, with teacher", "DeiTForImageClassificationWithTeacher", **_SMALL),
    _entry(
        "DeiT, masked patches",
        "DeiTForMaskedImageModeling",
        also={"bool_masked_pos": flags(16)},
        encoder_stride=8,
        **_SMALL,
    ),
    _entry("ViT-MSN", "ViTMSNModel", **_SMALL),
    _entry(
        "ViTDet, windows",
        "VitDetModel",
        window_block_indices=[0],
        window_size=3,
        use_relative_position_embeddings=True,
        residual_block_indices=[1],
        **_SMALL,
    ),
    _entry(
        "ViTPose",
        "VitPoseForPoseEstimation",
        **{
            "backbone_config": {
                "model_type": "vitpose_backbone",
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "image_size": [32, 32],
                "patch_size": [8, 8],
                "out_indices": [2],
            },
            "num_labels": 5,
        },
    ),
    _entry("Swin", "SwinForImageClassification", window_size=4, **_SWIN),
    _entry("Swin, padded windows", "SwinModel", window_size=7, **_SWIN),
    _entry("Swin V2", "Swinv2Model", window_size=4, **_SWIN),
    _entry(
        "BEiT, relative positions",
        "BeitModel",
        use_relative_position_bias=True,
        layer_scale_init_value=0.1,
        **_SMALL,
    ),
    _entry(
        "BEiT, shared relative positions",
        "BeitForImageClassification",
        use_shared_relative_position_bias=True,
        use_mean_pooling=True,
        **_SMALL,
    ),
    _entry(
        "Data2Vec vision",
        "Data2VecVisionForImageClassification",
        use_relative_position_bias=True,
        **_SMALL,
    ),
    _entry("DINOv2", "Dinov2Model", **_SMALL),
    _entry(
        "DINOv2, SwiGLU and registers",
        "Dinov2WithRegistersModel",
        48,
        use_swiglu_ffn=True,
        num_register_tokens=2,
        **_SMALL,
    ),
    _entry("DINOv3", "DINOv3ViTModel", num_register_tokens=2, **_SMALL),
    _entry("DINOv3, gated", "DINOv3ViTModel", use_gated_mlp=True, **_SMALL),
    Entry(
        "Hiera",
        model(
            "HieraModel",
            image_size=[64, 64],
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 1, 2, 2],
        ),
        {"pixel_values": image(64)},
        "transformers",
    ),
    _entry(
        "PVT",
        "PvtModel",
        64,
        image_size=64,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        sequence_reduction_ratios=[4, 2, 2, 1],
    ),
    _entry(
        "PVT V2",
        "PvtV2ForImageClassification",
        64,
        image_size=64,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
    ),
    _entry(
        "PVT V2, linear attention",
        "PvtV2Model",
        64,
        image_size=64,
        linear_attention=True,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
    ),
    _entry("I-JEPA", "IJepaModel", **_SMALL),
    _entry("Aimv2", "Aimv2VisionModel", **_SMALL),
    _entry(
        "MLCD vision",
        "MLCDVisionModel",
        **_SMALL,
    ),
    _entry(
        "Pixtral vision",
        "PixtralVisionModel",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
    ),
]
