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

Spatial shapes need no patch: the decoder takes them as an argument, and
:class:`~sam3_tvm.sources.patches.IntegerShapes` passes integers where it would read a tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

from sam3_tvm.sources.patches import KeepBoxesWhole, PatchScope, attribute, roi_align_of_batch

__all__ = ["all_masks", "patched", "pointers_of_any_width"]

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


_scope = PatchScope()


@contextmanager
def patched(module: ModuleType) -> Iterator[None]:
    """Run the body with everything above replaced, as a
    :class:`~sam3_tvm.sources.patches.PatchScope`.

    Args:
        module: the Python module that holds the model's code.
    """

    def replace(stack: ExitStack) -> None:
        stack.enter_context(attribute(module, "torchvision", _TORCHVISION))
        stack.enter_context(KeepBoxesWhole())

    with _scope.entered(replace):
        yield
