"""What Meta's own predictors make of clicks and films: the other side of ``verify``'s comparison.

Nothing of our runtime is used. Clicks go through ``Sam3Image.predict_inst``, films through
``Sam3TrackerPredictor``; pictures are resized here, as those resize them by torchvision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import (
    ClickReferenceResult,
    ClickSpec,
    ShowSpec,
    VideoReferenceFrame,
    pixel_values,
)
from sam3_tvm.sources.meta.environment import meta_environment
from sam3_tvm.sources.patches import attribute

__all__ = ["MetaClickReference", "MetaFilm", "MetaVideoReference"]


def _features(model: Any, tracker: Any, pixels: torch.Tensor) -> dict[str, Any]:
    """The tracker's features of a picture, as ``Sam3TrackerBase.forward_image`` gives them of a
    backbone of its own."""
    out: dict[str, Any] = model.backbone.forward_image(pixels)["sam2_backbone_out"]
    decoder = tracker.sam_mask_decoder
    for level, narrow in enumerate((decoder.conv_s0, decoder.conv_s1)):
        out["backbone_fpn"][level] = narrow(out["backbone_fpn"][level])
    return out


class MetaClickReference:
    """Runs ``Sam3Image.predict_inst``, without its filling of holes, which needs scikit-image.

    Args:
        model: the ``Sam3Image``, with the tracker's neck.
        tracker: the ``Sam3TrackerPredictor``.
        preprocessing: how pictures become the network's input.
    """

    def __init__(self, model: Any, tracker: Any, preprocessing: Preprocessing) -> None:
        self.model = model
        self.tracker = tracker
        self.preprocessing = preprocessing

    @torch.no_grad()
    def click(
        self, rgb: NDArray[np.uint8], prompts: Sequence[ClickSpec]
    ) -> list[ClickReferenceResult]:
        """The masks of each prompt, one object each.

        Args:
            rgb: the picture, ``[H, W, 3]``.
            prompts: what is clicked.
        """
        with meta_environment():
            pixels = pixel_values(rgb, self.preprocessing)
            state = {
                "original_height": rgb.shape[0],
                "original_width": rgb.shape[1],
                "backbone_out": {"sam2_backbone_out": _features(self.model, self.tracker, pixels)},
            }
            predictor = self._predictor()
            return [self._one(predictor, state, prompt) for prompt in prompts]

    def _predictor(self) -> Any:
        from sam3.model import sam1_task_predictor
        from sam3.model.utils.sam1_utils import SAM2Transforms

        # To mypy the base is Any: Meta's package has no types.
        class Transforms(SAM2Transforms):  # type: ignore[misc]
            """Of coordinates and masks; its constructor makes those of pictures by torchvision."""

            def __init__(self, resolution: int, mask_threshold: float, **areas: float) -> None:
                torch.nn.Module.__init__(self)
                self.resolution = resolution
                self.mask_threshold = mask_threshold
                self.max_hole_area = areas["max_hole_area"]
                self.max_sprinkle_area = areas["max_sprinkle_area"]

        with attribute(sam1_task_predictor, "SAM2Transforms", Transforms):
            predictor = sam1_task_predictor.SAM3InteractiveImagePredictor(
                self.tracker, max_hole_area=0.0
            )
        # Written into it for pictures of 1008 pixels.
        grid = self.tracker.sam_image_embedding_size
        predictor._bb_feat_sizes = [(times * grid, times * grid) for times in (4, 2, 1)]
        return predictor

    def _one(self, predictor: Any, state: dict[str, Any], prompt: ClickSpec) -> Any:
        given: dict[str, Any] = {"multimask_output": prompt.multimask}
        if prompt.points:
            given["point_coords"] = np.array(prompt.points, np.float32)
            given["point_labels"] = np.array(prompt.labels, np.int32)
        if prompt.box is not None:
            given["box"] = np.array(prompt.box, np.float32)

        def answer(**more: Any) -> Any:
            # Its method, which needs nothing else of the image model.
            owner = SimpleNamespace(inst_interactive_predictor=predictor)
            return type(self.model).predict_inst(owner, state, **given, **more)

        masks, iou, logits = answer()
        if prompt.refined:
            masks, iou, _ = answer(mask_input=logits[iou.argmax()][None])
        return ClickReferenceResult(iou, masks.astype(bool))


class _CachedFeatures:
    """The features of a film's frames, as ``Sam3TrackerPredictor`` looks them up; the latest alone
    are kept."""

    def __init__(self, owner: MetaFilm, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._owner = owner
        self._frames = frames
        self._latest: tuple[int, Any] | None = None

    def get(self, index: int, default: Any) -> Any:
        if self._latest is None or self._latest[0] != index:
            film = self._owner
            pixels = pixel_values(self._frames[index], film.preprocessing)
            self._latest = index, (pixels, _features(film.model, film.tracker, pixels))
        return self._latest[1]


class MetaFilm:
    """One object in one film, by ``Sam3TrackerPredictor``.

    Its session counts the ages of object pointers in lengths of the film where that is shorter than
    what is looked back on (16 frames), as transformers' does. Ours doesn't know how many frames
    come, and so a film is said to be no shorter than that.

    Args:
        model: the ``Sam3Image``, with the tracker's neck.
        tracker: the ``Sam3TrackerPredictor``.
        preprocessing: how frames become the network's input.
        frames: the film, ``[H, W, 3]`` of 8-bit RGB each.
    """

    def __init__(
        self,
        model: Any,
        tracker: Any,
        preprocessing: Preprocessing,
        frames: Sequence[NDArray[np.uint8]],
    ) -> None:
        self.model = model
        self.tracker = tracker
        self.preprocessing = preprocessing
        self.count = len(frames)
        self.size = frames[0].shape[:2]
        with meta_environment():
            self.state = tracker.init_state(
                video_height=self.size[0],
                video_width=self.size[1],
                num_frames=max(self.count, tracker.max_obj_ptrs_in_encoder),
                cached_features=_CachedFeatures(self, frames),
            )

    def show(self, spec: ShowSpec) -> None:
        """Say what is on a frame; replaces what was said before."""
        height, width = self.size
        with meta_environment():
            if spec.mask is not None:
                self.tracker.add_new_mask(
                    self.state, spec.frame, spec.object_id, torch.from_numpy(spec.mask)
                )
                return
            # As fractions of the picture.
            scale = torch.tensor([width, height])
            given: dict[str, Any] = {}
            if spec.points:
                given["points"] = torch.tensor(spec.points) / scale
                given["labels"] = torch.tensor(spec.labels, dtype=torch.int32)
            if spec.box is not None:
                given["box"] = (torch.tensor(spec.box).reshape(2, 2) / scale).flatten()
            self.tracker.add_new_points_or_box(self.state, spec.frame, spec.object_id, **given)

    def propagate(
        self, start: int, reverse: bool = False, last: int | None = None
    ) -> Iterator[VideoReferenceFrame]:
        """The frames from ``start`` to the film's end, or to its beginning, or to ``last``."""
        if last is None:
            last = 0 if reverse else self.count - 1
        with meta_environment():
            for index, ids, _, masks, scores in self.tracker.propagate_in_video(
                self.state,
                start_frame_idx=start,
                max_frame_num_to_track=abs(last - start),
                reverse=reverse,
                tqdm_disable=True,
                propagate_preflight=True,
            ):
                yield VideoReferenceFrame(
                    index,
                    list(ids),
                    (masks[:, 0] > 0).numpy(),
                    scores.reshape(-1).sigmoid().numpy(),
                )


