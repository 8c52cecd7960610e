"""What Meta's tracker and transformers' call the same tensors: prefixes and single names.

Read by :mod:`sam3_tvm.sources.meta.keys`. Meta's file keeps the tracker's neck beside the
detector's (``backbone.vision_backbone.sam2_convs``), transformers' apart (``tracker_neck``).
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["MODULES", "POINT_ROWS", "POSITIONS", "TENSORS"]

_T, _HF = "tracker", "tracker_model"
_PROMPT, _PROMPT_HF = f"{_T}.sam_prompt_encoder", f"{_HF}.prompt_encoder"
_MASKS, _MASKS_HF = f"{_T}.sam_mask_decoder", f"{_HF}.mask_decoder"
_TWO_WAY, _TWO_WAY_HF = f"{_MASKS}.transformer", f"{_MASKS_HF}.transformer"
_ATTENTION, _ATTENTION_HF = f"{_T}.transformer.encoder", f"{_HF}.memory_attention"
_MEMORY, _MEMORY_HF = f"{_T}.maskmem_backbone", f"{_HF}.memory_encoder"
_CONVS, _NECK = "backbone.vision_backbone.sam2_convs", "tracker_neck.fpn_layers"


def _below(meta: str, ours: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{meta}.{m}": f"{ours}.{t}" for m, t in names.items()}


_PROJECTIONS = {
    "q_proj": "q_proj",
    "k_proj": "k_proj",
    "v_proj": "v_proj",
    "out_proj": "o_proj",
}
_THREE_LAYERS = {"layers.0": "proj_in", "layers.1": "layers.0", "layers.2": "proj_out"}


def _attention(meta: str, ours: str) -> dict[str, str]:
    return _below(meta, ours, _PROJECTIONS)


def _two_way_block() -> dict[str, str]:
    block, ours = f"{_TWO_WAY}.layers.{{}}", f"{_TWO_WAY_HF}.layers.{{}}"
    found = {f"{block}.norm{n}": f"{ours}.layer_norm{n}" for n in (1, 2, 3, 4)}
    found |= _below(block, ours, {"mlp.lin1": "mlp.proj_in", "mlp.lin2": "mlp.proj_out"})
    for part in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
        found |= _attention(f"{block}.{part}", f"{ours}.{part}")
    return found


def _memory_layer() -> dict[str, str]:
    layer, ours = f"{_ATTENTION}.layers.{{}}", f"{_ATTENTION_HF}.layers.{{}}"
    found = {f"{layer}.norm{n}": f"{ours}.layer_norm{n}" for n in (1, 2, 3)}
    found |= _below(layer, ours, {"linear1": "linear1", "linear2": "linear2"})
    for part in ("self_attn", "cross_attn_image"):
        found |= _attention(f"{layer}.{part}", f"{ours}.{part}")
    return found


def _mask_downsampler() -> dict[str, str]:
    """A convolution, a norm and an activation for each halving, and a projection at the end."""
    meta, ours = f"{_MEMORY}.mask_downsampler.encoder", f"{_MEMORY_HF}.mask_downsampler"
    found = {f"{meta}.12": f"{ours}.final_conv"}
    for layer in range(4):
        found[f"{meta}.{3 * layer}"] = f"{ours}.layers.{layer}.conv"
        found[f"{meta}.{3 * layer + 1}"] = f"{ours}.layers.{layer}.layer_norm"
    return found


MODULES: dict[str, str] = {
    f"{_CONVS}.0.dconv_2x2_0": f"{_NECK}.0.scale_layers.0",
    f"{_CONVS}.0.dconv_2x2_1": f"{_NECK}.0.scale_layers.2",
    f"{_CONVS}.1.dconv_2x2": f"{_NECK}.1.scale_layers.0",
    f"{_CONVS}.{{}}.conv_1x1": f"{_NECK}.{{}}.proj1",
    f"{_CONVS}.{{}}.conv_3x3": f"{_NECK}.{{}}.proj2",
    **_below(
        _PROMPT,
        _PROMPT_HF,
        {
            "mask_downscaling.0": "mask_embed.conv1",
            "mask_downscaling.1": "mask_embed.layer_norm1",
            "mask_downscaling.3": "mask_embed.conv2",
            "mask_downscaling.4": "mask_embed.layer_norm2",
            "mask_downscaling.6": "mask_embed.conv3",
        },
    ),
    **_two_way_block(),
    **_attention(
        f"{_TWO_WAY}.final_attn_token_to_image", f"{_TWO_WAY_HF}.final_attn_token_to_image"
    ),
    f"{_TWO_WAY}.norm_final_attn": f"{_TWO_WAY_HF}.layer_norm_final_attn",
    **_below(
        _MASKS,
        _MASKS_HF,
        {
            "output_upscaling.0": "upscale_conv1",
            "output_upscaling.1": "upscale_layer_norm",
            "output_upscaling.3": "upscale_conv2",
            "conv_s0": "conv_s0",
            "conv_s1": "conv_s1",
        },
    ),
    **_below(
        f"{_MASKS}.output_hypernetworks_mlps.{{}}",
        f"{_MASKS_HF}.output_hypernetworks_mlps.{{}}",
        _THREE_LAYERS,
    ),
    **_below(f"{_MASKS}.iou_prediction_head", f"{_MASKS_HF}.iou_prediction_head", _THREE_LAYERS),
    **_below(f"{_MASKS}.pred_obj_score_head", f"{_MASKS_HF}.pred_obj_score_head", _THREE_LAYERS),
    **_memory_layer(),
    f"{_ATTENTION}.norm": f"{_ATTENTION_HF}.layer_norm",
    **_mask_downsampler(),
    f"{_MEMORY}.pix_feat_proj": f"{_MEMORY_HF}.feature_projection",
    f"{_MEMORY}.out_proj": f"{_MEMORY_HF}.projection",
    **_below(
        f"{_MEMORY}.fuser.layers.{{}}",
        f"{_MEMORY_HF}.memory_fuser.layers.{{}}",
        {
            "dwconv": "depthwise_conv",
            "norm": "layer_norm",
            "pwconv1": "pointwise_conv1",
            "pwconv2": "pointwise_conv2",
        },
    ),
    f"{_T}.mask_downsample": f"{_HF}.mask_downsample",
    **_below(f"{_T}.obj_ptr_proj", f"{_HF}.object_pointer_proj", _THREE_LAYERS),
    f"{_T}.obj_ptr_tpos_proj": f"{_HF}.temporal_positional_encoding_projection_layer",
}
"""Prefixes of weights and biases. {} is a layer's number, the same on both sides."""

