"""All that is replaced to run and export transformers' SAM 3 here, applied and undone as a whole.

Lesson 8: nothing is patched at import, nothing stays patched. Everything happens inside
:func:`patched`, which may be entered again while it is active, and leaves torch and the
model's package as they were, also when the body raises. What concerns one module object of the
tracker has a scope of its own, just as wide as one call.

What is replaced, and why:

- ``torchvision`` in transformers' SAM 3 module: the CPU build of torch has no torchvision
  whose compiled operators load. A stand-in offers the one function used, ``ops.roi_align``,
  by :mod:`sam3_tvm.sources.roi_align`.
- ``boxes.unbind(0)``: the geometry encoder cuts its boxes into one tensor per picture, which
  would fix the batch size at export. A torch function mode hands them on whole.
- The rule by which the tracker's mask decoder chooses one of its masks (:func:`all_masks`): it is
  the only place where the decoder has all of them in hand.
- How the tracker for video gathers object pointers (:func:`pointers_of_any_width`), for models
  whose pointers are as wide as their memories.
- The kernels by which ``Sam3VideoModel`` suppresses duplicate detections and finds the components
  of masks (:func:`cpu_kernels`): without them, as on a CPU, it leaves both out.
- When ``Sam3VideoModel`` drops the objects that it removes (:func:`removals_last`): in transformers
  5.23 it does so before it hands out the frame's masks and scores by their places, and so gives the
  objects behind a removed one those of others.

Spatial shapes need no patch: the decoder takes them as an argument, and
:class:`~sam3_tvm.sources.patches.IntegerShapes` passes integers where it would read a tensor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers.models.sam3_video.modeling_sam3_video as modeling_sam3_video

from sam3_tvm.sources.patches import KeepBoxesWhole, PatchScope, attribute, roi_align_of_batch

__all__ = ["all_masks", "cpu_kernels", "patched", "pointers_of_any_width", "removals_last"]

_TORCHVISION = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align_of_batch))


@contextmanager
def all_masks(decoder: Any) -> Iterator[None]:
    """The scope in which a ``Sam3TrackerMaskDecoder``, asked for one mask, gives all of them."""

    def chosen(masks: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return masks, scores

    with (
        attribute(decoder, "dynamic_multimask_via_stability", True),
        attribute(decoder, "_dynamic_multimask_via_stability", chosen),
    ):
        yield


@contextmanager
def pointers_of_any_width(model: Any) -> Iterator[None]:
    """The scope in which a ``Sam3TrackerVideoModel``'s pointers may be as wide as its memories, as
    they are in small models.

    In transformers 5.23 they have lost a needless axis only once they were cut into pieces.
    """
    plain = model._process_object_pointers

    def process(offsets: Any, tokens: list[torch.Tensor], *rest: Any) -> Any:
        if model.mem_dim == model.hidden_dim:
            tokens = [token[:, 0] for token in tokens]
        return plain(offsets, tokens, *rest)

    with attribute(model, "_process_object_pointers", process):
        yield


class _CpuKernels:
    """What ``Sam3VideoModel`` asks of kernels for a GPU, with NumPy and SciPy."""

    @staticmethod
    def generic_nms(
        ious: torch.Tensor, scores: torch.Tensor, threshold: float, use_iou_matrix: bool = True
    ) -> torch.Tensor:
        """The rows that stay where, from the highest score down, each removes those below it that
        it overlaps by more than the threshold."""
        assert use_iou_matrix, "overlaps are given as a matrix"
        left = scores.argsort(descending=True, stable=True)
        kept = []
        while left.numel():
            kept.append(int(left[0]))
            left = left[1:][ious[kept[-1], left[1:]] <= threshold]
        return torch.tensor(kept, dtype=torch.int64)

    @staticmethod
    def cc_2d(masks: torch.Tensor, get_counts: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels and areas of the components of masks [N, 1, H, W], over corners, too."""
        from scipy import ndimage

        assert get_counts, "areas are wanted"
        labels = np.zeros(masks.shape, np.int32)
        areas = np.zeros(masks.shape, np.int32)
        for row, mask in enumerate(masks[:, 0].numpy()):
            labels[row, 0], count = ndimage.label(mask, ndimage.generate_binary_structure(2, 2))
            for label in range(1, count + 1):
                of_one = labels[row, 0] == label
                areas[row, 0][of_one] = of_one.sum()
        return torch.from_numpy(labels), torch.from_numpy(areas)


def mask_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """IoU of masks, bool [N, H, W] and [M, H, W], each with each; float32 [N, M].

    What transformers' own gives, to the bit: float32 counts pixels exactly up to 2^24. That one
    takes eight bytes for each pixel of each pair (torch adds bool up as int64), which for the
    200 detections of SAM 3's size are 27 GB.
    """
    rows, columns = one.flatten(1).float(), other.flatten(1).float()
    shared = rows @ columns.T
    union = rows.sum(1)[:, None] + columns.sum(1) - shared
    return shared / union.clamp(min=1)


@contextmanager
def cpu_kernels() -> Iterator[None]:
    """The scope in which ``Sam3VideoModel`` suppresses duplicates, fills holes and removes
    sprinkles on a CPU, too, and holds many masks to each other in little memory."""
    with (
        attribute(modeling_sam3_video, "cv_utils_kernel", _CpuKernels),
        attribute(modeling_sam3_video, "mask_iou", mask_iou),
    ):
        yield


@contextmanager
def removals_last(model: Any) -> Iterator[None]:
    """The scope in which a ``Sam3VideoModel`` drops what it removes once a frame is done."""
    execute, pass_frame = model.run_tracker_update_execution_phase, model._det_track_one_frame
    leaving: list[int] = []

    def keep(*, tracker_update_plan: Mapping[str, Any], **rest: Any) -> None:
        leaving.extend(tracker_update_plan["obj_ids_newly_removed"])
        staying = {**tracker_update_plan, "obj_ids_newly_removed": set()}
        execute(tracker_update_plan=staying, **rest)

    def passed(inference_session: Any, **rest: Any) -> Any:
        out = pass_frame(inference_session=inference_session, **rest)
        while leaving:
            inference_session.remove_object(leaving.pop(), strict=False)
        return out

    with (
        attribute(model, "run_tracker_update_execution_phase", keep),
        attribute(model, "_det_track_one_frame", passed),
    ):
        yield


_scopes: defaultdict[ModuleType, PatchScope] = defaultdict(PatchScope)


@contextmanager
def patched(module: ModuleType) -> Iterator[None]:
    """Run the body with everything above replaced, as a
    :class:`~sam3_tvm.sources.patches.PatchScope` of the module.

    Args:
        module: the Python module that holds the model's code.
    """

    def replace(stack: ExitStack) -> None:
        stack.enter_context(attribute(module, "torchvision", _TORCHVISION))
        stack.enter_context(KeepBoxesWhole())

    with _scopes[module].entered(replace):
        yield
