"""The ABI's components for clicks and video as modules over Meta's own tracker.

They are called as ``Sam3TrackerBase`` calls them in ``_forward_sam_heads``,
``_prepare_memory_conditioned_features`` and ``_encode_new_memory``. Meta's modules take sequences
first, the ABI takes batches first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from sam3_tvm.rules import ClickRules, ConceptVideoRules, VideoRules
from sam3_tvm.sizes import ClickSizes, Sizes, VideoSizes

__all__ = [
    "TRACKER_COMPONENTS",
    "click_rules",
    "click_sizes",
    "concept_video_rules",
    "video_rules",
    "video_sizes",
]


class _TrackerNeck(torch.nn.Module):
    """The backbone's features to the tracker's; the finer two as the decoder adds them."""

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        # The last level is cut off (``scalp`` in Meta's builder).
        self.convs = model.backbone.vision_backbone.sam2_convs[:3]
        self.conv_s0 = tracker.sam_mask_decoder.conv_s0
        self.conv_s1 = tracker.sam_mask_decoder.conv_s1
        self.size = (sizes.grid, sizes.grid)

    def forward(self, backbone: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        spatial = backbone.transpose(1, 2).unflatten(2, self.size)
        fine, middle, coarse = (convs(spatial) for convs in self.convs)
        return self.conv_s0(fine), self.conv_s1(middle), coarse


class _PromptEncoder(torch.nn.Module):
    """Points, corners of boxes and a mask to embeddings.

    Meta has no label for padding (-10): prompts of different lengths are never together. Of the
    contract's it gets what transformers embeds it as, zeros.
    """

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = tracker.sam_prompt_encoder

    def forward(
        self,
        clicks: torch.Tensor,
        click_labels: torch.Tensor,
        mask_logits: torch.Tensor,
        mask_given: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = self.encoder
        pixels = clicks * encoder.input_image_size[0]
        sparse = encoder._embed_points(pixels, click_labels, pad=True)
        # The last is Meta's own point, which closes every prompt.
        padding = F.pad(click_labels == -10, (0, 1))[..., None]
        none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        dense = torch.where(
            mask_given[:, None, None, None], encoder._embed_masks(mask_logits), none
        )
        return torch.where(padding, torch.zeros_like(sparse), sparse), dense


class _ClickDecoder(torch.nn.Module):
    """Features and a prompt to all masks that the decoder proposes, with their predicted IoU, and
    for video their object pointers."""

    position: torch.Tensor

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        self.decoder = tracker.sam_mask_decoder
        self.for_video = sizes.video is not None
        if self.for_video:
            self.obj_ptr_proj = tracker.obj_ptr_proj
            self.no_obj_ptr = tracker.no_obj_ptr
        position = tracker.sam_prompt_encoder.get_dense_pe()
        self.register_buffer("position", position, persistent=False)

    def forward(
        self,
        tracker_0: torch.Tensor,
        tracker_1: torch.Tensor,
        tracker_2: torch.Tensor,
        sparse: torch.Tensor,
        dense: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        masks, iou, tokens, object_logits = self.decoder.predict_masks(
            image_embeddings=tracker_2,
            image_pe=self.position,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=[tracker_0, tracker_1],
        )
        if not self.for_video:
            return masks, iou, object_logits
        present = object_logits[..., None] > 0
        pointers = torch.where(present, self.obj_ptr_proj(tokens), self.no_obj_ptr)
        return masks, iou, object_logits, pointers


class _ResizeClickMasks(torch.nn.Module):
    """Mask logits to the picture's size, as both of Meta's predictors do it."""

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()

    def forward(self, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        resized = F.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)
        return resized[0] > 0


class _WithoutMemory(torch.nn.Module):
    """Features where nothing is remembered: with an embedding that says so."""

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        self.no_mem_embed = tracker.no_mem_embed

    def forward(self, tracker_2: torch.Tensor) -> torch.Tensor:
        return tracker_2 + self.no_mem_embed.reshape(1, -1, 1, 1)


class _MemoryAttention(torch.nn.Module):
    """A frame's features, conditioned on what is remembered of an object."""

    position: torch.Tensor
    memory_position: torch.Tensor

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        from sam3.model.sam3_tracker_utils import get_1d_sine_pe

        self.encoder = tracker.transformer.encoder
        self.temporal = tracker.maskmem_tpos_enc
        self.pointer_position = tracker.obj_ptr_tpos_proj
        self.channels = tracker.mem_dim
        self.sine = get_1d_sine_pe
        self.grid = sizes.grid
        here = torch.zeros(1, 1, sizes.grid, sizes.grid)
        position = model.backbone.vision_backbone.position_encoding(here)
        self.register_buffer("position", position.flatten(2).permute(2, 0, 1), persistent=False)
        position = tracker.maskmem_backbone.position_encoding(here)
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
            self.sine(pointer_ages, dim=hidden)
        ).repeat_interleave(parts, dim=1)
        split = pointers.unflatten(2, (parts, self.channels)).flatten(1, 2)
        out = self.encoder(
            src=[tracker_2.flatten(2).permute(2, 0, 1)],
            src_key_padding_mask=[None],
            src_pos=[self.position.expand(-1, batch, -1)],
            prompt=torch.cat([memories.flatten(1, 2), split], dim=1).transpose(0, 1),
            prompt_pos=torch.cat([positions, pointer_positions], dim=1).transpose(0, 1),
            prompt_key_padding_mask=None,
            feat_sizes=[(height, width)],
            num_obj_ptr_tokens=split.shape[1],
        )
        conditioned: torch.Tensor = out["memory"].permute(1, 2, 0)
        return conditioned.reshape(batch, hidden, height, width)


