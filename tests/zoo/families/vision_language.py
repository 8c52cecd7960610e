"""Images and text."""

from __future__ import annotations

import torch

from tests.zoo.entry import Entry, Input, attention_mask, image, model, tokens, whole_mask

__all__ = ["ENTRIES"]

_TEXT = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "eos_token_id": 63,
    "bos_token_id": 62,
    "pad_token_id": 1,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
_PAIR = {"input_ids": tokens(8), "pixel_values": image(32), "attention_mask": attention_mask(8)}
_CLIP = {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 16}


def _flat(patches: int, width: int) -> Input:
    return Input(lambda b, g: torch.randn((b, patches, width), generator=g))


def _entry(
    name: str,
    cls: str,
    inputs: dict[str, Input] = _PAIR,
    /,
    *,
    tolerance: float = 1e-4,
    options: dict[str, object] | None = None,
    **settings: object,
) -> Entry:
    return Entry(
        name,
        model(cls, **settings),
        inputs,
        "transformers",
        options=options or {},
        tolerance=tolerance,
    )


ENTRIES = [
    _entry("CLIP", "CLIPModel", **_CLIP),
    _entry(
        "CLIP text, legacy end token",
        "CLIPTextModelWithProjection",
        {"input_ids": tokens(8)},
        **{**_TEXT, "eos_token_id": 2},
    ),
    _entry("SigLIP", "SiglipModel", text_config=_TEXT, vision_config=_VISION),
    _entry(
        "SigLIP 2 vision",
        "Siglip2VisionModel",
        {
            "pixel_values": _flat(16, 192),
            "pixel_attention_mask": whole_mask(16),
            "spatial_shapes": Input(lambda b, _: torch.tensor([[4, 4]]).repeat(b, 1), None),
        },
        **{**_VISION, "num_patches": 16},
    ),
    _entry(
        "CLIPSeg",
        "CLIPSegForImageSegmentation",
        **_CLIP,
        extract_layers=[0, 1],
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=24,
    ),
    _entry(
        "GroupViT",
        "GroupViTModel",
        text_config=_TEXT,
        projection_dim=16,
        projection_intermediate_dim=24,
        vision_config={
            **_VISION,
            "patch_size": 4,
            "depths": [1, 1, 1],
            "num_group_tokens": [8, 4, 0],
            "num_output_groups": [8, 4, 1],
        },
    ),
    _entry("BLIP vision", "BlipVisionModel", {"pixel_values": image(32)}, **_VISION),
    _entry(
        "BLIP, image and text",
        "BlipForImageTextRetrieval",
        text_config={**_TEXT, "encoder_hidden_size": 32},
        vision_config=_VISION,
        projection_dim=16,
        image_text_hidden_size=16,
    ),
    _entry(
        "BLIP-2 query transformer",
        "Blip2QFormerModel",
        {"query_embeds": _flat(4, 32), "encoder_hidden_states": _flat(9, 24)},
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        encoder_hidden_size=24,
    ),
    _entry(
        "OWL-ViT",
        "OwlViTForObjectDetection",
        {
            "input_ids": Input(tokens(8).draw),
            "pixel_values": image(32),
            "attention_mask": whole_mask(8),
        },
        text_config=_TEXT,
        vision_config=_VISION,
        projection_dim=32,
    ),
    _entry(
        "OWLv2",
        "Owlv2ForObjectDetection",
        {"input_ids": tokens(8), "pixel_values": image(32), "attention_mask": whole_mask(8)},
        text_config=_TEXT,
        vision_config=_VISION,
        projection_dim=32,
    ),
    _entry(
        "Chinese CLIP",
        "ChineseCLIPModel",
        text_config=_TEXT,
        vision_config=_VISION,
        projection_dim=16,
    ),
    _entry(
        "AltCLIP text",
        "AltCLIPTextModel",
        {"input_ids": tokens(8), "attention_mask": attention_mask(8)},
        **_TEXT,
        project_dim=16,
    ),
    _entry(
        "FLAVA",
        "FlavaModel",
        {"input_ids": tokens(8), "pixel_values": image(32), "attention_mask": attention_mask(8)},
        image_config=_VISION,
        text_config=_TEXT,
        multimodal_config={
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "intermediate_size": 48,
        },
        hidden_size=32,
        projection_dim=16,
    ),
    _entry(
        "VisualBERT",
        "VisualBertModel",
        {
            "input_ids": tokens(8),
            "visual_embeds": _flat(4, 20),
            "visual_attention_mask": whole_mask(4),
        },
        visual_embedding_dim=20,
        **_TEXT,
    ),
    _entry(
        "LXMERT",
        "LxmertModel",
        {"input_ids": tokens(8), "visual_feats": _flat(4, 20), "visual_pos": _flat(4, 4)},
        vocab_size=64,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        l_layers=1,
        x_layers=1,
        r_layers=1,
        visual_feat_dim=20,
    ),
    _entry(
        "LayoutLM",
        "LayoutLMForTokenClassification",
        {
            "input_ids": tokens(8),
            "bbox": Input(
                lambda b, g: torch.randint(0, 20, (b, 8, 4), generator=g).cumsum(-1)[
                    ..., [0, 1, 2, 3]
                ]
            ),
            "attention_mask": attention_mask(8),
        },
        max_2d_position_embeddings=128,
        **_TEXT,
    ),
    _entry(
        "LiLT",
        "LiltModel",
        {
            "input_ids": tokens(8),
            "bbox": Input(lambda b, g: torch.randint(0, 20, (b, 8, 4), generator=g).cumsum(-1)),
            "attention_mask": attention_mask(8),
        },
        max_2d_position_embeddings=128,
        channel_shrink_ratio=2,
        **{**_TEXT, "max_position_embeddings": 32, "hidden_size": 48},
    ),
    _entry(
        "MGP-STR",
        "MgpstrForSceneTextRecognition",
        {"pixel_values": image(16, 32)},
        image_size=[16, 32],
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        mlp_ratio=2.0,
        max_token_length=6,
        num_character_labels=10,
        num_bpe_labels=12,
        num_wordpiece_labels=14,
    ),
    _entry(
        "Perceiver, text",
        "PerceiverForMaskedLM",
        {"inputs": tokens(16), "attention_mask": attention_mask(16)},
        num_latents=6,
        d_latents=32,
        d_model=24,
        num_blocks=1,
        num_self_attends_per_block=2,
        num_self_attention_heads=4,
        num_cross_attention_heads=4,
        vocab_size=64,
        max_position_embeddings=16,
        qk_channels=32,
        v_channels=32,
    ),
    _entry(
        "Perceiver, images by Fourier positions",
        "PerceiverForImageClassificationFourier",
        {"inputs": image(224)},
        num_latents=4,
        d_latents=32,
        d_model=261,
        num_blocks=1,
        num_self_attends_per_block=1,
        num_self_attention_heads=4,
        num_cross_attention_heads=1,
    ),
    _entry(
        "TrOCR decoder",
        "TrOCRForCausalLM",
        {"input_ids": tokens(8), "attention_mask": attention_mask(8)},
        vocab_size=64,
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        max_position_embeddings=32,
        options={"use_cache": False},
    ),
]