class MetaVideoReference:
    """Runs ``Sam3TrackerPredictor`` end to end.

    Args:
        model: the ``Sam3Image``, with the tracker's neck.
        tracker: the ``Sam3TrackerPredictor``.
        preprocessing: how frames become the network's input.
    """

    def __init__(self, model: Any, tracker: Any, preprocessing: Preprocessing) -> None:
        self.model = model
        self.tracker = tracker
        self.preprocessing = preprocessing

    def track(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[ShowSpec]
    ) -> Iterator[VideoReferenceFrame]:
        """Each object on all frames from that on which it is shown.

        Each in a session of its own: in one for all, an object can't be shown later, and masks
        that show several on one frame exclude each other.

        Args:
            frames: the film, ``[H, W, 3]`` each.
            prompts: one of each object.
        """
        followed = []
        for prompt in prompts:
            film = MetaFilm(self.model, self.tracker, self.preprocessing, frames)
            film.show(prompt)
            followed.append({found.index: found for found in film.propagate(prompt.frame)})
        for index in range(min(prompt.frame for prompt in prompts), len(frames)):
            found = [one[index] for one in followed if index in one]
            yield VideoReferenceFrame(
                index,
                [name for one in found for name in one.objects],
                np.concatenate([one.masks for one in found]),
                np.concatenate([one.scores for one in found]),
            )
