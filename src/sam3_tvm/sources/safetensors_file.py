"""Writing a safetensors file tensor by tensor.

The ``safetensors`` library writes what is all in memory at once. The format is a length (8 bytes,
little-endian), a JSON header of that length, and the tensors' bytes, row-major and little-endian.
Source: https://github.com/huggingface/safetensors (its README's section on the format).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["Stored", "write_safetensors"]

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNMENT = 8


@dataclass(frozen=True)
class Stored:
    """A tensor to be written: its description, and how it is made when its turn comes."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], torch.Tensor]


def write_safetensors(
    path: Path, tensors: Mapping[str, Stored], watch: Callable[[int, int], None] | None = None
) -> None:
    """Write tensors in the order given, holding one at a time.

    Args:
        path: the file, which is replaced.
        tensors: by name.
        watch: hears how many of how many are written.
    """
    if sys.byteorder != "little":
        raise NotImplementedError("safetensors are little-endian, and this machine is not")
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, stored in tensors.items():
        count = torch.Size(stored.shape).numel() * stored.dtype.itemsize
        offsets = [end, end + count]
        header[name] = {
            "dtype": _DTYPES[stored.dtype],
            "shape": list(stored.shape),
            "data_offsets": offsets,
        }
        end += count
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for done, stored in enumerate(tensors.values()):
            if watch is not None:
                watch(done, len(tensors))
            tensor = stored.make().contiguous()
            file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)