TENSORS: dict[str, str] = {
    **_below(
        _T,
        _HF,
        {
            "maskmem_tpos_enc": "memory_temporal_positional_encoding",
            "no_mem_embed": "no_memory_embedding",
            "no_mem_pos_enc": "no_memory_positional_encoding",
            "no_obj_ptr": "no_object_pointer",
            "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
            "maskmem_backbone.fuser.layers.{}.gamma": "memory_encoder.memory_fuser.layers.{}.scale",
        },
    ),
    **{
        f"{_PROMPT}.{name}.weight": f"{_PROMPT_HF}.{name}.weight"
        for name in ("not_a_point_embed", "no_mask_embed")
    },
    **{
        f"{_MASKS}.{name}.weight": f"{_MASKS_HF}.{name}.weight"
        for name in ("iou_token", "mask_tokens", "obj_score_token")
    },
}
"""Names that are no module's weight and bias."""

POINT_ROWS = (
    tuple(f"{_PROMPT}.point_embeddings.{label}.weight" for label in range(4)),
    f"{_PROMPT_HF}.point_embed.weight",
)
"""Meta's embeddings of labels, one table each, and the one table of transformers'."""

POSITIONS = (
    f"{_PROMPT}.pe_layer.positional_encoding_gaussian_matrix",
    (
        f"{_PROMPT_HF}.shared_embedding.positional_embedding",
        f"{_HF}.shared_image_embedding.positional_embedding",
    ),
)
"""The random frequencies of positions, which transformers keeps twice."""