class _EnlargeMasks(torch.nn.Module):
    """Mask logits at the size of the model's picture, of which memories are made."""

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        self.size = (sizes.image, sizes.image)

    def forward(self, mask_logits: torch.Tensor) -> torch.Tensor:
        return F.interpolate(mask_logits, size=self.size, mode="bilinear", align_corners=False)


class _ShownMask(torch.nn.Module):
    """A mask that shows the object, of zeros and ones, to what the prompt encoder takes of it, and
    to logits for it, as ``add_new_mask`` and ``_use_mask_as_output`` make them.

    It comes in the size that Meta's predictor brings masks of any size to.
    """

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        self.mask_downsample = tracker.mask_downsample
        self.size = (tracker.low_res_mask_size, tracker.low_res_mask_size)

    def forward(self, shown: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = F.interpolate(
            shown * 20.0 - 10.0,
            size=self.size,
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        return self.mask_downsample(shown), logits


class _MemoryEncoder(torch.nn.Module):
    """A frame's features and an object's mask in it, to what is remembered of both.

    Meta's encoder resizes a mask once it is scaled; transformers' model resizes logits. Rounding
    to bfloat16 is left to whoever keeps memories.
    """

    def __init__(self, model: Any, tracker: Any, sizes: Sizes) -> None:
        super().__init__()
        self.encoder = tracker.maskmem_backbone
        self.absent = tracker.no_obj_embed_spatial
        self.scale = tracker.sigmoid_scale_for_mem_enc
        self.bias = tracker.sigmoid_bias_for_mem_enc

    def forward(
        self,
        tracker_2: torch.Tensor,
        enlarged: torch.Tensor,
        object_logits: torch.Tensor,
        shown_here: torch.Tensor,
    ) -> torch.Tensor:
        certain = (enlarged > 0).to(enlarged.dtype)
        masks = torch.where(shown_here[:, None, None, None], certain, torch.sigmoid(enlarged))
        out = self.encoder(tracker_2, masks * self.scale + self.bias, skip_mask_sigmoid=True)
        memory: torch.Tensor = out["vision_features"]
        hidden = (object_logits <= 0).to(memory.dtype)
        memory = memory + hidden[..., None, None] * self.absent[..., None, None]
        return memory.flatten(2).transpose(1, 2)


def click_sizes(model: Any, tracker: Any) -> ClickSizes:
    """The sizes that the ABI needs."""
    return ClickSizes(
        backbone=model.backbone.vision_backbone.trunk.channel_list[-1],
        masks=tracker.sam_mask_decoder.num_mask_tokens,
        without_memory=True,
    )


def video_sizes(tracker: Any) -> VideoSizes:
    """The sizes that the ABI needs."""
    memories = tracker.max_cond_frames_in_attn + tracker.num_maskmem - 1
    return VideoSizes(tracker.mem_dim, memories, tracker.input_mask_size)


def click_rules(tracker: Any) -> ClickRules:
    """How the tracker chooses one mask."""
    decoder = tracker.sam_mask_decoder
    return ClickRules(
        stability_delta=decoder.dynamic_multimask_stability_delta,
        stability_threshold=decoder.dynamic_multimask_stability_thresh,
    )


def video_rules(tracker: Any) -> VideoRules:
    """What is remembered, and how one mask of a frame is chosen."""
    from sam3.model.sam3_tracker_base import NO_OBJ_SCORE

    return VideoRules(
        shown_frames=tracker.max_cond_frames_in_attn,
        last_frames=tracker.num_maskmem - 1,
        pointer_frames=tracker.max_obj_ptrs_in_encoder,
        multimask_points=(tracker.multimask_min_pt_num, tracker.multimask_max_pt_num),
        multimask_tracking=tracker.multimask_output_for_tracking,
        absent_logit=NO_OBJ_SCORE,
        masks_like_points=True,
        pointers_of_chosen=True,
    )


def concept_video_rules() -> ConceptVideoRules:
    """How objects of phrases are found in a film.

    The numbers are those of ``build_sam3_video_model`` and, for what that leaves to
    ``Sam3VideoBase``, of its code. The rules that they are for are transformers'
    ``Sam3VideoModel``'s.
    """
    return ConceptVideoRules(
        score_threshold_detection=0.5,
        det_nms_thresh=0.1,
        assoc_iou_thresh=0.1,
        trk_assoc_iou_thresh=0.5,
        new_det_thresh=0.7,
        recondition_on_trk_masks=True,
        hotstart_delay=15,
        hotstart_unmatch_thresh=8,
        hotstart_dup_thresh=8,
        suppress_unmatched_only_within_hotstart=True,
        init_trk_keep_alive=30,
        max_trk_keep_alive=30,
        min_trk_keep_alive=-1,
        suppress_overlapping_based_on_recent_occlusion_threshold=0.7,
        decrease_trk_keep_alive_for_empty_masklets=False,
        fill_hole_area=16,
        max_num_objects=10_000,
        recondition_every_nth_frame=16,
        high_conf_thresh=0.8,
        high_iou_thresh=0.8,
    )


TRACKER_COMPONENTS: dict[str, Callable[[Any, Any, Sizes], torch.nn.Module]] = {
    "tracker_neck": _TrackerNeck,
    "prompt_encoder": _PromptEncoder,
    "click_decoder": _ClickDecoder,
    "resize_click_masks": _ResizeClickMasks,
    "without_memory": _WithoutMemory,
    "memory_attention": _MemoryAttention,
    "enlarge_masks": _EnlargeMasks,
    "shown_mask": _ShownMask,
    "memory_encoder": _MemoryEncoder,
}
"""Makes each component of a ``Sam3Image`` and its tracker, inside ``meta_environment``."""
