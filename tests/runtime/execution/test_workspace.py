from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from sam3_tvm.runtime.execution import workspace
from sam3_tvm.runtime.execution.workspace import Workspace, pages, tensor


@pytest.mark.parametrize("count", [0, 1, 4097, (1 << 21) - 1, 1 << 21, (1 << 21) + 12345])
def test_memory_is_aligned_and_of_the_size_asked_for(count):
    memory = pages(count)
    assert memory.nbytes == count
    assert memory.dtype == np.uint8
    assert count == 0 or memory.ctypes.data % 64 == 0
    memory[:] = 7
    assert (memory == 7).all()


def test_large_memory_stays_while_a_part_of_it_is_held():
    part = pages(1 << 22)[5:10]
    part[:] = 3
    gc.collect()
    pages(1 << 22)[:] = 4
    assert (part == 3).all()


def test_large_memory_goes_with_the_last_that_shares_it():
    memory = pages(1 << 22, reused=False)
    base = memory.base
    while isinstance(base, np.ndarray):
        base = base.base
    block = base.obj if isinstance(base, memoryview) else base
    gone = weakref.ref(block)
    held = tensor(memory)
    del memory, base, block
    gc.collect()
    assert gone() is not None
    del held
    gc.collect()
    assert gone() is None


def test_large_memory_that_nothing_shares_serves_the_next_request_of_its_size():
    first = pages(9 << 20)
    at, held = first.ctypes.data, tensor(first)
    del first
    gc.collect()
    assert pages(9 << 20).ctypes.data != at
    del held
    gc.collect()
    assert pages(10 << 20).ctypes.data != at
    again = [pages(9 << 20) for _ in range(2)]
    assert at in [memory.ctypes.data for memory in again]
    assert again[0].ctypes.data != again[1].ctypes.data


def test_memory_that_waits_for_a_request_is_limited():
    for _ in range(2):
        many = [pages(40 << 20) for _ in range(10)]
        del many
    gc.collect()
    assert 0 < sum(map(len, workspace._free)) <= 256 << 20


def test_the_workspace_is_kept_until_more_is_needed():
    space, asked = Workspace(), []

    def divide(whole):
        asked.append(whole.shape[0])
        return object()

    first = space.views("a", 1000, divide)
    assert space.views("a", 1000, divide) is first
    second = space.views("b", 500, divide)
    assert second is not first
    assert space.views("a", 1000, divide) is first
    assert asked == [1000, 1000]
    space.views("c", 2000, divide)
    assert space.nbytes == 2000
    # Views of memory that is no longer used would keep it.
    assert space.views("a", 1000, divide) is not first
    assert asked == [1000, 1000, 2000, 2000]


def test_views_of_shapes_long_not_seen_are_forgotten():
    space = Workspace()
    first = space.views(0, 64, lambda _: object())
    for key in range(1, 100):
        space.views(key, 64, lambda _: object())
    assert space.views(0, 64, lambda _: object()) is not first
