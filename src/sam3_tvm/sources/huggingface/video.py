"""SAM 3's tracker, for video: transformers' ``Sam3TrackerVideoModel``, cut into components.

Its prompt encoder, its mask decoder and its neck are those of the tracker for clicks; what it has
for itself attends to what is remembered of earlier frames, and makes memories of masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers.models.sam3_tracker_video.modeling_sam3_tracker_video as modeling
from transformers.initialization import no_init_weights
from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel
from transformers.models.sam3_tracker_video.configuration_sam3_tracker_video import (
    Sam3TrackerVideoConfig,
)
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)

from sam3_tvm.rules import VideoRules
from sam3_tvm.sizes import VideoSizes
from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.huggingface.files import making_a_model
from sam3_tvm.sources.huggingface.resizing import follow
from sam3_tvm.sources.random_weights import randomise, seed_of

__all__ = [
    "EnlargeMasks",
    "MemoryAttention",
    "MemoryEncoder",
    "ShownMask",
    "WithoutMemory",
    "fill",
    "load_video",
    "random_video",
    "video_rules",
    "video_sizes",
]

_LENT = ("vision_encoder", "prompt_encoder", "mask_decoder", "shared_image_embedding")


class WithoutMemory(torch.nn.Module):
    """A frame's features where nothing is remembered: with an embedding that says so."""

    def __init__(self, model: Sam3TrackerVideoModel) -> None:
        super().__init__()
        self.no_memory_embedding = model.no_memory_embedding

    def forward(self, tracker_2: torch.Tensor) -> torch.Tensor:
        return tracker_2 + self.no_memory_embedding.reshape(1, -1, 1, 1)


class MemoryAttention(torch.nn.Module):
    """A frame's features, conditioned on what is remembered of an object.

    The reference keeps each frame's positions with its memory; they are the same for all frames,
    and so are a constant here.
    """

    position: torch.Tensor
    memory_position: torch.Tensor

    def __init__(self, model: Sam3TrackerVideoModel) -> None:
        super().__init__()
        self.memory_attention = model.memory_attention
        self.temporal = model.memory_temporal_positional_encoding
        self.pointer_position = model.temporal_positional_encoding_projection_layer
        self.channels = model.mem_dim
        side = model.backbone_feature_sizes[-1][0]
        float32, cpu = torch.float32, torch.device("cpu")
        shape = torch.Size((1, model.hidden_dim, side, side))
        position = model.vision_encoder.neck.position_encoding(shape, cpu, float32)
        self.register_buffer("position", position.flatten(2).permute(2, 0, 1), persistent=False)
        shape = torch.Size((1, self.channels, side, side))
        position = model.memory_encoder.position_encoding(shape, cpu, float32)
        self.register_buffer("memory_position", position.flatten(2)[0].T, persistent=False)

    def forward(
        self,
        tracker_2: torch.Tensor,
        memories: torch.Tensor,
        memory_ages: torch.Tensor,
        pointers: torch.Tensor,
        pointer_ages: torch.Tensor,
    ) -> torch.Tensor:
        batch, hidden, height, width = tracker_2.shape
        # Age 0, of frames where the object was shown, has the last of the embeddings.
        last = self.temporal.shape[0] - 1
        index = torch.where(memory_ages == 0, last, memory_ages - 1)
        ages = self.temporal[index].reshape(batch, -1, 1, self.channels)
        positions = (self.memory_position + ages).flatten(1, 2)
        # A pointer is as wide as several memories, and is attended to as so many.
        parts = hidden // self.channels
        pointer_positions = self.pointer_position(
            modeling.get_1d_sine_pe(pointer_ages, dim=hidden)
        ).repeat_interleave(parts, dim=1)
        split = pointers.unflatten(2, (parts, self.channels)).flatten(1, 2)
        conditioned = self.memory_attention(
            current_vision_features=tracker_2.flatten(2).permute(2, 0, 1),
            current_vision_position_embeddings=self.position,
            memory=torch.cat([memories.flatten(1, 2), split], dim=1).transpose(0, 1),
            memory_posision_embeddings=torch.cat([positions, pointer_positions], 1).transpose(0, 1),
            num_object_pointer_tokens=split.shape[1],
        )
        # [1, B, S·S, D]: what comes of its transposing features that have grown an axis.
        return conditioned[0].transpose(1, 2).reshape(batch, hidden, height, width)


