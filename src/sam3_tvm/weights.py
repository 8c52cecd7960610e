"""An artifact's weights: ``weights.bin``, raw tensors, and ``weights.json``, where each one is.

Every tensor starts at a multiple of 64 bytes (TVM's kernels use aligned loads), in row-major
order and little-endian. Tensors with the same bytes are stored once. Reading maps the file
into memory, so that nothing is copied and processes share the pages.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.errors import ArtifactError
from sam3_tvm.json_file import read_json
from sam3_tvm.strict_json import parse, place, shown

__all__ = ["ALIGNMENT", "DATA", "DTYPES", "INDEX", "Weights", "WeightsWriter", "open_weights"]

ALIGNMENT = 64
"""Bytes to a multiple of which every tensor is placed in the file."""

DATA = "weights.bin"
"""The file with the tensors."""

INDEX = "weights.json"
"""The file that says where each tensor is, and which function takes it."""

# NumPy's arrays have no more.
_MOST_AXES = 32

DTYPES = ("float32", "float16", "int64", "int32", "int16", "int8", "uint16", "uint8", "bool")
"""What a stored tensor may be, by NumPy's names."""


class WeightsWriter:
    """Writes tensors one after the other, holding no more than the one at hand.

    Args:
        folder: where ``weights.bin`` and ``weights.json`` go; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._index = folder / INDEX
        self._file: BinaryIO = (folder / DATA).open("wb")
        self._end = 0
        self._tensors: dict[str, dict[str, Any]] = {}
        self._functions: dict[str, list[str]] = {}
        self._offsets: dict[tuple[bytes, int], int] = {}

    def add(self, key: str, array: NDArray[Any]) -> None:
        """Store one tensor under a key of its own.

        Args:
            key: the tensor's name, not yet used.
            array: any shape, of a dtype in :data:`DTYPES`.

        Raises:
            ArtifactError: a key used before or a dtype that the format lacks.
        """
        if key in self._tensors:
            raise ArtifactError(f"a weight named {key!r} is already stored")
        dtype = array.dtype.newbyteorder("=").name
        if dtype not in DTYPES:
            raise ArtifactError(f"weight {key!r} is {dtype}; weights are {', '.join(DTYPES)}")
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        raw = little.reshape(-1).view(np.uint8).data
        content = (hashlib.sha256(raw).digest(), raw.nbytes)
        offset = self._offsets.get(content)
        if offset is None:
            offset = -(-self._end // ALIGNMENT) * ALIGNMENT
            self._file.write(bytes(offset - self._end))
            self._file.write(raw)
            self._end = offset + raw.nbytes
            self._offsets[content] = offset
        self._tensors[key] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "offset": offset,
            "bytes": raw.nbytes,
        }

    def function(self, component: str, keys: Sequence[str]) -> None:
        """Say which stored tensors a component takes, in its calling order.

        Raises:
            ArtifactError: a component given before, or a key that is not stored.
        """
        if component in self._functions:
            raise ArtifactError(f"the weights of {component} are already given")
        if missing := [k for k in keys if k not in self._tensors]:
            raise ArtifactError(f"{component} takes weights that are not stored: {missing[:3]}")
        self._functions[component] = list(keys)

    def close(self) -> None:
        """Finish both files. A second call does nothing."""
        if self._file.closed:
            return
        self._file.close()
        index = {"tensors": self._tensors, "functions": self._functions}
        self._index.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


class Weights(Mapping[str, NDArray[Any]]):
    """The tensors of an artifact by key: read-only views into the mapped file."""

    def __init__(
        self,
        data: NDArray[np.uint8],
        tensors: Mapping[str, Mapping[str, Any]],
        functions: Mapping[str, Sequence[str]],
    ) -> None:
        self._data = data
        self._tensors = tensors
        self._functions = functions

    def __getitem__(self, key: str) -> NDArray[Any]:
        entry = self._tensors[key]
        dtype = np.dtype(entry["dtype"]).newbyteorder("<")
        return np.ndarray(entry["shape"], dtype, buffer=self._data.data, offset=entry["offset"])

    def __iter__(self) -> Any:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def keys_of(self, component: str) -> tuple[str, ...]:
        """The keys of a component's tensors in calling order; none if it has no weights."""
        return tuple(self._functions.get(component, ()))

    def function(self, component: str) -> list[NDArray[Any]]:
        """A component's tensors in calling order; none if it has no weights."""
        return [self[key] for key in self.keys_of(component)]


def open_weights(folder: Path) -> Weights:
    """Map an artifact's weights into memory.

    The mapping is read-only: no page is ever private to the process, and a kernel that wrote
    into a weight would fault instead of spoiling later calls.

    Raises:
        ArtifactError: a file that is missing, an index that cannot be read, or a tensor that
            does not fit the data.
        MemoryError: the process may not have so many addresses (``ulimit -v``).
    """
    index = folder / INDEX
    try:
        parsed = read_json(index, strict=True)
        with (folder / DATA).open("rb") as file:
            size = file.seek(0, 2)
            mapped: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise MemoryError(f"for {folder / DATA}") from error
        named = error.filename or folder / DATA  # what is read or mapped is not named
        raise ArtifactError(f"{named}: {error.strerror}; compile it again") from error
    except ValueError as error:
        raise ArtifactError(f"{index}: not readable JSON ({error}); compile it again") from error
    try:
        found = parse(_Index, parsed, "it")
        for key, entry in found.tensors.items():
            _check_entry(place("tensors", key), entry, size)
        for component, keys in found.functions.items():
            if missing := [k for k in keys if k not in found.tensors]:
                where = place("functions", component)
                raise ArtifactError(f"{where} takes {shown(missing[0])}, which is not stored")
    except ArtifactError as error:
        raise ArtifactError(f"{index}: {error}; compile it again") from error
    return Weights(np.frombuffer(mapped, np.uint8), parsed["tensors"], found.functions)


@dataclass(frozen=True)
class _Tensor:
    """What the index says of a tensor."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    bytes: int


@dataclass(frozen=True)
class _Index:
    """The index."""

    tensors: dict[str, _Tensor]
    functions: dict[str, tuple[str, ...]]


def _check_entry(where: str, entry: _Tensor, size: int) -> None:
    if entry.dtype not in DTYPES:
        raise ArtifactError(
            f"{where}.dtype is {shown(entry.dtype)}, which is none of {', '.join(DTYPES)}"
        )
    if len(entry.shape) > _MOST_AXES:
        raise ArtifactError(f"{where}.shape has {len(entry.shape)} axes, more than {_MOST_AXES}")
    if any(n < 0 for n in (*entry.shape, entry.offset, entry.bytes)):
        raise ArtifactError(f"{where} has a shape, offset or length below 0")
    expected = np.dtype(entry.dtype).itemsize * math.prod(entry.shape)
    fits = entry.offset % ALIGNMENT == 0 and entry.offset + entry.bytes <= size
    if entry.bytes != expected or not fits:
        raise ArtifactError(f"{where} does not fit {DATA} of {size} bytes")
