"""Detection: DETR and its relatives, open vocabulary, keypoints."""

from __future__ import annotations

from tests.zoo.entry import Entry, Input, image, model, tokens, whole_mask

__all__ = ["ENTRIES"]

_RESNET = {
    "model_type": "resnet",
    "embedding_size": 8,
    "hidden_sizes": [8, 16, 24, 32],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
    "out_features": ["stage2", "stage3", "stage4"],
}
_DETR = {
    "backbone_config": _RESNET,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_queries": 5,
}
_RT = {
    "backbone_config": {
        "model_type": "rt_detr_resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16, 24, 32],
        "depths": [1, 1, 1, 1],
        "layer_type": "basic",
        "out_features": ["stage2", "stage3", "stage4"],
    },
    "encoder_hidden_dim": 16,
    "encoder_in_channels": [16, 24, 32],
    "encoder_layers": 1,
    "encoder_ffn_dim": 24,
    "encoder_attention_heads": 2,
    "d_model": 16,
    "num_queries": 8,
    "decoder_in_channels": [16, 16, 16],
    "decoder_ffn_dim": 24,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "num_denoising": 0,
    "num_labels": 4,
}
_SWIN = {
    "model_type": "swin",
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "image_size": 64,
    "window_size": 4,
    "patch_size": 2,
    "out_features": ["stage2", "stage3", "stage4"],
}
_BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 64,
    "max_position_embeddings": 32,
}
_PICTURE = {"pixel_values": image(64)}
# Its fourth level, of half the size of the third, is not to be one pixel.
_LARGER = {"pixel_values": image(96)}


def _entry(
    name: str, cls: str, inputs: dict[str, Input] = _PICTURE, /, **settings: object
) -> Entry:
    return Entry(name, model(cls, **settings), inputs, "transformers")


ENTRIES = [
    _entry("DETR", "DetrForObjectDetection", **_DETR),
    _entry(
        "DETR segmentation",
        "DetrForSegmentation",
        **{
            **_DETR,
            "encoder_attention_heads": 8,
            "decoder_attention_heads": 8,
            "backbone_config": {
                **_RESNET,
                "out_features": ["stage1", "stage2", "stage3", "stage4"],
            },
        },
    ),
    _entry("Conditional DETR", "ConditionalDetrForObjectDetection", **_DETR),
    _entry("Table Transformer", "TableTransformerForObjectDetection", **_DETR),
    _entry(
        "DAB-DETR",
        "DabDetrForObjectDetection",
        **{
            **{k: v for k, v in _DETR.items() if k != "d_model"},
            "hidden_size": 32,
        },
    ),
    _entry("Deformable DETR", "DeformableDetrForObjectDetection", _LARGER, **_DETR),
    _entry(
        "Deformable DETR, two stages",
        "DeformableDetrForObjectDetection",
        _LARGER,
        two_stage=True,
        with_box_refine=True,
        two_stage_num_proposals=6,
        **_DETR,
    ),
    _entry("RT-DETR", "RTDetrForObjectDetection", **_RT),
    _entry("RT-DETR V2", "RTDetrV2ForObjectDetection", **_RT),
    _entry(
        "D-FINE",
        "DFineForObjectDetection",
        **{
            **_RT,
            "backbone_config": {
                "model_type": "hgnet_v2",
                "embedding_size": 8,
                "hidden_sizes": [8, 16, 24, 32],
                "stem_channels": [3, 8, 8],
                "stage_in_channels": [8, 16, 16, 24],
                "stage_mid_channels": [8, 8, 8, 8],
                "stage_out_channels": [16, 16, 24, 32],
                "stage_num_blocks": [1, 1, 1, 1],
                "stage_numb_of_layers": [2, 2, 2, 2],
                "out_features": ["stage2", "stage3", "stage4"],
            },
            "decoder_n_points": [2, 2, 2],
        },
    ),
    _entry(
        "LW-DETR",
        "LwDetrForObjectDetection",
        backbone_config={
            "model_type": "lw_detr_vit",
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 16,
            "num_windows": 4,
            "window_block_indices": [0, 2],
            "out_indices": [1, 3],
            "mlp_ratio": 2,
        },
        projector_scale_factors=[2.0, 0.5],
        hidden_expansion=0.5,
        d_model=16,
        num_queries=5,
        group_detr=1,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=4,
        decoder_ffn_dim=24,
    ),
    _entry(
        "YOLOS",
        "YolosForObjectDetection",
        {"pixel_values": image(32, 48)},
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=[32, 48],
        patch_size=8,
        num_detection_tokens=5,
    ),
    _entry(
        "YOLOS, interpolated positions",
        "YolosForObjectDetection",
        {"pixel_values": image(48, 64)},
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=[32, 48],
        patch_size=8,
        num_detection_tokens=5,
    ),
    _entry(
        "Grounding DINO",
        "GroundingDinoForObjectDetection",
        {
            "pixel_values": image(64),
            "input_ids": tokens(7),
            "token_type_ids": whole_mask(7),
            "attention_mask": whole_mask(7),
        },
        backbone_config=_SWIN,
        text_config=_BERT,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_queries=6,
        max_text_len=16,
    ),
    _entry(
        "MM Grounding DINO",
        "MMGroundingDinoForObjectDetection",
        {
            "pixel_values": image(64),
            "input_ids": tokens(7),
            "token_type_ids": whole_mask(7),
            "attention_mask": whole_mask(7),
        },
        backbone_config=_SWIN,
        text_config=_BERT,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        num_queries=6,
        max_text_len=16,
    ),
]
