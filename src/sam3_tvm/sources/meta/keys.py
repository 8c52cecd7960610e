"""What Meta's checkpoint and transformers' call the same tensors.

One table of prefixes, read both ways; the tracker's part of it is in
:mod:`sam3_tvm.sources.meta.tracker_keys`. Where one side keeps several of the other's tensors as
one, :class:`Change` says how. Everything else in a checkpoint is either computed by the model
itself, or unknown, which is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache

from sam3_tvm.sources.meta import tracker_keys
from sam3_tvm.sources.tensors import SplitKeys, split_keys

__all__ = [
    "POINTS",
    "Change",
    "Entry",
    "file_name",
    "meta_entry",
    "split_meta_keys",
    "transformers_entry",
]


class Change(Enum):
    """How transformers' tensors are made of Meta's."""

    NONE = "the same"
    TRANSPOSED = "the other way round"
    THREE = "query, key and value, one above the other"
    WITHOUT_CLASS = "positions but for the first, the class token's, which SAM 3 doesn't use"
    TWICE = "the same, in two places"
    ROWS = "rows of one table, which are tables of their own in Meta's"


@dataclass(frozen=True)
class Entry:
    """Tensors of Meta's and what they are in transformers.

    Attributes:
        meta: Meta's names; one, but for :attr:`Change.ROWS`.
        transformers: transformers' names; three for :attr:`Change.THREE`, two for
            :attr:`Change.TWICE`.
        change: how the latter are made of the former.
    """

    meta: tuple[str, ...]
    transformers: tuple[str, ...]
    change: Change = Change.NONE


_TRUNK, _VIT = "backbone.vision_backbone.trunk", "vision_encoder.backbone"
_CONVS, _FPN = "backbone.vision_backbone.convs", "vision_encoder.neck.fpn_layers"
_VE, _CLIP = "backbone.language_backbone.encoder", "text_encoder.text_model"
_GEOMETRY, _ENCODER, _DECODER = "geometry_encoder", "transformer.encoder", "transformer.decoder"
_HEAD, _MASKS = "segmentation_head", "mask_decoder"
_SCORING = "dot_prod_scoring", "dot_product_scoring"


def _layers(meta: str, ours: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{meta}.{m}": f"{ours}.{t}" for m, t in names.items()}


_PRE_NORM = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "norm3": "layer_norm3",
    "linear1": "mlp.fc1",
    "linear2": "mlp.fc2",
}
_MLP = {"layers.0": "layer1", "layers.1": "layer2", "layers.2": "layer3"}

# Prefixes of weights and biases. {} is a layer's number, the same on both sides.
_MODULES: dict[str, str] = {
    f"{_TRUNK}.patch_embed.proj": f"{_VIT}.embeddings.patch_embeddings.projection",
    f"{_TRUNK}.ln_pre": f"{_VIT}.layer_norm",
    **_layers(
        f"{_TRUNK}.blocks.{{}}",
        f"{_VIT}.layers.{{}}",
        {
            "norm1": "layer_norm1",
            "norm2": "layer_norm2",
            "attn.proj": "attention.o_proj",
            "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2",
        },
    ),
    # The neck's levels: 4, 2, 1 and 1/2 times the grid.
    f"{_CONVS}.0.dconv_2x2_0": f"{_FPN}.0.scale_layers.0",
    f"{_CONVS}.0.dconv_2x2_1": f"{_FPN}.0.scale_layers.2",
    f"{_CONVS}.1.dconv_2x2": f"{_FPN}.1.scale_layers.0",
    f"{_CONVS}.{{}}.conv_1x1": f"{_FPN}.{{}}.proj1",
    f"{_CONVS}.{{}}.conv_3x3": f"{_FPN}.{{}}.proj2",
    f"{_VE}.token_embedding": f"{_CLIP}.embeddings.token_embedding",
    f"{_VE}.ln_final": f"{_CLIP}.final_layer_norm",
    **_layers(
        f"{_VE}.transformer.resblocks.{{}}",
        f"{_CLIP}.encoder.layers.{{}}",
        {
            "ln_1": "layer_norm1",
            "ln_2": "layer_norm2",
            "mlp.c_fc": "mlp.fc1",
            "mlp.c_proj": "mlp.fc2",
        },
    ),
    "backbone.language_backbone.resizer": "text_projection",
    **_layers(
        _GEOMETRY,
        _GEOMETRY,
        {
            "label_embed": "label_embed",
            "cls_embed": "cls_embed",
            "boxes_direct_project": "boxes_direct_project",
            "boxes_pool_project": "boxes_pool_project",
            "boxes_pos_enc_project": "boxes_pos_enc_project",
            "final_proj": "final_proj",
            "img_pre_norm": "vision_layer_norm",
            "norm": "prompt_layer_norm",
            "encode_norm": "output_layer_norm",
        },
    ),
    **_layers(f"{_GEOMETRY}.encode.{{}}", "geometry_encoder.layers.{}", _PRE_NORM),
    **_layers(f"{_ENCODER}.layers.{{}}", "detr_encoder.layers.{}", _PRE_NORM),
    **_layers(
        f"{_DECODER}.layers.{{}}",
        "detr_decoder.layers.{}",
        {
            "norm1": "vision_cross_attn_layer_norm",
            "catext_norm": "text_cross_attn_layer_norm",
            "norm2": "self_attn_layer_norm",
            "norm3": "mlp_layer_norm",
            "linear1": "mlp.fc1",
            "linear2": "mlp.fc2",
        },
    ),
    **_layers(
        _DECODER,
        "detr_decoder",
        {
            "norm": "output_layer_norm",
            "query_embed": "query_embed",
            "reference_points": "reference_points",
            "presence_token": "presence_token",
            "presence_token_out_norm": "presence_layer_norm",
        },
    ),
    **_layers(f"{_DECODER}.bbox_embed", "detr_decoder.box_head", _MLP),
    **_layers(f"{_DECODER}.presence_token_head", "detr_decoder.presence_head", _MLP),
    **_layers(f"{_DECODER}.ref_point_head", "detr_decoder.ref_point_head", _MLP),
    **_layers(f"{_DECODER}.boxRPB_embed_x", "detr_decoder.box_rpb_embed_x", _MLP),
    **_layers(f"{_DECODER}.boxRPB_embed_y", "detr_decoder.box_rpb_embed_y", _MLP),
    **_layers(
        _HEAD,
        _MASKS,
        {
            "pixel_decoder.conv_layers.{}": "pixel_decoder.conv_layers.{}",
            "pixel_decoder.norms.{}": "pixel_decoder.norms.{}",
            "mask_predictor.mask_embed.layers.{}": "mask_embedder.layers.{}",
            "instance_seg_head": "instance_projection",
            "semantic_seg_head": "semantic_projection",
            "cross_attn_norm": "prompt_cross_attn_norm",
        },
    ),
    **_layers(
        *_SCORING,
        {
            "prompt_mlp.layers.0": "text_mlp.layer1",
            "prompt_mlp.layers.1": "text_mlp.layer2",
            "prompt_mlp.out_norm": "text_mlp_out_norm",
            "prompt_proj": "text_proj",
            "hs_proj": "query_proj",
        },
    ),
}

# torch.nn.MultiheadAttention on Meta's side; the ViT's and CLIP's names differ.
_ATTENTION: dict[str, str] = {
    f"{_GEOMETRY}.encode.{{}}.self_attn": "geometry_encoder.layers.{}.self_attn",
    f"{_GEOMETRY}.encode.{{}}.cross_attn_image": "geometry_encoder.layers.{}.cross_attn",
    f"{_ENCODER}.layers.{{}}.self_attn": "detr_encoder.layers.{}.self_attn",
    f"{_ENCODER}.layers.{{}}.cross_attn_image": "detr_encoder.layers.{}.cross_attn",
    f"{_DECODER}.layers.{{}}.self_attn": "detr_decoder.layers.{}.self_attn",
    f"{_DECODER}.layers.{{}}.ca_text": "detr_decoder.layers.{}.text_cross_attn",
    f"{_DECODER}.layers.{{}}.cross_attn": "detr_decoder.layers.{}.vision_cross_attn",
    f"{_HEAD}.cross_attend_prompt": f"{_MASKS}.prompt_cross_attn",
}
_CLIP_ATTENTION = (
    f"{_VE}.transformer.resblocks.{{}}.attn",
    f"{_CLIP}.encoder.layers.{{}}.self_attn",
)

POINTS = tuple(
    f"{_GEOMETRY}.points_{name}.{part}"
    for name in ("direct_project", "pool_project", "pos_enc_project")
    for part in ("weight", "bias")
)
"""What only Meta's model has: the layers for points."""

