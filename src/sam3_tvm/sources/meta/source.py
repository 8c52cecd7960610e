"""SAM 3 from Meta's own package: ``Sam3Image`` and its tracker, unmodified, cut into components."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from sam3_tvm.rules import (
    ClickRules,
    ConceptVideoRules,
    Preprocessing,
    ReferenceRules,
    VideoRules,
)
from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.image_size import VisionShape
from sam3_tvm.sources.meta.build import (
    CONFIGS,
    build,
    build_tracker,
    config_for,
    resized,
    sizes_of,
)
from sam3_tvm.sources.meta.checkpoint import load_into, load_tracker, read_checkpoint
from sam3_tvm.sources.meta.components import COMPONENTS
from sam3_tvm.sources.meta.environment import installed_licence, meta_environment
from sam3_tvm.sources.meta.reference import MetaReference
from sam3_tvm.sources.meta.tracker_components import (
    TRACKER_COMPONENTS,
    click_rules,
    click_sizes,
    concept_video_rules,
    video_rules,
    video_sizes,
)
from sam3_tvm.sources.meta.tracker_reference import MetaClickReference, MetaVideoReference
from sam3_tvm.sources.meta.vocabulary import find_tokenizer
from sam3_tvm.sources.random_weights import byte_tokenizer, randomise, seed_of

__all__ = ["MetaSource"]

_VOCABULARY = 49408
"""CLIP's, which the builder doesn't name."""


class MetaSource:
    """Meta's ``Sam3Image`` as a :class:`~sam3_tvm.sources.base.Source`.

    Args:
        checkpoint: what the user called it.
        model: the ``Sam3Image`` with its weights.
        tokenizer: its tokenizer as JSON text.
        licence: that of the weights.
        vision: what decides how much its vision encoder computes.
        points: whether the weights have the layers for points.
        tracker: the ``Sam3TrackerPredictor`` with its weights, whose neck the model has; None
            where there is none.
        files: what the weights were read from.
    """

    kind = "meta"
    reference = ReferenceRules(
        geometry_without_boxes=True,
        mask_resize="logits",
        visual_text="visual",
        default_threshold=0.5,
    )
    pad_id = 0
    mask_by_id = True

    def __init__(
        self,
        checkpoint: str,
        model: Any,
        tokenizer: str,
        licence: Licence | None,
        vision: VisionShape,
        points: bool = True,
        tracker: Any = None,
        files: Sequence[Path] = (),
    ) -> None:
        self.checkpoint = checkpoint
        self.files = files
        self.model = model.eval()
        self.licence = licence
        self.vision = vision
        self.sizes = replace(sizes_of(model), points=points)
        self.clicks: ClickRules | None = None
        self.video: VideoRules | None = None
        self.video_concepts: ConceptVideoRules | None = None
        self.tracker = tracker
        if tracker is not None:
            clicks, video = click_sizes(model, tracker), video_sizes(tracker)
            self.sizes = replace(self.sizes, clicks=clicks, video=video)
            with meta_environment():
                self.clicks, self.video = click_rules(tracker), video_rules(tracker)
            self.video_concepts = concept_video_rules()
        self.preprocessing = Preprocessing(
            self.sizes.image, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 1 / 255
        )
        self._tokenizer = tokenizer

    @classmethod
    def open(cls, path: Path, tracked: bool = True, image_size: int | None = None) -> MetaSource:
        """A checkpoint file of Meta's, such as ``sam3.pt``; ``tracked``: with the tracker, if it
        has one; ``image_size``: side of its picture in pixels, None for SAM 3's.

        The tokenizer and the licence are looked for beside it, then in what is installed.

        Raises:
            SourceError: a file that isn't a SAM 3 checkpoint, or has a part of a tracker, no
                tokenizer for it, or no ``sam3`` package.
        """
        checkpoint = read_checkpoint(path)
        tokenizer = find_tokenizer(path.parent)
        config, vision = resized(config_for(checkpoint), image_size)
        tracked = tracked and bool(checkpoint.tracker)
        model = build(config, Tokenizer.from_str(tokenizer), tracked)
        points = load_into(model, checkpoint)
        tracker = build_tracker(config) if tracked else None
        if tracker is not None:
            load_tracker(tracker, model, checkpoint)
        licence = read_licence(path.parent) or installed_licence()
        return cls(str(path), model, tokenizer, licence, vision, points, tracker, [path])

    @classmethod
    def random(
        cls, checkpoint: str, tracked: bool = True, image_size: int | None = None
    ) -> MetaSource:
        """A model with seeded random weights: ``random:meta`` or ``random:meta-tiny``.

        Args:
            checkpoint: one of these names, optionally with a seed, such as ``random:meta:7``.
            tracked: with the tracker.
            image_size: side of its picture in pixels; None for its own.

        Raises:
            SourceError: another name, or no ``sam3`` package.
            ImageSizeError: a size that its vision encoder can't be given.
        """
        _, name, *rest = checkpoint.split(":")
        if name not in CONFIGS or len(rest) > 1 or not all(r.isdigit() for r in rest):
            accepted = ", ".join(f"random:{n}" for n in CONFIGS)
            raise SourceError(
                f"unknown checkpoint {checkpoint!r}; accepted are {accepted}, "
                "each optionally with a seed, such as random:meta:7"
            )
        config, vision = resized(CONFIGS[name](), image_size)
        vocabulary = config.get("VETextEncoder", {}).get("vocab_size", _VOCABULARY)
        tokenizer = byte_tokenizer(vocabulary)
        model = build(config, tokenizer, tracked)
        seed = int(rest[0]) if rest else 0
        # The detector's weights for a seed are what they were before there was a tracker.
        neck = model.backbone.vision_backbone
        necks, neck.sam2_convs = neck.sam2_convs, None
        randomise(model, seed)
        neck.sam2_convs = necks
        tracker = build_tracker(config) if tracked else None
        if tracker is not None:
            _randomise_tracker(tracker, necks, seed)
        return cls(checkpoint, model, tokenizer.to_str(), None, vision, tracker=tracker)

    def component(self, name: str) -> torch.nn.Module:
        """The module of one component; see :class:`~sam3_tvm.sources.base.Source`."""
        with meta_environment():
            if name in TRACKER_COMPONENTS:
                return TRACKER_COMPONENTS[name](self.model, self.tracker, self.sizes).eval()
            return COMPONENTS[name](self.model, self.sizes).eval()

    def patched(self) -> AbstractContextManager[None]:
        """The scope in which components can be run and exported."""
        return meta_environment()

    def tokenizer_json(self) -> str:
        """The tokenizer, in the format of the ``tokenizers`` library."""
        return self._tokenizer

    def vocabulary_size(self) -> int:
        """Number of token ids."""
        size: int = self.model.backbone.language_backbone.encoder.vocab_size
        return size

    def reference_segmenter(self) -> MetaReference:
        """``Sam3Image`` end to end."""
        return MetaReference(self.model, self.preprocessing)

    def reference_clicker(self) -> MetaClickReference | None:
        """``SAM3InteractiveImagePredictor`` end to end."""
        if self.sizes.clicks is None:
            return None
        return MetaClickReference(self.model, self.tracker, self.preprocessing)

    def reference_tracker(self) -> MetaVideoReference | None:
        """``Sam3TrackerPredictor`` end to end."""
        if self.sizes.video is None:
            return None
        return MetaVideoReference(self.model, self.tracker, self.preprocessing)

    def reference_concept_tracker(self) -> None:
        """None: Meta's own model for films by phrase has further rules, which ours hasn't."""


@torch.no_grad()
def _randomise_tracker(tracker: Any, neck: torch.nn.Module, seed: int) -> None:
    """Fill a tracker and its neck with seeded values, apart from the detector's."""
    randomise(torch.nn.ModuleList([tracker, neck]), seed_of("tracker", seed))
    generator = torch.Generator().manual_seed(seed_of("tracker's positions", seed))
    frequencies = tracker.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    frequencies.normal_(generator=generator)
    # Most objects are there. Of those that aren't a film has empty masks, whatever is wrong.
    tracker.sam_mask_decoder.pred_obj_score_head.layers[-1].bias += 1
