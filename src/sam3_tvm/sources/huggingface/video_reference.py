"""What transformers' tracker makes of a film: the other side of ``verify``'s comparison.

Nothing of our runtime is used. Prompts are scaled and masks are resized as by
``Sam3TrackerVideoProcessor``, written out here because that module needs torchvision to be
imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoInferenceSession,
    Sam3TrackerVideoModel,
)

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import ShowSpec, VideoReferenceFrame, pixel_values
from sam3_tvm.sources.huggingface.patches import pointers_of_any_width

__all__ = ["ReferenceFilm", "TrackerVideoReference"]


class ReferenceFilm:
    """One session of ``Sam3TrackerVideoModel``.

    Args:
        model: the ``Sam3TrackerVideoModel``.
        preprocessing: how frames become ``pixel_values``.
        frames: the film, ``[H, W, 3]`` of 8-bit RGB each; None for frames that come one by one.
        cached: of how many frames features are kept.
        cache: those of another session of the same film, to share.
    """

    def __init__(
        self,
        model: Sam3TrackerVideoModel,
        preprocessing: Preprocessing,
        frames: Sequence[NDArray[np.uint8]] | None,
        cached: int = 1,
        cache: Any = None,
    ) -> None:
        self.model = model
        self.preprocessing = preprocessing
        self.size: tuple[int, int] | None = None
        video = None
        if frames is not None:
            self.size = (frames[0].shape[0], frames[0].shape[1])
            video = torch.cat([pixel_values(frame, preprocessing) for frame in frames])
        self.session = Sam3TrackerVideoInferenceSession(
            video=video, dtype=torch.float32, max_vision_features_cache_size=cached
        )
        if cache is not None:
            self.session.cache = cache

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
        with pointers_of_any_width(self.model):
            out = self.model(self.session, frame_idx=frame, reverse=reverse)
        return self._answer(out)

    def step(self, rgb: NDArray[np.uint8], frame: int | None = None) -> VideoReferenceFrame:
        """The next frame of those that come one by one, or one of them again."""
        self.size = (rgb.shape[0], rgb.shape[1])
        pixels = pixel_values(rgb, self.preprocessing)
        with pointers_of_any_width(self.model):
            out = self.model(self.session, frame=pixels, frame_idx=frame)
        return self._answer(out)

    def propagate(
        self, start: int | None = None, reverse: bool = False
    ) -> Iterator[VideoReferenceFrame]:
        """All frames behind the start, or before it."""
        found = self.model.propagate_in_video_iterator(
            self.session, start_frame_idx=start, reverse=reverse
        )
        while True:
            with pointers_of_any_width(self.model):
                out = next(found, None)
            if out is None:
                return
            yield self._answer(out)

    def _answer(self, out: Any) -> VideoReferenceFrame:
        assert self.size is not None
        resized = torch.nn.functional.interpolate(
            out.pred_masks.float(), size=self.size, mode="bilinear", align_corners=False
        )
        return VideoReferenceFrame(
            out.frame_idx,
            list(out.object_ids),
            (resized[:, 0] > 0).numpy(),
            out.object_score_logits.reshape(-1).sigmoid().numpy(),
        )


class TrackerVideoReference:
    """Runs ``Sam3TrackerVideoModel`` end to end.

    Args:
        model: the ``Sam3TrackerVideoModel``.
        preprocessing: how frames become ``pixel_values``.
    """

    def __init__(self, model: Sam3TrackerVideoModel, preprocessing: Preprocessing) -> None:
        self.model = model
        self.preprocessing = preprocessing

    def track(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[ShowSpec]
    ) -> Iterator[VideoReferenceFrame]:
        """All objects on all frames, from the first on which one is shown.

        Args:
            frames: the film, ``[H, W, 3]`` each.
            prompts: one of each object.
        """
        # Frames with prompts are looked at twice; of each, features are 130 MB at SAM 3's size.
        cached = len({prompt.frame for prompt in prompts}) + 1
        film = ReferenceFilm(self.model, self.preprocessing, frames, cached)
        for prompt in prompts:
            film.show(prompt)
            film.look(prompt.frame)
        yield from film.propagate()