def _memory_size(model: Sam3TrackerVideoModel) -> tuple[int, int]:
    """Of the masks from which memories are made."""
    height, width = model.prompt_encoder.mask_input_size
    return 4 * height, 4 * width


class EnlargeMasks(torch.nn.Module):
    """Mask logits at the size from which memories are made, by way of the model's picture's."""

    def __init__(self, model: Sam3TrackerVideoModel) -> None:
        super().__init__()
        self.side = model.image_size
        self.size = _memory_size(model)

    def forward(self, mask_logits: torch.Tensor) -> torch.Tensor:
        pictured = F.interpolate(
            mask_logits, size=(self.side, self.side), mode="bilinear", align_corners=False
        )
        return F.interpolate(
            pictured, size=self.size, mode="bilinear", align_corners=False, antialias=True
        )


class ShownMask(torch.nn.Module):
    """A mask that shows the object, of zeros to ones, to what the prompt encoder takes of it, and
    to logits such as the mask decoder would give for it, also at the size from which memories are
    made."""

    def __init__(self, model: Sam3TrackerVideoModel) -> None:
        super().__init__()
        self.mask_downsample = model.mask_downsample
        self.size = model.prompt_encoder.mask_input_size
        self.memory_size = _memory_size(model)

    def forward(self, shown: torch.Tensor) -> tuple[torch.Tensor, ...]:
        prior = self._sized(self.mask_downsample(shown), self.size)
        # Logits of 10 and -10, as of Sam3TrackerVideoModel._use_mask_as_output.
        logits = shown * 20.0 - 10.0
        return prior, self._sized(logits, self.size), self._sized(logits, self.memory_size)

    def _sized(self, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)


class MemoryEncoder(torch.nn.Module):
    """A frame's features and an object's mask in it, to what is remembered of both.

    Masks of frames where somebody showed an object count as certain. The reference rounds memories
    to bfloat16, which is left to whoever keeps them.
    """

    def __init__(self, model: Sam3TrackerVideoModel) -> None:
        super().__init__()
        self.memory_encoder = model.memory_encoder
        self.absent = model.occlusion_spatial_embedding_parameter
        self.scale = model.config.sigmoid_scale_for_mem_enc
        self.bias = model.config.sigmoid_bias_for_mem_enc

    def forward(
        self,
        tracker_2: torch.Tensor,
        enlarged: torch.Tensor,
        object_logits: torch.Tensor,
        shown_here: torch.Tensor,
    ) -> torch.Tensor:
        certain = (enlarged > 0).to(enlarged.dtype)
        masks = torch.where(shown_here[:, None, None, None], certain, torch.sigmoid(enlarged))
        memory, _ = self.memory_encoder(tracker_2, masks * self.scale + self.bias)
        if self.absent is not None:
            hidden = (object_logits <= 0).to(memory.dtype)
            memory = memory + hidden[..., None, None] * self.absent[..., None, None]
        flat: torch.Tensor = memory.flatten(2).transpose(1, 2)
        return flat


def video_sizes(model: Sam3TrackerVideoModel) -> VideoSizes:
    """The sizes that the ABI needs."""
    config = model.config
    return VideoSizes(model.mem_dim, config.max_cond_frame_num + config.num_maskmem - 1)


def video_rules(model: Sam3TrackerVideoModel) -> VideoRules:
    """What is remembered, and how one mask of a frame is chosen."""
    config = model.config
    return VideoRules(
        shown_frames=config.max_cond_frame_num,
        last_frames=config.num_maskmem - 1,
        pointer_frames=config.max_object_pointers_in_encoder,
        multimask_points=(
            (config.multimask_min_pt_num, config.multimask_max_pt_num)
            if config.multimask_output_in_sam
            else (1, 0)
        ),
        multimask_tracking=config.multimask_output_for_tracking,
        absent_logit=modeling.NO_OBJ_SCORE,
    )


