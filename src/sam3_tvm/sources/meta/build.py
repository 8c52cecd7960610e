"""Meta's image model and tracker by Meta's own builder, at their real size and at smaller ones.

The builder has every size written into its calls. A smaller model is the same builder with other
values for some arguments of the classes that it calls; nothing else differs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers.initialization import no_init_weights

from sam3_tvm.sizes import Sizes
from sam3_tvm.sources.image_size import VisionShape
from sam3_tvm.sources.meta.checkpoint import Checkpoint
from sam3_tvm.sources.meta.environment import meta_environment
from sam3_tvm.sources.patches import attribute

__all__ = [
    "CONFIGS",
    "Config",
    "MetaTokenizer",
    "build",
    "build_tracker",
    "config_for",
    "resized",
    "sizes_of",
]

_D, _HEADS, _FFN = 64, 4, 128
_SIDE, _GRID = 168, 12

Config = Mapping[str, Mapping[str, Any]]
"""What classes get in place of the builder's own arguments, by their name in the builder."""


def _meta() -> Config:
    return {}


def _tiny() -> Config:
    """The same architecture at a sixth of the side and a fraction of the width and depth.

    Two windowed layers and two global ones, and every branch of the detector, in less than two
    million parameters.
    """
    return {
        "ViT": {
            "img_size": _SIDE,
            "pretrain_img_size": 56,
            "embed_dim": 96,
            "depth": 4,
            "num_heads": 3,
            "mlp_ratio": 2.5,
            "global_att_blocks": (1, 3),
            "window_size": 4,
        },
        "Sam3DualViTDetNeck": {"d_model": _D},
        "PositionEmbeddingSine": {"num_pos_feats": _D, "precompute_resolution": None},
        "VETextEncoder": {"d_model": _D, "width": 64, "heads": 4, "layers": 2, "vocab_size": 600},
        "MultiheadAttention": {"embed_dim": _D, "num_heads": _HEADS},
        "TransformerEncoderLayer": {"d_model": _D, "dim_feedforward": _FFN},
        "TransformerEncoderFusion": {"d_model": _D, "num_layers": 2},
        "TransformerDecoderLayer": {"d_model": _D, "dim_feedforward": _FFN, "n_heads": _HEADS},
        "TransformerDecoder": {
            "d_model": _D,
            "num_layers": 3,
            "num_queries": 20,
            "resolution": _SIDE,
        },
        "TransformerWrapper": {"d_model": _D},
        "DotProductScoring": {"d_model": _D, "d_proj": _D},
        "MLP": {
            "input_dim": _D,
            "hidden_dim": _FFN,
            "output_dim": _D,
            "out_norm": torch.nn.LayerNorm(_D),
        },
        "PixelDecoder": {"hidden_dim": _D},
        "UniversalSegmentationHead": {"hidden_dim": _D},
        "SequenceGeometryEncoder": {"d_model": _D, "num_layers": 2},
        # The tracker's. Its memories are 64 wide, as SAM 3's are.
        "Sam3TrackerPredictor": {"image_size": _SIDE},
        "SimpleMaskDownSampler": {"embed_dim": _D, "interpol_size": [16 * _GRID] * 2},
        "CXBlock": {"dim": _D},
        "SimpleMaskEncoder": {"in_dim": _D},
        "RoPEAttention": {"embedding_dim": _D, "feat_sizes": [_GRID, _GRID]},
        "TransformerDecoderLayerv2": {"d_model": _D, "dim_feedforward": _FFN},
        "TransformerEncoderCrossAttention": {"d_model": _D, "num_layers": 2},
        "TwoWayTransformer": {"mlp_dim": _FFN, "num_heads": _HEADS},
        "MaskDecoder": {"iou_head_hidden_dim": 48},
    }


CONFIGS: dict[str, Callable[[], Config]] = {"meta": _meta, "meta-tiny": _tiny}
"""Configurations by the name after ``random:``."""


# Of the builder's own arguments, those that decide how much the vision encoder computes.
_VIT = {
    "img_size": 1008,
    "patch_size": 14,
    "window_size": 24,
    "depth": 32,
    "global_att_blocks": (7, 15, 23, 31),
    "embed_dim": 1024,
    "mlp_ratio": 4.625,
}


def _vision_shape(config: Config) -> VisionShape:
    """The vision encoder that a configuration describes."""
    vit: dict[str, Any] = {**_VIT, **config.get("ViT", {})}
    return VisionShape(
        image=vit["img_size"],
        own=vit["img_size"],
        patch=vit["patch_size"],
        window=vit["window_size"],
        layers=vit["depth"],
        whole=len(vit["global_att_blocks"]),
        width=vit["embed_dim"],
        hidden=int(vit["embed_dim"] * vit["mlp_ratio"]),
    )


def resized(config: Config, image: int | None) -> tuple[Config, VisionShape]:
    """A configuration for pictures of another size, itself for None or its own; and the vision
    encoder that it then describes.

    Raises:
        ImageSizeError: a size that its vision encoder can't be given.
    """
    shape = _vision_shape(config).at(image)
    if shape.image == shape.own:
        return config, shape
    changed: Config = {
        "ViT": {"img_size": image},
        "PositionEmbeddingSine": {"precompute_resolution": None},
        "TransformerDecoder": {"resolution": image},
        "Sam3TrackerPredictor": {"image_size": image},
        "SimpleMaskDownSampler": {"interpol_size": [16 * shape.grid] * 2},
        "RoPEAttention": {"feat_sizes": [shape.grid] * 2},
    }
    names = {*config, *changed}
    merged = {name: {**config.get(name, {}), **changed.get(name, {})} for name in names}
    return merged, shape


