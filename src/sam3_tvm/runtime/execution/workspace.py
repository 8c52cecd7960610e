"""The memory in which functions compute: one workspace per model, and buffers for results.

The compiler plans where every intermediate value lies (``f_memory`` and ``f_views`` beside a
function ``f``; see docs/artifact-format.md). Memory comes from the operating system in huge pages
where it has them for programs that ask (Linux): a page of 4 KiB costs a fault and a clearing of
its own, for the largest intermediate values tens of milliseconds a call.
"""

from __future__ import annotations

import mmap
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm import system
from sam3_tvm.runtime.execution.functions import aligned

__all__ = ["PlannedFunction", "Workspace", "pages", "tensor"]

_HUGE_PAGE = 1 << 21

# Blocks that no array uses any more wait here for the next request of their size: clearing fresh
# memory, and a hypervisor finding it, take longer than most kernels that write it. Enough for the
# results of encoding a picture of SAM 3's size; a deque, since arrays end on any thread.
_free: deque[mmap.mmap] = deque()
_MOST_FREE_BYTES = 256 << 20

# Shapes of calls that a model meets in turns: of pictures, numbers of prompts and of masks.
_KEPT_SHAPES = 16


def tensor(array: NDArray[Any]) -> Any:
    """The array as a tvm_ffi tensor that shares its memory, which it keeps alive."""
    import tvm_ffi

    # The versioned capsule carries read-only memory, such as mapped weights; NumPy refuses to
    # export that through the older protocol, which tvm_ffi would ask for.
    return tvm_ffi.from_dlpack(aligned(array).__dlpack__(max_version=(1, 0)))


def pages(count: int, reused: bool = True) -> NDArray[np.uint8]:
    """``count`` bytes, aligned to 64, from huge pages where they fill some. Not cleared.

    Args:
        count: bytes.
        reused: with the last array or tensor that shares it, large memory becomes free for the
            next request of that size, within limits; without, it goes back to the system.
    """
    block = None if count < _HUGE_PAGE else _block(-(-count // _HUGE_PAGE) * _HUGE_PAGE)
    if block is None:
        return aligned(np.empty(max(1, count), np.uint8))[:count]
    whole = np.frombuffer(block, np.uint8)
    if reused:
        weakref.finalize(whole, _release, block).atexit = False
    start = -whole.ctypes.data % _HUGE_PAGE
    return whole[start : start + count]


def _block(count: int) -> mmap.mmap | None:
    """A free block for that many bytes, or a new one; None where there are no huge pages."""
    # A page more, to begin at a multiple of a page; what isn't touched takes no memory.
    length = count + _HUGE_PAGE
    for _ in range(len(_free)):
        try:
            block = _free.popleft()
        except IndexError:  # another thread was faster
            break
        if len(block) == length:
            return block
        _free.append(block)
    return system.huge_pages(length)


def _release(block: mmap.mmap) -> None:
    _free.append(block)
    while sum(map(len, tuple(_free))) > _MOST_FREE_BYTES:
        try:
            _free.popleft()  # the oldest
        except IndexError:
            break


class Workspace:
    """The intermediate values of one call at a time, whatever the function.

    It grows to what the largest call has needed, and is released with the model. Not for
    several threads at once.
    """

    def __init__(self) -> None:
        self._memory: Any = None
        self._bytes = 0
        self._views: OrderedDict[Any, Any] = OrderedDict()

    @property
    def nbytes(self) -> int:
        """Bytes of the largest call so far."""
        return self._bytes

    def views(self, key: Any, count: int, divide: Callable[[Any], Any]) -> Any:
        """What ``divide`` makes of a tensor of at least ``count`` bytes.

        Args:
            key: of a function and the shapes of a call; for the same key the answer may be the
                one given before.
            count: bytes that the call needs.
            divide: called with the workspace, a one-dimensional uint8 tensor.
        """
        if count > self._bytes or self._memory is None:
            # All of it goes before more comes, or both would be in memory.
            self._views.clear()
            self._memory = None
            self._memory = tensor(pages(max(1, count), reused=False))
            self._bytes = count
        if key not in self._views:
            self._views[key] = divide(self._memory)
            if len(self._views) > _KEPT_SHAPES:
                self._views.popitem(last=False)
        self._views.move_to_end(key)
        return self._views[key]


class PlannedFunction:
    """A compiled function with the memory that it wants handed to it.

    Args:
        vm: TVM's virtual machine, by function name.
        name: the function.
        workspace: shared by the functions that are called one after the other.
        last: the arguments that follow the inputs: the tuple of weights, or nothing.

    Raises:
        AttributeError: a machine without that function.
    """

    def __init__(self, vm: Any, name: str, workspace: Workspace, last: Sequence[Any]) -> None:
        self._function = vm[name]
        self._name = name
        self._workspace = workspace
        self._last = tuple(last)
        self._needs: OrderedDict[Any, tuple[int, ...]] = OrderedDict()
        try:
            self._memory, self._divide = vm[f"{name}_memory"], vm[f"{name}_views"]
        except AttributeError:
            # A function that the compiler didn't plan allocates what it needs.
            self._memory = None

    def needs(self, inputs: Sequence[Any]) -> tuple[int, ...]:
        """The bytes of the workspace for a call, then those of each buffer for a result.

        Args:
            inputs: tvm_ffi tensors and shapes.
        """
        if self._memory is None:
            return (0,)
        key = _shapes(inputs)
        if key not in self._needs:
            self._needs[key] = tuple(int(n) for n in self._memory(*inputs))
            if len(self._needs) > _KEPT_SHAPES:
                self._needs.popitem(last=False)
        return self._needs[key]

    def __call__(self, inputs: Sequence[Any]) -> list[Any]:
        """Call it; results are tensors that keep their memory alive.

        Args:
            inputs: tvm_ffi tensors and shapes, without the weights.
        """
        import tvm_ffi

        memory: tuple[Any, ...] = ()
        if self._memory is not None:
            needed, *results = self.needs(inputs)
            views = self._workspace.views(
                (self._name, _shapes(inputs)), needed, lambda whole: self._divide(whole, *inputs)
            )
            memory = (views, tvm_ffi.Array([tensor(pages(n)) for n in results]))
        outputs = self._function(*inputs, *self._last, *memory)
        if self._memory is not None:
            # The machine holds on to what it returned last. So it returns a few numbers, or the
            # next call would find none of this one's buffers free, whoever has let go of them.
            self._memory(*inputs)
        return [outputs] if isinstance(outputs, tvm_ffi.Tensor) else list(outputs)


def _shapes(inputs: Sequence[Any]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(int(n) for n in getattr(value, "shape", value)) for value in inputs)
