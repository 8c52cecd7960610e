"""Segmentation and depth."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, image, integers, model

__all__ = ["ENTRIES"]

_VIT = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48,
    "image_size": 32, "patch_size": 8,
}
_SWIN_BACKBONE = {
    "model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2],
    "image_size": 64, "window_size": 4, "patch_size": 2,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_CONVNEXT_BACKBONE = {
    "model_type": "convnext", "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1],
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
_DINO_BACKBONE = {
    "model_type": "dinov2", "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
    "image_size": 28, "patch_size": 14, "out_indices": [1, 2, 3, 4], "reshape_hidden_states": False,
}
_NECK = {"neck_hidden_sizes": [8, 12, 16, 16], "fusion_hidden_size": 16}


def _entry(name: str, cls: str, size: int = 64, /, *, also: dict[str, Input] | None = None,
           tolerance: float = 1e-4, **settings: object) -> Entry:
    inputs = {"pixel_values": image(size), **(also or {})}
    return Entry(name, model(cls, **settings), inputs, "transformers", tolerance=tolerance)


ENTRIES = [
    _entry(
        "SegFormer", "SegformerForSemanticSegmentation", hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=16,
    ),
    _entry(
        "BEiT segmentation", "BeitForSemanticSegmentation", 32, out_indices=[1, 2, 3, 4],
        use_relative_position_bias=True, pool_scales=[1, 2], **_VIT,
    ),
    _entry(
        "Data2Vec segmentation", "Data2VecVisionForSemanticSegmentation", 32,
        out_indices=[1, 2, 3, 4], pool_scales=[1, 2], **_VIT,
    ),
    _entry(
        "MobileViT with DeepLabV3", "MobileViTForSemanticSegmentation", hidden_sizes=[16, 24, 32],
        neck_hidden_sizes=[4, 8, 12, 16, 24, 32, 48], num_attention_heads=2, image_size=64,
        aspp_out_channels=16, num_labels=5,
    ),
    _entry(
        "MobileNet V2 with DeepLabV3", "MobileNetV2ForSemanticSegmentation",
        depth_multiplier=0.25, min_depth=4, depth_divisible_by=4, num_labels=5,
    ),
    _entry(
        "UperNet on ConvNeXt", "UperNetForSemanticSegmentation",
        backbone_config=_CONVNEXT_BACKBONE, hidden_size=16, auxiliary_channels=8,
        auxiliary_in_channels=24, num_labels=5, pool_scales=[1, 2],
    ),
    _entry(
        "UperNet on Swin", "UperNetForSemanticSegmentation", backbone_config=_SWIN_BACKBONE,
        hidden_size=16, auxiliary_channels=8, auxiliary_in_channels=32, num_labels=5,
        pool_scales=[1, 2, 3],
    ),
    _entry("DPT", "DPTForDepthEstimation", 32, backbone_out_indices=[0, 1, 2, 3], **_VIT, **_NECK),
    _entry(
        "DPT, hybrid", "DPTForSemanticSegmentation", 32, is_hybrid=True, num_labels=5,
        backbone_out_indices=[0, 1, 2, 3],
        backbone_config={
            "model_type": "bit", "global_padding": "same", "layer_type": "bottleneck",
            "depths": [1, 1, 1], "hidden_sizes": [16, 32, 48], "num_groups": 4,
            "embedding_size": 8, "out_features": ["stage1", "stage2", "stage3"],
            "embedding_dynamic_padding": True,
        },
        backbone_featmap_shape=[1, 48, 2, 2], neck_ignore_stages=[0, 1],
        **{**_VIT, "patch_size": 16}, **_NECK,
    ),
    _entry(
        "Depth Anything", "DepthAnythingForDepthEstimation", 42, backbone_config=_DINO_BACKBONE,
        reassemble_hidden_size=32, head_hidden_size=8, **_NECK,
    ),
    _entry(
        "Prompt Depth Anything", "PromptDepthAnythingForDepthEstimation", 42,
        backbone_config=_DINO_BACKBONE, reassemble_hidden_size=32, head_hidden_size=8,
        also={"prompt_depth": image(12, channels=1)}, **_NECK,
    ),
    _entry(
        "GLPN", "GLPNForDepthEstimation", hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4], decoder_hidden_size=16,
    ),
    _entry(
        "ZoeDepth", "ZoeDepthForDepthEstimation", 32,
        backbone_config={
            "model_type": "beit", "hidden_size": 32, "num_hidden_layers": 4,
            "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32, "patch_size": 8,
            "out_indices": [1, 2, 3, 4], "use_relative_position_bias": True,
            "reshape_hidden_states": False,
        },
        backbone_hidden_size=32, bottleneck_features=16, num_attractors=[4, 2, 2, 1],
        bin_embedding_dim=8, num_relative_features=8,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        **_NECK,
    ),
    _entry(
        "MaskFormer", "MaskFormerForInstanceSegmentation",
        backbone_config=_SWIN_BACKBONE, fpn_feature_size=16, mask_feature_size=16,
        decoder_config={
            "model_type": "detr", "d_model": 16, "decoder_layers": 2, "encoder_layers": 1,
            "decoder_ffn_dim": 24, "encoder_ffn_dim": 24, "decoder_attention_heads": 2,
            "encoder_attention_heads": 2, "num_queries": 5,
        },
    ),
    _entry(
        "Mask2Former", "Mask2FormerForUniversalSegmentation", backbone_config=_SWIN_BACKBONE,
        feature_size=16, mask_feature_size=16, hidden_dim=16, encoder_feedforward_dim=24,
        encoder_layers=1, decoder_layers=3, num_attention_heads=2, dim_feedforward=24,
        num_queries=5, feature_strides=[2, 4, 8, 16],
    ),
    _entry(
        "OneFormer", "OneFormerForUniversalSegmentation", backbone_config=_SWIN_BACKBONE,
        conv_dim=16, mask_dim=16, hidden_dim=16, encoder_feedforward_dim=24, encoder_layers=1,
        decoder_layers=3, query_dec_layers=1, num_attention_heads=2, dim_feedforward=24,
        num_queries=6, text_encoder_width=16, text_encoder_num_layers=1, is_training=False,
        task_seq_len=7, strides=[2, 4, 8, 16],
        also={"task_inputs": integers(0, 40, 7)},
    ),
    _entry(
        "EoMT", "EomtForUniversalSegmentation", 64, hidden_size=32, num_hidden_layers=3,
        num_attention_heads=4, image_size=64, patch_size=8, num_queries=5, num_blocks=1,
        num_upscale_blocks=1, num_register_tokens=2,
    ),
    _entry(
        "ViTMatte", "VitMatteForImageMatting", 32,
        backbone_config={
            "model_type": "vitdet", "hidden_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 4, "image_size": 32, "patch_size": 16, "num_channels": 4,
            "out_features": ["stage2"],
        },
        hidden_size=32, fusion_hidden_sizes=[16, 8, 8, 4], convstream_hidden_sizes=[8, 12, 16],
    ) if False else Entry(
        "ViTMatte",
        model(
            "VitMatteForImageMatting", backbone_config={
                "model_type": "vitdet", "hidden_size": 32, "num_hidden_layers": 2,
                "num_attention_heads": 4, "image_size": 32, "patch_size": 16, "num_channels": 4,
                "out_features": ["stage2"],
            },
            hidden_size=32, fusion_hidden_sizes=[16, 8, 8, 4], convstream_hidden_sizes=[8, 12, 16],
        ),
        {"pixel_values": image(32, channels=4)}, "transformers",
    ),
    _entry(
        "SegGPT", "SegGptModel", 32, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        intermediate_hidden_size=48, image_size=[64, 32], patch_size=8, mlp_dim=48,
        intermediate_hidden_state_indices=[0, 1, 2, 3], merge_index=1, decoder_hidden_size=8,
        pretrain_image_size=32,
        also={"prompt_pixel_values": image(32), "prompt_masks": image(32)},
    ),
]
