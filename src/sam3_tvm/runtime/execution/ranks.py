"""Which calls give way to which, where several threads ask one model.

A call that has begun keeps all cores until it is done: encoding a picture of SAM 3's size some ten
seconds or more, while a click takes a twentieth of one. What gives way lets others' calls pass
between two of its kernels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sam3_tvm.errors import Sam3Error

__all__ = ["current_rank", "giving_way"]

_MOST = 3

_rank: ContextVar[int] = ContextVar("sam3-tvm-rank", default=0)


@contextmanager
def giving_way(rank: int = 1) -> Iterator[None]:
    """Let others pass: a block in which a model's calls give way to those of other threads.

    Between two kernels of such a call those pass that wait and are made outside of such a block,
    or in one of a lower rank; afterwards it goes on where it was. Results stay the same, bit for
    bit. Each rank that is in use keeps memory of its own for intermediate values.

    Calls of models that compute with another number of threads wait for the whole call. Calls that
    follow each other within 20 ms hold what they have broken into until they pause. Threads that
    are started in the block aren't in it.

    Args:
        rank: from 0, which gives way to none, to 3, which gives way to all below.

    Raises:
        Sam3Error: another rank.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or not 0 <= rank <= _MOST:
        raise Sam3Error(f"a rank is an integer from 0 to {_MOST}, not {rank!r}")
    before = _rank.set(rank)
    try:
        yield
    finally:
        _rank.reset(before)


def current_rank() -> int:
    """The rank of the calls that are made here."""
    return _rank.get()
