"""SAM 3 from Hugging Face transformers: what a name leads to, and the modules of its components."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from sam3_tvm.rules import (
    ClickRules,
    ConceptVideoRules,
    Preprocessing,
    ReferenceRules,
    VideoRules,
)
from sam3_tvm.sizes import Sizes
from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.huggingface.architectures import (
    ARCHITECTURES,
    architecture_of,
    find_random,
)
from sam3_tvm.sources.huggingface.clicks import (
    ClickDecoder,
    PromptEncoder,
    ResizeClickMasks,
    TrackerNeck,
    click_rules,
    click_sizes,
    random_tracker,
    read_tracker,
)
from sam3_tvm.sources.huggingface.clicks_reference import TrackerReference
from sam3_tvm.sources.huggingface.concepts import (
    DetrDecoder,
    DetrEncoder,
    GeometryEncoder,
    MaskDecoder,
    ResizeMasks,
    Scoring,
    TextEncoder,
    VisionEncoder,
)
from sam3_tvm.sources.huggingface.files import (
    checkpoint_folder,
    model_shapes,
    read_config,
    read_json,
    read_pad_id,
    read_tokenizer,
)
from sam3_tvm.sources.huggingface.patches import patched
from sam3_tvm.sources.huggingface.processing import phrase_length, read_preprocessing
from sam3_tvm.sources.huggingface.reference import TransformersReference
from sam3_tvm.sources.huggingface.resizing import resize
from sam3_tvm.sources.huggingface.video import (
    EnlargeMasks,
    MemoryAttention,
    MemoryEncoder,
    ShownMask,
    WithoutMemory,
    random_video,
    video_rules,
    video_sizes,
)
from sam3_tvm.sources.huggingface.video_concepts import (
    concept_video_rules,
    read_concept_video_rules,
)
from sam3_tvm.sources.huggingface.video_concepts_reference import TransformersConceptReference
from sam3_tvm.sources.huggingface.video_reference import TrackerVideoReference
from sam3_tvm.sources.huggingface.weights import (
    check_quantisation,
    check_weights,
    stored_tensors,
)
from sam3_tvm.sources.image_size import VisionShape
from sam3_tvm.sources.random_weights import byte_tokenizer, randomise
from sam3_tvm.sources.tensors import check_finite

__all__ = ["TransformersSource"]


class TransformersSource:
    """``Sam3Model``, or another architecture with its parts, as a
    :class:`~sam3_tvm.sources.base.Source`."""

    kind = "transformers"
    mask_by_id = False
    reference = ReferenceRules(
        geometry_without_boxes=False,
        mask_resize="probabilities",
        visual_text="visual",
        default_threshold=0.3,
    )

    def __init__(
        self,
        checkpoint: str,
        model: Any,
        vision: VisionShape,
        tokenizer: str,
        pad_id: int,
        preprocessing: Preprocessing,
        licence: Licence | None,
        tracker: Any = None,
        video: Any = None,
        concept_rules: ConceptVideoRules | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        self.checkpoint = checkpoint
        self.files = files
        self.model = model.eval()
        self.tracker = tracker
        self.video_tracker = video
        self.preprocessing = preprocessing
        self.licence = licence
        self._tokenizer = tokenizer
        self.pad_id = pad_id
        self.sizes = _sizes(model.config)
        self.vision = vision
        self.clicks: ClickRules | None = None
        self.video: VideoRules | None = None
        self.video_concepts: ConceptVideoRules | None = None
        if tracker is not None:
            self.sizes = replace(self.sizes, clicks=click_sizes(tracker, model.config))
            self.clicks = click_rules(tracker)
        if video is not None:
            self.sizes = replace(self.sizes, video=video_sizes(video))
            self.video = video_rules(video)
            self.video_concepts = concept_rules or concept_video_rules({})

    @classmethod
    def open(
        cls, checkpoint: str, tracked: bool = True, image_size: int | None = None
    ) -> TransformersSource:
        """See :func:`sam3_tvm.sources.open_source`; ``tracked``: with a tracker, if it has one."""
        if checkpoint.startswith("random:"):
            return cls._random(checkpoint, tracked, image_size)
        return cls._folder(checkpoint, checkpoint_folder(checkpoint), tracked, image_size)

    @classmethod
    def _random(cls, checkpoint: str, tracked: bool, image_size: int | None) -> TransformersSource:
        _, name, *rest = checkpoint.split(":")
        found = find_random(name)
        if found is None or len(rest) > 1 or not all(r.isdigit() for r in rest):
            accepted = ", ".join(f"random:{n}" for a in ARCHITECTURES.values() for n in a.random)
            raise SourceError(
                f"unknown checkpoint {checkpoint!r}; accepted are {accepted}, "
                "each optionally with a seed, such as random:tiny:7"
            )
        architecture, made = found
        config = made.config()
        vision = resize(config, image_size)
        with no_init_weights():
            model = architecture.model(config)
        seed = int(rest[0]) if rest else 0
        randomise(model, seed)
        tracker = video = None
        if tracked and made.clicks is not None:
            tracker = random_tracker(model, seed, **made.clicks)
            video = random_video(tracker, seed, **made.video)
        vocabulary = config.text_config.vocab_size
        tokenizer = byte_tokenizer(vocabulary).to_str()
        preprocessing = read_preprocessing(None, config.image_size)
        return cls(
            checkpoint,
            model,
            vision,
            tokenizer,
            vocabulary - 1,
            preprocessing,
            None,
            tracker,
            video,
        )

    @classmethod
    def _folder(
        cls, checkpoint: str, folder: Path, tracked: bool, image_size: int | None
    ) -> TransformersSource:
        for needed in ("config.json", "tokenizer.json"):
            if not (folder / needed).is_file():
                raise SourceError(
                    f"{folder} has no {needed}; a checkpoint folder holds config.json, "
                    "model.safetensors and tokenizer.json"
                )
        tokenizer = read_tokenizer(folder / "tokenizer.json")
        pad_id = read_pad_id(folder, tokenizer)
        config = read_config(folder)
        preprocessing = read_preprocessing(folder, config.image_size)
        described = read_json(folder / "config.json")
        check_quantisation(folder, described)
        stored = stored_tensors(folder)
        check_weights(folder, stored, model_shapes(config, folder))
        vision = resize(config, image_size)
        preprocessing = replace(preprocessing, image_size=config.image_size)
        try:
            with _without_progress_bar():
                model, report = architecture_of(config).model.from_pretrained(
                    folder, config=config, dtype=torch.float32, output_loading_info=True
                )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SourceError(f"{folder} is no SAM 3 checkpoint: {reason}") from error
        for fault in ("missing_keys", "mismatched_keys"):
            if report[fault]:
                raise SourceError(
                    f"{folder}: {len(report[fault])} {fault.replace('_', ' ')} in the weights, "
                    f"such as {sorted(map(str, report[fault]))[0]}; nothing is filled in at random"
                )
        check_finite(folder, model.state_dict().items())
        return cls(
            checkpoint,
            model,
            vision,
            tokenizer,
            pad_id,
            preprocessing,
            read_licence(folder),
            *(read_tracker(folder, model) if tracked else (None, None)),
            read_concept_video_rules(folder, described) if tracked else None,
            [folder / "config.json", *sorted({tensor.path for tensor in stored.values()})],
        )

    def component(self, name: str) -> torch.nn.Module:
        """The module of one component; see :class:`~sam3_tvm.sources.base.Source`."""
        model, sizes = self.model, self.sizes
        makers: dict[str, Callable[[], torch.nn.Module]] = {
            "vision_encoder": lambda: VisionEncoder(model, sizes.clicks is not None),
            "text_encoder": lambda: TextEncoder(model),
            "geometry_encoder": lambda: GeometryEncoder(model, sizes),
            "detr_encoder": lambda: DetrEncoder(model, sizes),
            "detr_decoder": lambda: DetrDecoder(model, sizes),
            "scoring": lambda: Scoring(model),
            "mask_decoder": lambda: MaskDecoder(model),
            "resize_masks": ResizeMasks,
            "tracker_neck": lambda: TrackerNeck(self.tracker),
            "prompt_encoder": lambda: PromptEncoder(self.tracker),
            "click_decoder": lambda: ClickDecoder(
                self.tracker, self.video_tracker if sizes.video is not None else None
            ),
            "resize_click_masks": ResizeClickMasks,
            "without_memory": lambda: WithoutMemory(self.video_tracker),
            "memory_attention": lambda: MemoryAttention(self.video_tracker),
            "enlarge_masks": lambda: EnlargeMasks(self.video_tracker),
            "shown_mask": lambda: ShownMask(self.video_tracker),
            "memory_encoder": lambda: MemoryEncoder(self.video_tracker),
        }
        return makers[name]().eval()

    def patched(self) -> AbstractContextManager[None]:
        """The scope in which components can be run and exported."""
        return patched(architecture_of(self.model.config).module)

    def tokenizer_json(self) -> str:
        """The tokenizer, in the format of the ``tokenizers`` library."""
        return self._tokenizer

    def vocabulary_size(self) -> int:
        """Number of token ids."""
        size: int = self.model.config.text_config.vocab_size
        return size

    def reference_segmenter(self) -> TransformersReference:
        """The model end to end."""
        return TransformersReference(
            self.model, self._tokenizer, self.pad_id, self.preprocessing, self.patched
        )

    def reference_clicker(self) -> TrackerReference | None:
        """``Sam3TrackerModel`` end to end."""
        if self.sizes.clicks is None:
            return None
        return TrackerReference(self.tracker, self.preprocessing)

    def reference_tracker(self) -> TrackerVideoReference | None:
        """``Sam3TrackerVideoModel`` end to end."""
        if self.sizes.video is None:
            return None
        # At SAM 3's size float64 would take twice the minutes, and a pixel there is little.
        double = self.sizes.image <= 512
        return TrackerVideoReference(self.video_tracker, self.preprocessing, double)

    def reference_concept_tracker(self) -> TransformersConceptReference | None:
        """``Sam3VideoModel`` end to end."""
        if self.sizes.video is None:
            return None
        return TransformersConceptReference(
            self.model, self.video_tracker, self._tokenizer, self.pad_id, self.preprocessing
        )


def _sizes(config: Any) -> Sizes:
    vision = config.vision_config.backbone_config
    return Sizes(
        image=vision.image_size,
        grid=vision.image_size // vision.patch_size,
        hidden=config.detr_encoder_config.hidden_size,
        text_tokens=phrase_length(config),
        queries=config.detr_decoder_config.num_queries,
        heads=config.detr_decoder_config.num_attention_heads,
    )


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """transformers draws a bar over what is printed here, also before the one line of an error."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
