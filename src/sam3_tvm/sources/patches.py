"""What takes the place of parts of torch while SAM 3's code runs or is exported.

Lesson 8: nothing is patched at import, nothing stays patched. Each source says what it replaces,
and does so as a whole, in a scope: :mod:`sam3_tvm.sources.huggingface.patches`,
:mod:`sam3_tvm.sources.meta.environment`. What the compiler replaces of TVM, in the same way, is in
:mod:`sam3_tvm.compiler.legalizing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sam3_tvm.locks import Lock
from sam3_tvm.sources.roi_align import roi_align

__all__ = [
    "IntegerShapes",
    "KeepBoxesWhole",
    "PatchScope",
    "attribute",
    "roi_align_of_batch",
]


class PatchScope:
    """Holds what a source replaces.

    Re-entrant: an inner use changes nothing and undoes nothing. One thread at a time holds
    it, since what is replaced belongs to the process.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._depth = 0

    @contextmanager
    def entered(self, replace: Callable[[ExitStack], None]) -> Iterator[None]:
        """Run the body with everything replaced that ``replace`` enters into a stack."""
        with self._lock:
            self._depth += 1
            try:
                if self._depth > 1:
                    yield
                    return
                with ExitStack() as stack:
                    replace(stack)
                    yield
            finally:
                self._depth -= 1


class IntegerShapes:
    """Stands for the tensor ``[[height, width]]`` of one feature level, with plain integers.

    A tensor's entries would be data to ``torch.export``, and ``arange(height)`` of unknown
    length.
    """

    shape = (1, 2)

    def __init__(self, height: int, width: int) -> None:
        self._sizes = (height, width)

    def __getitem__(self, index: tuple[int, int]) -> int:
        level, axis = index
        if level != 0:
            raise IndexError(f"one feature level, asked for level {level}")
        return self._sizes[axis]


class _Unbound:
    """What ``boxes.unbind(0)`` gives under :class:`KeepBoxesWhole`: the batch, still whole."""

    def __init__(self, batch: torch.Tensor) -> None:
        self.batch = batch


class KeepBoxesWhole(TorchFunctionMode):
    """Leaves ``boxes.unbind(0)`` undone, for :func:`roi_align_of_batch`."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # Boxes are the only [B, N, 4] that SAM 3 unbinds along the batch.
        if func is torch.Tensor.unbind and args[1:] == (0,) and args[0].dim() == 3:
            return _Unbound(args[0])
        return func(*args, **(kwargs or {}))


def roi_align_of_batch(features: torch.Tensor, boxes: Any, output_size: Any) -> torch.Tensor:
    """``torchvision.ops.roi_align`` for a list of boxes per picture, which are equally many."""
    if not isinstance(boxes, _Unbound):
        boxes = _Unbound(torch.stack(list(boxes)))
    return roi_align(features, boxes.batch, output_size)


_ABSENT = object()


@contextmanager
def attribute(owner: object, name: str, value: Any) -> Iterator[None]:
    """Have an attribute of a module or an object be ``value`` inside, and as it was outside."""
    before = vars(owner).get(name, _ABSENT)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