def config_for(checkpoint: Checkpoint) -> Config:
    """The configuration whose vision encoder has the width of a checkpoint's; else the real one,
    against which the checkpoint's tensors will be held."""
    embedding = checkpoint.tensors.get("backbone.vision_backbone.trunk.pos_embed")
    for make in CONFIGS.values():
        config = make()
        width = config.get("ViT", {}).get("embed_dim")
        if width is not None and embedding is not None and embedding.shape[-1] == width:
            return config
    return _meta()


class MetaTokenizer:
    """A tokenizer called as Meta's: texts to ids ``[B, context_length]``, padded with 0.

    Phrases that are too long are cut, and end in the last token that they would have ended in.
    """

    def __init__(self, rules: Tokenizer) -> None:
        self.rules = rules

    def __call__(self, texts: str | list[str], context_length: int) -> torch.Tensor:
        texts = [texts] if isinstance(texts, str) else texts
        ids = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            tokens = self.rules.encode(text).ids
            kept = tokens[:context_length]
            kept[-1] = tokens[-1]
            row[: len(kept)] = torch.tensor(kept)
        return ids


def _with_arguments(call: Callable[..., Any], arguments: Mapping[str, Any]) -> Callable[..., Any]:
    def changed(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **{**kwargs, **arguments})

    return changed


@contextmanager
def _builder(config: Config) -> Iterator[Any]:
    """Meta's builder, with a configuration's values for arguments of the classes that it calls."""
    with meta_environment(), ExitStack() as stack:
        from sam3 import model_builder
        from sam3.model import sam3_tracker_base

        for name, arguments in config.items():
            # The tracker makes its heads itself.
            module = model_builder if hasattr(model_builder, name) else sam3_tracker_base
            replaced = _with_arguments(getattr(module, name), arguments)
            stack.enter_context(attribute(module, name, replaced))
        stack.enter_context(no_init_weights())
        yield model_builder


def build(config: Config, tokenizer: Tokenizer, tracked: bool = False) -> Any:
    """Meta's ``Sam3Image`` in float32 on the CPU, for inference.

    Args:
        config: what one of :data:`CONFIGS` gives.
        tokenizer: for phrases. The builder would read a file of merges that the package's
            wheel doesn't bring.
        tracked: with the tracker's neck beside the detector's.

    Returns:
        The model, with parameters of no particular value.
    """
    changes = {name: dict(arguments) for name, arguments in config.items()}
    # The head would checkpoint activations at inference, too.
    changes.setdefault("UniversalSegmentationHead", {})["act_ckpt"] = False
    # The builder would add it together with a predictor that transforms pictures by torchvision.
    changes.setdefault("Sam3DualViTDetNeck", {})["add_sam2_neck"] = tracked
    with _builder(changes) as model_builder:
        made = MetaTokenizer(tokenizer)
        with attribute(model_builder, "SimpleTokenizer", lambda bpe_path: made):
            model = model_builder.build_sam3_image_model(device="cpu", load_from_HF=False)
        _fill_caches(model)
        return model.requires_grad_(False)


def build_tracker(config: Config) -> Any:
    """Meta's ``Sam3TrackerPredictor``, as its image model has it for clicks, in float32 on the CPU.

    Args:
        config: what one of :data:`CONFIGS` gives.

    Returns:
        The tracker without a backbone, with parameters of no particular value.
    """
    with _builder(config) as model_builder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Disabling autocast", category=UserWarning)
        tracker = model_builder.build_tracker(apply_temporal_disambiguation=False)
        # Its constructor enters autocast to bfloat16 on CUDA for the whole process.
        tracker.bf16_context.__exit__(None, None, None)
        memory = tracker.maskmem_backbone
        if isinstance(memory.out_proj, torch.nn.Identity):
            # Meta's class leaves it out where memories are as wide as features, which they are in
            # the small model alone.
            width = memory.pix_feat_proj.out_channels
            memory.out_proj = torch.nn.Conv2d(width, width, kernel_size=1)
        encoding = memory.position_encoding
        encoding(torch.zeros(1, 1, *[tracker.sam_image_embedding_size] * 2))
        return tracker.requires_grad_(False).eval()


@torch.no_grad()
def _fill_caches(model: Any) -> None:
    """Compute the position encodings that the neck keeps, before anything is traced."""
    grid = sizes_of(model).grid
    encoding = model.backbone.vision_backbone.position_encoding
    for side in (4 * grid, 2 * grid, grid, grid // 2):
        encoding(torch.zeros(1, 1, side, side))


def sizes_of(model: Any) -> Sizes:
    """The static sizes of a ``Sam3Image``."""
    trunk, decoder = model.backbone.vision_backbone.trunk, model.transformer.decoder
    # Rotary tables of the global layers have a row per patch.
    grid = trunk.blocks[trunk.full_attn_ids[0]].attn.input_size[0]
    return Sizes(
        image=grid * trunk.patch_embed.proj.stride[0],
        grid=grid,
        hidden=model.hidden_dim,
        text_tokens=model.backbone.language_backbone.context_length,
        queries=decoder.num_queries,
        heads=decoder.layers[0].cross_attn.num_heads,
        points=True,
    )
