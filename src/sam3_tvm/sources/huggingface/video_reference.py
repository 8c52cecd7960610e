"""What transformers' tracker makes of a film: the other side of ``verify``'s comparison.

Nothing of our runtime is used. Prompts are scaled and masks are resized as by
``Sam3TrackerVideoProcessor``, written out here because that module needs torchvision to be
imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
    Sam3TrackerVideoModel,
)

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import ShowSpec, VideoReferenceFrame, pixel_values
from sam3_tvm.sources.huggingface.patches import pointers_of_any_width

__all__ = ["ReferenceFilm", "TrackerVideoReference"]


class _Session(Sam3TrackerVideoInferenceSession):
    """Counts the ages of object pointers by the same measure whatever the film's length.

    Of a film of ``n`` frames transformers divides them by ``min(n, 16) - 1`` (16 is
    ``max_object_pointers_in_encoder``), of frames that come one by one by 15. Ours doesn't know
    how many come, and does the latter: so a film is said to be no shorter than that. Of the
    frames that it doesn't have nothing is remembered, so nothing else changes.
    """

    least_frames = 0

    @property
    def num_frames(self) -> int | None:
        stated: int | None = super().num_frames
        return None if stated is None else max(stated, self.least_frames)


class _InDouble(TorchFunctionMode):
    """Whatever is asked for in float32, by name or by default, is made in float64."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.Tensor.float:
            return args[0].double()
        named = {
            name: torch.float64 if value is torch.float32 else value
            for name, value in (kwargs or {}).items()
        }
        return func(*(torch.float64 if a is torch.float32 else a for a in args), **named)

    def __enter__(self) -> Any:
        self._before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *of: Any) -> None:
        super().__exit__(*of)
        torch.set_default_dtype(self._before)