# Spellings seen in the wild. Meta's own loader reads what is below "model", and "detector.".
_META_PREFIXES = re.compile(r"^(?:module\.|_orig_mod\.|sam3_model\.|detector\.)+")
_OLD_NAMES = {
    re.compile(r"^segmentation_head\.mask_embed\."): f"{_HEAD}.mask_predictor.mask_embed.",
    # The tracker of a Sam3Image that answers clicks, saved by itself.
    re.compile(r"^inst_interactive_predictor\.model\."): "tracker.",
}
_META_TRACKER = re.compile(r"^tracker\.|^backbone\.vision_backbone\.sam2_convs\.")
# Rotary tables, which the model computes, and has as buffers.
_META_COMPUTED = re.compile(r"\.attn\.freqs_cis$")


@cache
def _table() -> tuple[Entry, ...]:
    """Every entry, with {} for a layer's number."""

    def three(meta: str, ours: str, part: str) -> Entry:
        return Entry((meta,), tuple(f"{ours}.{x}_proj.{part}" for x in "qkv"), Change.THREE)

    def one(meta: str, ours: str, change: Change = Change.NONE) -> Entry:
        return Entry((meta,), (ours,), change)

    labels, table = tracker_keys.POINT_ROWS
    frequencies, places = tracker_keys.POSITIONS
    entries = [
        one(f"{_TRUNK}.pos_embed", f"{_VIT}.embeddings.position_embeddings", Change.WITHOUT_CLASS),
        one(f"{_VE}.positional_embedding", f"{_CLIP}.embeddings.position_embedding.weight"),
        one(f"{_VE}.text_projection", "text_encoder.text_projection.weight", Change.TRANSPOSED),
        *(one(meta, ours) for meta, ours in tracker_keys.TENSORS.items()),
        Entry(labels, (table,), Change.ROWS),
        Entry((frequencies,), places, Change.TWICE),
    ]
    for part in ("weight", "bias"):
        modules = _MODULES | tracker_keys.MODULES
        entries += [one(f"{m}.{part}", f"{t}.{part}") for m, t in modules.items()]
        for meta, ours in (*_ATTENTION.items(), _CLIP_ATTENTION):
            out = "out_proj" if (meta, ours) == _CLIP_ATTENTION else "o_proj"
            entries.append(three(f"{meta}.in_proj_{part}", ours, part))
            entries.append(one(f"{meta}.out_proj.{part}", f"{ours}.{out}.{part}"))
        block, layer = f"{_TRUNK}.blocks.{{}}.attn.qkv", f"{_VIT}.layers.{{}}.attention"
        entries.append(three(f"{block}.{part}", layer, part))
    return tuple(entries)


