"""Encoded pictures by the hash of their file, as many as a number of bytes holds."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from sam3_tvm.runtime import EncodedImage
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.problems import Problem

__all__ = ["Store", "Stored", "bytes_of"]


@dataclass(frozen=True)
class Stored:
    """An encoded picture.

    Attributes:
        name: its id, the SHA-256 of its file in hexadecimal.
        encoded: the picture.
        bytes: of memory that it takes.
    """

    name: str
    encoded: EncodedImage
    bytes: int


def bytes_of(encoded: EncodedImage) -> int:
    """The memory that an encoding takes, with the picture that is kept for drawing."""
    features = sum(array.nbytes for array in encoded.features.values())
    kept = encoded.picture
    return features + (0 if kept is None or kept.rgb is None else kept.rgb.nbytes)


class Store:
    """Keeps the most recently used.

    Args:
        most: bytes of all of them together.
        metrics: what is counted.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._kept: OrderedDict[str, Stored] = OrderedDict()
        self._bytes = 0

    def find(self, name: str) -> Stored | None:
        """The picture of this id, which counts as used."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found

    def get(self, name: str) -> Stored:
        """As :meth:`find`.

        Raises:
            Problem: it isn't there (404).
        """
        found = self.find(name)
        if found is None:
            raise Problem(
                404, "no picture of this id is kept here (any more): send it to /v1/images again"
            )
        return found

    def add(self, name: str, encoded: EncodedImage) -> Stored:
        """Keep a picture; those that were not used for longest make room.

        Raises:
            Problem: it takes more than all may (413).
        """
        size = bytes_of(encoded)
        if size > self._most:
            raise Problem(
                413,
                f"the picture takes {size:,} bytes of memory, of which all together may take "
                f"{self._most:,}: scale it down, or start the server with a larger --cache",
            )
        self.remove(name)
        stored = self._kept[name] = Stored(name, encoded, size)
        self._bytes += size
        while self._bytes > self._most:
            self.remove(next(iter(self._kept)))
            self._metrics.evicted.inc()
        self._tell()
        return stored

    def remove(self, name: str) -> bool:
        """Forget a picture; whether it was there."""
        gone = self._kept.pop(name, None)
        if gone is not None:
            self._bytes -= gone.bytes
            self._tell()
        return gone is not None

    def _tell(self) -> None:
        self._metrics.pictures.set(len(self._kept))
        self._metrics.picture_bytes.set(self._bytes)