class ReferenceFilm:
    """One session of ``Sam3TrackerVideoModel``.

    Args:
        model: the ``Sam3TrackerVideoModel``; with parameters in float64 all is computed so.
        preprocessing: how frames become ``pixel_values``.
        frames: the film, ``[H, W, 3]`` of 8-bit RGB each; None for frames that come one by one.
        cached: of how many frames features are kept.
        beside: another session of the same film, with which frames and features are shared.
    """

    def __init__(
        self,
        model: Sam3TrackerVideoModel,
        preprocessing: Preprocessing,
        frames: Sequence[NDArray[np.uint8]] | None,
        cached: int = 1,
        beside: ReferenceFilm | None = None,
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self.size: tuple[int, int] | None = None
        video = None
        if frames is not None:
            self.size = (frames[0].shape[0], frames[0].shape[1])
        if frames is not None and beside is None:
            video = torch.cat([pixel_values(frame, preprocessing) for frame in frames])
        self._double = model.dtype is torch.float64
        self.session = _Session(
            video=video, dtype=model.dtype, max_vision_features_cache_size=cached
        )
        self.session.least_frames = model.config.max_object_pointers_in_encoder
        if beside is not None:
            self.session.processed_frames = beside.session.processed_frames
            self.session.cache = beside.session.cache

    def show(self, spec: ShowSpec) -> None:
        """Say what is on a frame, without looking at it; replaces what was said before."""
        session, side = self.session, self.preprocessing.image_size
        row = session.obj_id_to_idx(spec.object_id)
        if spec.mask is not None:
            mask = torch.from_numpy(spec.mask)[None, None].float()
            if mask.shape[-2:] != (side, side):
                mask = torch.nn.functional.interpolate(
                    mask, size=(side, side), mode="bilinear", antialias=True
                )
                mask = (mask >= 0.5).float()
            session.add_mask_inputs(row, spec.frame, mask)
            session.remove_point_inputs(row, spec.frame)
        else:
            assert self.size is not None, "a frame comes before what is on it"
            scale = torch.tensor([side / self.size[1], side / self.size[0]])
            points, labels = torch.zeros(0, 2), torch.zeros(0, dtype=torch.int32)
            if spec.box is not None:
                points = torch.tensor(spec.box).reshape(2, 2) * scale
                labels = torch.tensor([2, 3], dtype=torch.int32)
            if spec.points:
                points = torch.cat([points, torch.tensor(spec.points) * scale])
                labels = torch.cat([labels, torch.tensor(spec.labels, dtype=torch.int32)])
            given = {"point_coords": points[None, None], "point_labels": labels[None, None]}
            session.add_point_inputs(row, spec.frame, given)
            session.remove_mask_inputs(row, spec.frame)
        session.obj_with_new_inputs = [spec.object_id]

    def look(self, frame: int, reverse: bool = False) -> VideoReferenceFrame:
        """A frame of the film, with all objects."""
        with self._scope():
            out = self.model(self.session, frame_idx=frame, reverse=reverse)
        return self._answer(out)

    def step(self, rgb: NDArray[np.uint8], frame: int | None = None) -> VideoReferenceFrame:
        """The next frame of those that come one by one, or one of them again."""
        self.size = (rgb.shape[0], rgb.shape[1])
        pixels = pixel_values(rgb, self.preprocessing)
        with self._scope():
            out = self.model(self.session, frame=pixels, frame_idx=frame)
        return self._answer(out)

    def propagate(
        self, start: int | None = None, reverse: bool = False
    ) -> Iterator[VideoReferenceFrame]:
        """All frames behind the start, or before it.

        Its own ``propagate_in_video_iterator`` passes the same frames, but takes their number
        from the session, to which another is stated.
        """
        session = self.session
        assert session.processed_frames is not None, "a film"
        if start is None:
            kept = session.output_dict_per_obj.values()
            start = min(frame for one in kept for frame in one["cond_frame_outputs"])
        frames = range(start, -1, -1) if reverse else range(start, len(session.processed_frames))
        for frame in frames:
            yield self.look(frame, reverse)

    def _scope(self) -> ExitStack:
        stack = ExitStack()
        stack.enter_context(pointers_of_any_width(self.model))
        if self._double:
            stack.enter_context(_InDouble())
        return stack

    def _answer(self, out: Any) -> VideoReferenceFrame:
        assert self.size is not None
        return VideoReferenceFrame(
            out.frame_idx,
            list(out.object_ids),
            _at_size(out.pred_masks, self.size),
            out.object_score_logits.reshape(-1).sigmoid().float().numpy(),
        )


class TrackerVideoReference:
    """Runs ``Sam3TrackerVideoModel`` end to end.

    Args:
        model: the ``Sam3TrackerVideoModel``.
        preprocessing: how frames become ``pixel_values``.
        double: whether to compute in float64. A mask that came of a box or points is remembered as
            zeros and ones: where float32 puts a pixel on the other side, frames from there on
            differ by more than rounding, on the trained demonstration model by 2e-4 of a score.
    """

    def __init__(
        self, model: Sam3TrackerVideoModel, preprocessing: Preprocessing, double: bool = False
    ) -> None:
        self.model = deepcopy(model).double() if double else model
        self.preprocessing = preprocessing

    def track(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[ShowSpec]
    ) -> Iterator[VideoReferenceFrame]:
        """Each object on all frames from that on which it is shown.

        Each in a session of its own. In one for all, transformers begins where the first is shown,
        guesses where the others are on the frames before they are shown, and remembers that.

        Args:
            frames: the film, ``[H, W, 3]`` each.
            prompts: one of each object.
        """
        films: list[ReferenceFilm] = []
        for _ in prompts:
            beside = films[0] if films else None
            films.append(ReferenceFilm(self.model, self.preprocessing, frames, 1, beside))
        for index in range(min(prompt.frame for prompt in prompts), len(frames)):
            found, nexts = [], []
            for prompt, film in zip(prompts, films, strict=True):
                if index == prompt.frame:
                    film.show(prompt)
                if index >= prompt.frame:
                    with _next_best(self.model) as decoded:
                        found.append(film.look(index))
                    nexts.append(min(decoded, key=lambda one: one[0], default=(np.inf, None)))
            size = found[0].masks.shape[1:]
            yield VideoReferenceFrame(
                index,
                [name for one in found for name in one.objects],
                np.concatenate([one.masks for one in found]),
                np.concatenate([one.scores for one in found]),
                np.array([lead for lead, _ in nexts], np.float32),
                np.stack(
                    [
                        np.zeros(size, np.bool_) if mask is None else _at_size(mask, size)[0]
                        for _, mask in nexts
                    ]
                ),
            )


@contextmanager
def _next_best(
    model: Sam3TrackerVideoModel,
) -> Iterator[list[tuple[float, torch.Tensor]]]:
    """Gathers, whenever several masks of one object are decoded, by how much the best leads, and
    the logits of the next, [1, 1, h, w]."""
    found: list[tuple[float, torch.Tensor]] = []

    def note(decoder: Any, given: Any, out: tuple[torch.Tensor, ...]) -> None:
        masks, iou = out[0].flatten(0, 2), out[1].flatten()
        if len(iou) > 1:
            order = iou.argsort(descending=True)
            found.append((float(iou[order[0]] - iou[order[1]]), masks[None, order[1:2]]))

    hook = model.mask_decoder.register_forward_hook(note)
    try:
        yield found
    finally:
        hook.remove()


def _at_size(logits: torch.Tensor, size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Masks [N, H, W] of logits [N, 1, h, w]."""
    resized = torch.nn.functional.interpolate(
        logits.float(), size=size, mode="bilinear", align_corners=False
    )
    masks: NDArray[np.bool_] = (resized[:, 0] > 0).numpy()
    return masks
