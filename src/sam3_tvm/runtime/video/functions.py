"""The compiled functions of the tracker, as a film uses them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.abi import CLICKS, POINTERS
from sam3_tvm.components import Dim
from sam3_tvm.manifest import Manifest
from sam3_tvm.runtime.clicks.clicker import choose_masks
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.pictures.encoder import Encoder
from sam3_tvm.runtime.pictures.resample import resize_values
from sam3_tvm.runtime.video.memory import MaskAnswer, MemoryInputs, to_bfloat16
from sam3_tvm.runtime.video.prompts import FramePrompt

__all__ = ["Features", "FrameOutput", "VideoFunctions"]

#: What a frame's calls need of its picture, by name.
Features = Mapping[str, NDArray[Any]]

_LEVELS = ("tracker_0", "tracker_1", "tracker_2")
_NOTHING = FramePrompt(np.zeros((1, 2), np.float32), np.array([-1], np.int64))

# The logit of an object whose mask was given: it is there, or the mask is empty. From
# transformers' ``_use_mask_as_output``.
_THERE, _ABSENT = 10.0, -10.0


@dataclass(frozen=True)
class FrameOutput:
    """An object that was found on a frame.

    Attributes:
        answer: its mask.
        pointer: its object pointer, float32 [D].
        enlarged: logits of its mask, from which a memory is made, float32 [1, 1, 16S, 16S]; None
            where they are those of ``answer``, enlarged.
    """

    answer: MaskAnswer
    pointer: NDArray[np.float32]
    enlarged: NDArray[np.float32] | None = None


class VideoFunctions:
    """Finds objects on frames, and makes memories of them.

    One object at a time: nearly all of the work is in attending to the object's own memories, and
    what depends on the picture alone is computed once per frame.

    Args:
        call: calls the artifact's functions.
        manifest: sizes and rules.

    Attributes:
        manifest: as given.
        rules: what is remembered.
        most_points: that a prompt may have.
        most_pointers: that a frame can look at.

    Raises:
        PromptError: an artifact that is not for video.
    """

    def __init__(self, call: FunctionTable, manifest: Manifest) -> None:
        if manifest.video is None or manifest.clicks is None:
            raise PromptError(
                "this artifact is not for video: compile a checkpoint that holds SAM 3's tracker "
                "for video, with --tasks concepts,clicks,video"
            )
        self._call = call
        self.manifest = manifest
        self._choice = manifest.clicks
        self.rules = manifest.video
        components = manifest.components
        self.detect_with(())
        self.most_points = components["prompt_encoder"].dims[CLICKS.name].max
        self.most_pointers = components["memory_attention"].dims[POINTERS.name].max

    def detect_with(self, functions: Collection[str]) -> None:
        """From now on encode frames for these functions of a detector, too."""
        wanted = {"without_memory", *functions}
        components = self.manifest.components.values()
        used = [c.name for c in components if c.task == "video" or c.name in wanted]
        self._on_image = ImageFunctions(self._call, self.manifest, used)
        self._encoder = Encoder(self._call, self.manifest, self._on_image, _LEVELS, frames=True)

    def encoded(self, features: Features) -> bool:
        """Whether these features are all that is needed of a frame."""
        return {*_LEVELS, *self._on_image.names} <= features.keys()

    @property
    def side(self) -> int:
        """Of the model's picture, pixels."""
        return self.manifest.sizes.image

    @cached_property
    def remembered(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what is remembered of a frame: ``pointer``, ``memory`` and ``logits``."""
        specs = {s.name: s for s in self.manifest.components["memory_encoder"].outputs}
        pointers = {s.name: s for s in self.manifest.components["click_decoder"].outputs}
        return {
            "pointer": _sizes(pointers["pointers"].shape[2:]),
            "memory": _sizes(specs["memory"].shape[1:]),
            "logits": (self.mask_side, self.mask_side),
        }

    @cached_property
    def _shown_side(self) -> int:
        """Of a mask that ``shown_mask`` takes, pixels."""
        (shown,) = self.manifest.components["shown_mask"].inputs
        return _sizes(shown.shape[2:])[0]

    @cached_property
    def _memory_side(self) -> int:
        """Of a mask that ``memory_encoder`` takes, pixels: 16S, or the model's picture's."""
        (enlarged,) = self.manifest.components["enlarge_masks"].outputs
        return _sizes(enlarged.shape[2:])[0]

    @property
    def mask_side(self) -> int:
        """Of masks as the model gives them, 4S."""
        return 4 * self.manifest.sizes.grid

    def encode(self, rgb: NDArray[np.uint8]) -> Features:
        """What all objects of a frame share: the vision encoder, and all that needs no prompt.

        One run of it serves the detector, too, if there is one.

        Args:
            rgb: the frame, uint8 [H, W, 3].
        """
        return self._encoder(rgb)

    def look(
        self, features: Features, recalled: MemoryInputs | None, prompt: FramePrompt | None = None
    ) -> FrameOutput:
        """Find an object on a frame.

        Args:
            features: the frame's.
            recalled: what is remembered of the object; None where it is shown for the first time.
            prompt: points that show it, if there are any.
        """
        if recalled is None:
            (conditioned,) = self._on_image("without_memory", features)
        else:
            (conditioned,) = self._on_image(
                "memory_attention",
                features,
                recalled.memories,
                recalled.ages,
                recalled.pointers,
                recalled.pointer_ages,
            )
        sparse, dense = self._encoded(prompt) if prompt is not None else self._unprompted
        fine, middle = (features[level] for level in _LEVELS[:2])
        masks, iou, object_logits, pointers = self._call(
            "click_decoder", fine, middle, conditioned, sparse, dense
        )
        least, most = self.rules.multimask_points
        count = len(prompt.points) if prompt is not None else 0
        if (recalled is None or self.rules.multimask_tracking) and least <= count <= most:
            best = 1 + int(iou[0, 1:].argmax())
            chosen, pointer = masks[0, best], pointers[0, best]
        else:
            # Whichever mask is taken, the pointer is the first one's.
            chosen, pointer = choose_masks(masks, iou, False, self._choice)[0][0, 0], pointers[0, 0]
        object_logit = float(object_logits[0, 0])
        if object_logit <= 0:
            chosen = np.full_like(chosen, self.rules.absent_logit)
        # Copies: views would keep all of the masks that were proposed.
        return FrameOutput(MaskAnswer(chosen.copy(), object_logit), pointer.copy())

    def take(self, features: Features, mask: NDArray[np.bool_]) -> FrameOutput:
        """An object whose mask is given.

        Args:
            features: the frame's.
            mask: bool [I, I], of the model's picture, or [4S, 4S], as the model gives masks; by the
                rule ``masks_like_points`` of any size, such as the frame's.
        """
        shown = mask.astype(np.float32)
        if len(mask) != self._shown_side or mask.shape[0] != mask.shape[1]:
            shown = resize_values(shown, self._shown_side, self._shown_side)
        prior, logits, *enlarged = self._call("shown_mask", shown[None, None])
        if self.rules.masks_like_points:
            bound = np.float32(abs(self.rules.absent_logit))
            signed = np.where(mask, bound, -bound)
            logits = resize_values(signed, self.mask_side, self.mask_side)[None, None]
            enlarged = list(self._call("enlarge_masks", logits))
        sparse, dense = self._encoded(_NOTHING, prior)
        _, iou, _, pointers = self._call(
            "click_decoder", *(features[level] for level in _LEVELS), sparse, dense
        )
        first, others = pointers[0, 0], pointers[0, 1:]
        pointer = first if self.rules.masks_like_points else others[int(iou[0, 1:].argmax())]
        there = _THERE if mask.any() else _ABSENT
        return FrameOutput(MaskAnswer(logits[0, 0].copy(), there), pointer.copy(), enlarged[0])

    def remember(
        self, features: Features, output: FrameOutput, prompted: bool
    ) -> NDArray[np.uint16]:
        """What is remembered of a mask: bfloat16 bits [S·S, C].

        Args:
            features: the frame's.
            output: the object on it.
            prompted: whether a prompt showed it there.
        """
        enlarged = output.enlarged
        if enlarged is None:
            (enlarged,) = self._call("enlarge_masks", output.answer.logits[None, None])
        return self._remember(features, enlarged, output.answer.object_logit, prompted)

    def remember_mask(self, features: Features, logits: NDArray[np.float32]) -> NDArray[np.uint16]:
        """What is remembered of a mask that isn't, or not just, what was found: bfloat16 bits
        [S·S, C]. An object is there if any of its mask is.

        Args:
            features: the frame's.
            logits: float32 [4S, 4S].
        """
        enlarged = resize_values(logits, self._memory_side, self._memory_side)[None, None]
        there = _THERE if (logits > 0).any() else _ABSENT
        return self._remember(features, enlarged, there, False)

    def _remember(
        self,
        features: Features,
        enlarged: NDArray[np.float32],
        object_logit: float,
        prompted: bool,
    ) -> NDArray[np.uint16]:
        logit = np.array([[object_logit]], np.float32)
        (memory,) = self._on_image(
            "memory_encoder", features, enlarged, logit, np.array([prompted])
        )
        return to_bfloat16(memory[0])

    def resize(self, logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
        """Logits [M, 4S, 4S] to masks [M, H, W]."""
        (resized,) = self._call("resize_click_masks", logits, size)
        return resized

    @cached_property
    def _unprompted(self) -> tuple[NDArray[Any], ...]:
        return self._encoded(_NOTHING)

    def _encoded(
        self, prompt: FramePrompt, prior: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[Any], ...]:
        side = self.mask_side
        mask = np.zeros((1, 1, side, side), np.float32) if prior is None else prior
        given = np.array([prior is not None])
        points, labels = prompt.points[None], prompt.labels[None]
        return self._call("prompt_encoder", points, labels, mask, given)


def _sizes(shape: tuple[int | Dim, ...]) -> tuple[int, ...]:
    """A shape that has no dynamic axis."""
    return tuple(size for size in shape if isinstance(size, int))