def random_video(clicks: Sam3TrackerModel, seed: int, **config: Any) -> Sam3TrackerVideoModel:
    """A model for video of seeded random weights beside a tracker for clicks, whose it shares.

    Args:
        clicks: the tracker for clicks, which stays as it is.
        seed: of the weights that it hasn't.
        config: of the model's configuration, what doesn't follow from the other's.
    """
    hidden = clicks.config.vision_config.fpn_hidden_size
    model = _beside(
        clicks,
        Sam3TrackerVideoConfig(
            prompt_encoder_config=clicks.config.prompt_encoder_config.to_dict(),
            mask_decoder_config=clicks.config.mask_decoder_config.to_dict(),
            image_size=clicks.config.vision_config.image_size,
            memory_attention_hidden_size=hidden,
            memory_encoder_hidden_size=hidden,
            mask_downsampler_embed_dim=hidden,
            memory_fuser_embed_dim=hidden,
            **config,
        ),
    )
    parts = [module for name, module in model.named_children() if name not in _LENT]
    own = torch.nn.ModuleList([*parts, torch.nn.ParameterList(model.parameters(recurse=False))])
    randomise(own, seed_of("video", seed))
    return model


def load_video(
    clicks: Sam3TrackerModel,
    config: Sam3TrackerVideoConfig,
    tensors: Mapping[str, torch.Tensor],
    where: Path,
) -> Sam3TrackerVideoModel | None:
    """The model for video beside a tracker for clicks; None where a checkpoint has none of it.

    Args:
        clicks: the tracker for clicks, whose modules it shares.
        config: its configuration.
        tensors: those of the checkpoint, by their names in the model.
        where: the checkpoint, for errors.

    Raises:
        SourceError: some of its weights are missing or don't fit, no model can be made of its
            configuration, or that asks for what isn't served here.
    """
    with making_a_model(where, "tracker_config"):
        model = _beside(clicks, config)
    wanted = {n for n in model.state_dict() if n.partition(".")[0] not in _LENT}
    # A tracker for clicks has one of these, too: the embedding that says that there is no memory.
    if tensors.keys().isdisjoint(wanted - clicks.state_dict().keys()):
        return None
    _check(config, where)
    fill(model, wanted, tensors, "the tracker for video", where)
    return model


def fill(
    model: torch.nn.Module,
    wanted: Set[str],
    tensors: Mapping[str, torch.Tensor],
    what: str,
    where: Path,
) -> None:
    """Load some of a model's weights, as float32, all of which must be there.

    Args:
        model: what takes them.
        wanted: their names.
        tensors: those of a checkpoint.
        what: the model, for errors.
        where: the checkpoint, for errors.

    Raises:
        SourceError: some are missing, or of other shapes than the model's.
    """
    if missing := sorted(wanted - tensors.keys()):
        raise SourceError(
            f"{where}: {len(missing)} weights of {what} are missing, such as {missing[0]}; "
            "nothing is filled in at random"
        )
    try:
        model.load_state_dict({n: tensors[n].float() for n in wanted}, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise SourceError(f"{where}: the weights of {what} don't fit it: {reason}") from error


def _check(config: Sam3TrackerVideoConfig, where: Path) -> None:
    """Refuse what transformers' model can be told to do and the components here don't."""
    if not config.enable_temporal_pos_encoding_for_object_pointers:
        raise SourceError(
            f"{where}: enable_temporal_pos_encoding_for_object_pointers must be true: pointers "
            "without their ages are not served"
        )
    for name in ("num_maskmem", "max_cond_frame_num", "max_object_pointers_in_encoder"):
        value = getattr(config, name)
        # To transformers -1 is no limit, for which there would be no bound to compile for.
        if value < 1:
            raise SourceError(f"{where}: {name} must be 1 or more, not {value}")


def _beside(clicks: Sam3TrackerModel, config: Sam3TrackerVideoConfig) -> Sam3TrackerVideoModel:
    """A model that shares what a tracker for clicks has, and is otherwise without weights."""
    config.vision_config = clicks.config.vision_config
    follow(config)
    with no_init_weights():
        model = Sam3TrackerVideoModel(config, remove_vision_encoder=True)
    model.vision_encoder = clicks.vision_encoder
    lent = {
        f"{part}.{name}": tensor
        for part in _LENT[1:]
        for name, tensor in getattr(clicks, part).state_dict().items()
    }
    model.load_state_dict(lent, strict=False, assign=True)
    return model.eval()
