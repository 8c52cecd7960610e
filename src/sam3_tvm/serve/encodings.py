"""Files become encoded pictures, each once, however many clients send it at the same time."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sam3_tvm.runtime import Model
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.store import Store, Stored
from sam3_tvm.serve.turns import Kind, Turns

__all__ = ["Encodings"]


@dataclass
class _Underway:
    task: asyncio.Task[Stored]
    clients: int = 0


class Encodings:
    """Encodes what isn't in the store.

    Args:
        model: gives the model, which may be loaded later.
        turns: for the encoder.
        store: where encodings are kept.
        metrics: what is counted.
        decoded_bytes: of pictures that wait to be encoded, decoded; beyond that the next is
            decoded when one of them is encoded.
    """

    def __init__(
        self,
        model: Callable[[], Model],
        turns: Turns,
        store: Store,
        metrics: Metrics,
        decoded_bytes: int,
    ) -> None:
        self._model = model
        self._turns = turns
        self._store = store
        self._metrics = metrics
        self._underway: dict[str, _Underway] = {}
        # One at a time: a picture at the limit takes hundreds of megabytes while it is read.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="sam3-tvm-read")
        self._reading = asyncio.Lock()
        self._decoded_bytes = decoded_bytes
        self._decoded = 0
        self._encoded = asyncio.Event()

    async def encode(self, data: bytes) -> tuple[Stored, bool]:
        """A file's picture, and whether it is new here.

        Cancelled by all who wait for it, it is given up if its turn hasn't come.

        Raises:
            ImageError: the bytes are no picture, or one of too many pixels.
            Problem: it is too large for the store.
        """
        name = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if (found := self._store.find(name)) is not None:
            self._metrics.reused.inc()
            return found, False
        one = self._underway.get(name)
        if one is None:
            one = self._underway[name] = _Underway(asyncio.create_task(self._made(name, data)))
            one.task.add_done_callback(lambda _: self._over(name, one))
        one.clients += 1
        try:
            return await asyncio.shield(one.task), True
        finally:
            one.clients -= 1
            if not one.clients and not one.task.done():
                self._over(name, one)  # who sends it now begins anew
                one.task.cancel()

    def _over(self, name: str, one: _Underway) -> None:
        if self._underway.get(name) is one:
            del self._underway[name]
        if one.task.done() and not one.task.cancelled():
            one.task.exception()  # which nobody may be left to ask for

    async def _made(self, name: str, data: bytes) -> Stored:
        loop = asyncio.get_running_loop()
        # Before its turn: what is no picture doesn't wait for one, unless large pictures do.
        async with self._reading:
            while self._decoded >= self._decoded_bytes:
                self._encoded.clear()
                await self._encoded.wait()
            rgb = await loop.run_in_executor(self._reader, read_picture, data)
            self._decoded += rgb.nbytes
        try:
            encoded = await self._turns.run(Kind.PICTURE, lambda: self._model().encode_image(rgb))
        finally:
            self._decoded -= rgb.nbytes
            self._encoded.set()
        self._metrics.encoded.inc()
        return self._store.add(name, encoded)

    def close(self) -> None:
        """Wait for the picture that is being read."""
        self._reader.shutdown()
