"""What transformers' ``Sam3VideoModel`` finds of phrases in a film, for comparison.

Nothing of our runtime is used. The model is made of a source's own detector and trackers, and what
it gives is finished by the code of ``Sam3VideoProcessor``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
import transformers.models.sam3_video.modeling_sam3_video as modeling
import transformers.models.sam3_video.processing_sam3_video as processing
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.initialization import no_init_weights
from transformers.models.sam3.modeling_sam3 import Sam3Model
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

from sam3_tvm.rules import ConceptVideoRules, Preprocessing
from sam3_tvm.sources.base import ConceptFrame, pixel_values
from sam3_tvm.sources.huggingface.patches import (
    cpu_kernels,
    pointers_of_any_width,
    removals_last,
)
from sam3_tvm.sources.huggingface.processing import phrase_length
from sam3_tvm.sources.patches import attribute

__all__ = ["ConceptFilm", "TransformersConceptReference", "video_model"]


class _Session(modeling.Sam3VideoInferenceSession):
    """Counts the ages of object pointers by the same measure whatever the film's length; see
    :mod:`sam3_tvm.sources.huggingface.video_reference`."""

    least_frames = 0

    @property
    def num_frames(self) -> int | None:
        stated: int | None = super().num_frames
        return None if stated is None else max(stated, self.least_frames)


def video_model(
    detector: Sam3Model, tracker: Sam3TrackerVideoModel, rules: ConceptVideoRules
) -> Any:
    """A ``Sam3VideoModel`` of a detector and a tracker, whose weights it shares."""
    config = Sam3VideoConfig(
        detector_config=detector.config.to_dict(),
        tracker_config=tracker.config.to_dict(),
        low_res_mask_size=tracker.prompt_encoder.mask_input_size[0],
        **asdict(rules),
    )
    with no_init_weights(), torch.device("meta"):
        model = modeling.Sam3VideoModel(config)
    model.detector_model, model.tracker_model = detector, tracker
    model.tracker_neck = tracker.vision_encoder.neck
    return model.eval()


class ConceptFilm:
    """One session of ``Sam3VideoModel``.

    Args:
        model: of :func:`video_model`.
        tokenizer: its tokenizer as JSON text.
        pad_id: the id that pads phrases.
        preprocessing: how frames become ``pixel_values``.
        phrases: what is looked for.
        frames: the film, ``[H, W, 3]`` of 8-bit RGB each; None for frames that come one by one.
        as_published: whether transformers' code stays as it is where objects are removed; see
            :func:`~sam3_tvm.sources.huggingface.patches.removals_last`.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: str,
        pad_id: int,
        preprocessing: Preprocessing,
        phrases: Sequence[str],
        frames: Sequence[NDArray[np.uint8]] | None,
        as_published: bool = False,
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self._as_published = as_published
        video = None
        self._count = 0
        if frames is not None:
            self._count = len(frames)
            video = torch.cat([pixel_values(frame, preprocessing) for frame in frames])
        self.session = _Session(video=video, dtype=torch.float32)
        if frames is not None:
            self.session.video_height, self.session.video_width = frames[0].shape[:2]
        self.session.least_frames = model.tracker_model.config.max_object_pointers_in_encoder
        rules = Tokenizer.from_str(tokenizer)
        encode = PreTrainedTokenizerFast(
            tokenizer_object=rules, pad_token=rules.id_to_token(pad_id)
        )
        length = phrase_length(model.detector_model.config)
        for phrase in phrases:
            number = self.session.add_prompt(phrase)
            tokens = encode([phrase], padding="max_length", max_length=length, return_tensors="pt")
            self.session.prompt_input_ids[number] = tokens["input_ids"]
            self.session.prompt_attention_masks[number] = tokens["attention_mask"]

    def propagate(self, reverse: bool = False) -> Iterator[ConceptFrame]:
        """All frames, through its own ``propagate_in_video_iterator``."""
        order = range(self._count - 1, -1, -1) if reverse else range(self._count)

        # Its own takes the film's length from the session, to which another is stated.
        def ordered(*_: Any, **__: Any) -> tuple[range, int]:
            return order, order[-1]

        passing = self.model.propagate_in_video_iterator(self.session, reverse=reverse)
        with self._scope(), attribute(self.model, "_get_processing_order", ordered):
            for out in passing:
                yield self._answer(out)

    def step(self, rgb: NDArray[np.uint8]) -> ConceptFrame:
        """The next frame of those that come one by one."""
        self.session.video_height, self.session.video_width = rgb.shape[:2]
        with self._scope():
            out = self.model(self.session, frame=pixel_values(rgb, self.preprocessing))
        return self._answer(out)

    def _scope(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(cpu_kernels())
        stack.enter_context(pointers_of_any_width(self.model.tracker_model))
        if not self._as_published:
            stack.enter_context(removals_last(self.model))
        return stack

    def _answer(self, out: Any) -> ConceptFrame:
        # Without what the processor is made from, which finishing takes nothing of; nor are boxes
        # compared, which torchvision would make.
        processor = object.__new__(processing.Sam3VideoProcessor)
        with attribute(processing, "masks_to_boxes", lambda masks: None):
            found = processor.postprocess_outputs(self.session, out)
        names = found["object_ids"].tolist()
        of = {n: phrase for phrase, ids in found["prompt_to_obj_ids"].items() for n in ids}
        ranks = [out.obj_id_to_tracker_score.get(name, 0.0) for name in names]
        return ConceptFrame(
            out.frame_idx,
            names,
            [of[name] for name in names],
            found["masks"].numpy(),
            found["scores"].numpy(),
            frozenset(out.removed_obj_ids),
            frozenset(out.suppressed_obj_ids),
            self._claimed([out.obj_id_to_mask[name] for name in names]),
            np.array([float(rank) for rank in ranks], np.float32),
        )

    def _claimed(self, masks: Sequence[torch.Tensor]) -> NDArray[np.bool_]:
        """Masks as the model gives them, at the frame's size."""
        size = (self.session.video_height, self.session.video_width)
        if not masks:
            return np.zeros((0, *size), np.bool_)
        resized = torch.nn.functional.interpolate(
            torch.cat([*masks])[:, None].float(), size=size, mode="bilinear", align_corners=False
        )
        claimed: NDArray[np.bool_] = (resized[:, 0] > 0).numpy()
        return claimed


class TransformersConceptReference:
    """Runs ``Sam3VideoModel`` end to end.

    Args:
        detector: the ``Sam3Model``.
        tracker: the ``Sam3TrackerVideoModel``.
        tokenizer: the tokenizer as JSON text.
        pad_id: the id that pads phrases.
        preprocessing: how frames become ``pixel_values``.
    """

    def __init__(
        self,
        detector: Sam3Model,
        tracker: Sam3TrackerVideoModel,
        tokenizer: str,
        pad_id: int,
        preprocessing: Preprocessing,
    ) -> None:
        self.detector = detector
        self.tracker = tracker
        self._prepared = tokenizer, pad_id, preprocessing

    def find(
        self,
        frames: Sequence[NDArray[np.uint8]],
        phrases: Sequence[str],
        rules: ConceptVideoRules,
    ) -> Iterator[ConceptFrame]:
        """All that phrases name, on all frames.

        Args:
            frames: the film, ``[H, W, 3]`` each.
            phrases: what is looked for.
            rules: how objects are found and held to one another.
        """
        model = video_model(self.detector, self.tracker, rules)
        return ConceptFilm(model, *self._prepared, phrases, frames).propagate()
