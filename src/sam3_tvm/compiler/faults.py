"""What is told to users where a compilation can't be, or not here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sam3_tvm.errors import Sam3Error

__all__ = ["CompileError", "memory_named", "names_memory"]


class CompileError(Sam3Error):
    """An option or a machine that can't compile."""


# What torch, TVM and C++ say where memory ends, in errors of classes that say nothing.
_NO_MEMORY = ("allocate memory", "bad_alloc", "out of memory", "Cannot allocate")


def names_memory(error: Exception) -> bool:
    """Whether an error is that memory ended, of whatever class it is."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def memory_named() -> Iterator[None]:
    """An error for users where a library runs out of memory.

    Raises:
        CompileError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not names_memory(error):
            raise
        raise CompileError(
            "there is not enough memory to compile this: end other programs, lift the limit "
            "(ulimit -v), or compile on a larger machine; artifacts need less to run"
        ) from error
