"""Work for a client as long as it is there, and for no longer than is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from sam3_tvm.serve.problems import ClientLeft, Problem

__all__ = ["answered"]

_T = TypeVar("_T")


async def answered(request: Request, work: Coroutine[Any, Any, _T], seconds: float) -> _T:
    """The result of ``work``, which is cancelled when the client goes or its time is over.

    Args:
        request: whose body has been read.
        work: for it.
        seconds: that it may take.

    Raises:
        ClientLeft: it has.
        Problem: it takes too long (503).
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientLeft
        raise Problem(503, f"this took longer than {seconds:g} s, the most that is taken")
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
