"""Faults of a compilation, as users are told."""

from __future__ import annotations

import pytest

from sam3_tvm.compiler.faults import CompileError, memory_named


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")],
)
def test_missing_memory_is_one_line(error):
    with pytest.raises(CompileError, match="not enough memory to compile this"), memory_named():
        raise error
    with pytest.raises(RuntimeError, match="a bug"), memory_named():
        raise RuntimeError("a bug")
