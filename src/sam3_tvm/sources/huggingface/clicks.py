"""SAM 3's tracker, for clicks on pictures: transformers' ``Sam3TrackerModel``, cut into components.

The tracker shares the detector's vision backbone and has a neck of its own. In a checkpoint that
holds both (``facebook/sam3``) its weights are named ``tracker_model.*`` and ``tracker_neck.*``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Sam3Config
from transformers.initialization import no_init_weights
from transformers.models.sam3.modeling_sam3 import Sam3Model
from transformers.models.sam3_tracker.configuration_sam3_tracker import Sam3TrackerConfig
from transformers.models.sam3_tracker.modeling_sam3_tracker import Sam3TrackerModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)

from sam3_tvm.rules import ClickRules
from sam3_tvm.sizes import ClickSizes
from sam3_tvm.sources.huggingface.files import (
    making_a_model,
    read_json,
    read_tracker_config,
    tracker_vision,
)
from sam3_tvm.sources.huggingface.patches import all_masks
from sam3_tvm.sources.huggingface.resizing import follow
from sam3_tvm.sources.huggingface.video import fill, load_video
from sam3_tvm.sources.huggingface.weights import Stored, read_tensor, stored_tensors
from sam3_tvm.sources.random_weights import randomise, randomise_positions, seed_of
from sam3_tvm.sources.tensors import check_finite

__all__ = [
    "ClickDecoder",
    "PromptEncoder",
    "ResizeClickMasks",
    "TrackerNeck",
    "click_rules",
    "click_sizes",
    "random_tracker",
    "read_tracker",
]


class TrackerNeck(torch.nn.Module):
    """The backbone's features to the tracker's, the finer two as narrow as the decoder adds them.

    ``Sam3TrackerModel`` means to add its ``no_memory_embedding`` to the coarsest of them; in
    transformers 5.23 it adds it to a level that it then drops, and so this adds none.
    """

    def __init__(self, tracker: Sam3TrackerModel) -> None:
        super().__init__()
        self.neck = tracker.vision_encoder.neck
        self.conv_s0 = tracker.mask_decoder.conv_s0
        self.conv_s1 = tracker.mask_decoder.conv_s1
        self.size = tracker.prompt_encoder.image_embedding_size

    def forward(self, backbone: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        spatial = backbone.unflatten(1, self.size).permute(0, 3, 1, 2)
        # As of the detector's neck, the fourth level is used by nobody.
        fine, middle, coarse = self.neck(spatial)[0][:3]
        return self.conv_s0(fine), self.conv_s1(middle), coarse


class PromptEncoder(torch.nn.Module):
    """Points, corners of boxes and a mask to embeddings.

    Corners are points with labels of their own (2 and 3), embedded just like these; a point of
    label -1 closes every prompt, as it does in the reference.
    """

    def __init__(self, tracker: Sam3TrackerModel) -> None:
        super().__init__()
        self.prompt_encoder = tracker.prompt_encoder

    def forward(
        self,
        clicks: torch.Tensor,
        click_labels: torch.Tensor,
        mask_logits: torch.Tensor,
        mask_given: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        encoder = self.prompt_encoder
        # One object per row, where the reference has rows of pictures and objects in them.
        pixels = (clicks * encoder.input_image_size)[:, None]
        sparse = encoder._embed_points(pixels, click_labels[:, None], pad=True)
        none = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        embedded = encoder.mask_embed(mask_logits)
        return sparse[:, 0], torch.where(mask_given[:, None, None, None], embedded, none)


class ClickDecoder(torch.nn.Module):
    """Features and a prompt to all masks that the decoder proposes, with their predicted IoU.

    Which of them answer a click is for the caller: all but the first, or one, chosen by
    :class:`~sam3_tvm.rules.ClickRules`. Made for video, it gives their object pointers, too;
    of an object that isn't there, the one that says so.
    """

    position: torch.Tensor

    def __init__(
        self, tracker: Sam3TrackerModel, video: Sam3TrackerVideoModel | None = None
    ) -> None:
        super().__init__()
        self.mask_decoder = tracker.mask_decoder
        self.for_video = video is not None
        if video is not None:
            self.object_pointer_proj = video.object_pointer_proj
            self.no_object_pointer = video.no_object_pointer
        position = tracker.get_image_wide_positional_embeddings()
        self.register_buffer("position", position, persistent=False)

    def forward(
        self,
        tracker_0: torch.Tensor,
        tracker_1: torch.Tensor,
        tracker_2: torch.Tensor,
        sparse: torch.Tensor,
        dense: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        decoder = self.mask_decoder
        tokens: list[torch.Tensor] = []
        with (
            all_masks(decoder),
            # Removes itself.
            decoder.transformer.register_forward_hook(lambda *call: tokens.append(call[2][0])),
        ):
            masks, iou, _, object_logits = decoder(
                image_embeddings=tracker_2,
                image_positional_embeddings=self.position.expand(tracker_2.shape[0], -1, -1, -1),
                sparse_prompt_embeddings=sparse[:, None],
                dense_prompt_embeddings=dense,
                multimask_output=False,
                high_resolution_features=[tracker_0, tracker_1],
            )
        answer = masks[:, 0], iou[:, 0], object_logits[:, 0]
        if not self.for_video:
            return answer
        # The tokens of the masks follow the object's and the IoU's.
        of_masks = tokens[0][:, 0, 2 : 2 + decoder.num_mask_tokens]
        present = answer[2][..., None] > 0
        pointers = torch.where(present, self.object_pointer_proj(of_masks), self.no_object_pointer)
        return (*answer, pointers)


class ResizeClickMasks(torch.nn.Module):
    """Mask logits to the picture's size, as transformers' post-processing of clicks does it."""

    def forward(self, masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        resized = torch.nn.functional.interpolate(
            masks[None], size=size, mode="bilinear", align_corners=False
        )
        return resized[0] > 0


def click_sizes(tracker: Sam3TrackerModel, detector: Sam3Config) -> ClickSizes:
    """The sizes that the ABI needs.

    Args:
        tracker: the tracker.
        detector: the configuration of the detector beside it.
    """
    vision = tracker.config.vision_config
    own = vision.fpn_hidden_size != detector.vision_config.fpn_hidden_size
    return ClickSizes(
        backbone=vision.backbone_config.hidden_size,
        masks=tracker.mask_decoder.num_mask_tokens,
        hidden=vision.fpn_hidden_size if own else 0,
    )


def click_rules(tracker: Sam3TrackerModel) -> ClickRules:
    """How the tracker chooses one mask."""
    decoder = tracker.mask_decoder
    # Without the rule the first mask is taken, as by a rule that calls every mask stable.
    threshold = decoder.dynamic_multimask_stability_thresh
    return ClickRules(
        stability_delta=decoder.dynamic_multimask_stability_delta,
        stability_threshold=threshold if decoder.dynamic_multimask_via_stability else 0.0,
    )


def random_tracker(detector: Sam3Model, seed: int, **mask_decoder: Any) -> Sam3TrackerModel:
    """A tracker of seeded random weights beside a detector, whose backbone it shares.

    Args:
        detector: the detector, which stays as it is.
        seed: of the tracker's own weights.
        mask_decoder: of its configuration, what doesn't follow from the detector's.
    """
    vision = detector.config.vision_config
    backbone = vision.backbone_config
    config = Sam3TrackerConfig(
        prompt_encoder_config={
            "hidden_size": vision.fpn_hidden_size,
            "image_size": backbone.image_size,
            "patch_size": backbone.patch_size,
        },
        mask_decoder_config={"hidden_size": vision.fpn_hidden_size, **mask_decoder},
    )
    config.vision_config = vision
    tracker = _beside(detector, config)
    own = torch.nn.ModuleList(
        [
            tracker.vision_encoder.neck,
            tracker.prompt_encoder,
            tracker.mask_decoder,
            torch.nn.ParameterList([tracker.no_memory_embedding]),
        ]
    )
    # The detector's weights for a seed are what they were before there was a tracker.
    randomise(own, seed_of("tracker", seed))
    randomise_positions(tracker, seed_of("tracker's positions", seed))
    with torch.no_grad():
        # Most objects are there. Of those that aren't a film has empty masks, whatever is wrong.
        tracker.mask_decoder.pred_obj_score_head.proj_out.bias += 1
    return tracker


def read_tracker(
    folder: Path, detector: Sam3Model
) -> tuple[Sam3TrackerModel | None, Sam3TrackerVideoModel | None]:
    """The tracker of a checkpoint folder, beside its detector, for clicks and for video; None for
    what it doesn't hold.

    Raises:
        SourceError: a tracker that can't be read or made, or some of whose weights are missing.
    """
    described = read_json(folder / "config.json")
    if "tracker_config" not in described:
        return None, None
    tensors = _own_tensors(stored_tensors(folder))
    if not tensors:
        return None, None
    check_finite(folder, tensors.items())
    video = read_tracker_config(folder, detector.config)
    with making_a_model(folder, "tracker_config"):
        config = Sam3TrackerConfig(**described["tracker_config"] or {})
        config.vision_config = tracker_vision(config, detector.config)
        tracker = _beside(detector, config)
    wanted = {n for n in tracker.state_dict() if not n.startswith("vision_encoder.backbone.")}
    fill(tracker, wanted, tensors, "the tracker", folder)
    return tracker, load_video(tracker, video, tensors, folder)


def _beside(detector: Sam3Model, config: Sam3TrackerConfig) -> Sam3TrackerModel:
    """A tracker with the detector's backbone, and otherwise empty weights."""
    follow(config)
    with no_init_weights(), torch.device("meta"):
        tracker = Sam3TrackerModel(config)
    # Its own backbone goes before it would take memory.
    tracker.vision_encoder.backbone = torch.nn.Identity()
    tracker.to_empty(device="cpu")
    tracker.vision_encoder.backbone = detector.vision_encoder.backbone
    return tracker.eval()


def _own_tensors(stored: Mapping[str, Stored]) -> dict[str, torch.Tensor]:
    """The tracker's tensors in a checkpoint, by their names in ``Sam3TrackerModel``."""
    found: dict[str, torch.Tensor] = {}
    for key in stored:
        part, _, rest = key.partition(".")
        if part == "tracker_model":
            # Saved again by transformers 5.23, they have the prefix twice.
            found[rest.removeprefix("tracker_model.")] = read_tensor(stored, key)
        elif part == "tracker_neck":
            found[f"vision_encoder.neck.{rest}"] = read_tensor(stored, key)
    return found