def _template(key: str) -> tuple[str, list[str]]:
    """A name with {} for its numbers, and the numbers."""
    numbers: list[str] = []

    def note(found: re.Match[str]) -> str:
        numbers.append(found[1])
        return ".{}" + found[2]

    return re.sub(r"\.(\d+)(\.|$)", note, key), numbers


@cache
def _by_template(name_of: Callable[[Entry], tuple[str, ...]]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in _table():
        for name in name_of(entry):
            found.setdefault(_template(name)[0], []).append(entry)
    return found


def _meta_names(entry: Entry) -> tuple[str, ...]:
    return entry.meta


def _transformers_names(entry: Entry) -> tuple[str, ...]:
    return entry.transformers


def _find(key: str, name_of: Callable[[Entry], tuple[str, ...]]) -> Entry | None:
    template, numbers = _template(key)
    for entry in _by_template(name_of).get(template, []):
        names = name_of(entry)
        # A number that the table itself names, such as an MLP's layer, must be that one.
        layer = numbers[: entry.meta[0].count("{}")]
        filled = Entry(
            tuple(n.format(*layer) for n in entry.meta),
            tuple(n.format(*layer) for n in entry.transformers),
            entry.change,
        )
        if key in (n.format(*layer) for n in names):
            return filled
    return None


def meta_entry(key: str) -> Entry | None:
    """The entry of Meta's name ``key``, without ``detector.``; None if the table has none."""
    return _find(key, _meta_names)


def transformers_entry(key: str) -> Entry | None:
    """The entry of transformers' name ``key``; None if the table has none."""
    return _find(key, _transformers_names)


def file_name(name: str) -> str:
    """What Meta's own file calls the tensor that the table calls ``name``."""
    return name if name.startswith("tracker.") else f"detector.{name}"


def split_meta_keys(keys: Iterable[str]) -> SplitKeys:
    """Names of a checkpoint of Meta's, in any spelling, by whose they are.

    Raises:
        SourceError: two names for one tensor.
    """
    return split_keys(keys, _META_PREFIXES, _META_TRACKER, _META_COMPUTED, _OLD_NAMES)
