"""Arrays of a picture in a safetensors file, from which they come back bit for bit."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sam3_tvm.runtime.execution.functions import aligned
from sam3_tvm.runtime.pictures.image import ImageError

__all__ = ["Read", "check_made_by", "opened_tensors", "save_tensors"]

#: Gives an array of a file by its name.
Read = Callable[[str], NDArray[Any]]


def save_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[Any]], metadata: dict[str, str]
) -> None:
    """Write arrays under another name, which is then changed: they are there whole or not at all.

    Raises:
        ImageError: a path that cannot be written.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    target = Path(os.fsdecode(path))
    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        save_file(whole, partial, metadata)
        partial.replace(target)
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(f"{getattr(error, 'strerror', None) or error}".split())
        raise ImageError(f"{target}: cannot be written ({reason})") from error
    finally:
        with suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)


@contextmanager
def opened_tensors(
    path: str | os.PathLike[str], kind: str, what: str, made_by: str
) -> Iterator[tuple[dict[str, str], Read]]:
    """The metadata of a file that :func:`save_tensors` wrote, and what reads its arrays.

    Args:
        path: the file.
        kind: what its metadata says of itself as ``kind``.
        what: how that is called in messages, such as "encoded image".
        made_by: the method that makes one, for messages.

    Raises:
        ImageError: no such file, another kind of file, or a damaged one; also where the body of
            the context finds that something is missing.
    """
    name = os.fsdecode(path)
    if not os.path.isfile(name):
        raise ImageError(f"{name}: no such file; {made_by} makes one")
    try:
        with safe_open(name, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != kind:
                raise ImageError(f"{name}: is no {what}; {made_by} makes one")
            yield metadata, lambda key: aligned(file.get_tensor(key))
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"{name}: is damaged ({error}); encode the picture again") from error


def check_made_by(made_by: str, fingerprint: str, name: str) -> None:
    """Refuse what another artifact encoded: it would give results without meaning.

    Args:
        made_by: fingerprint of the artifact that did.
        fingerprint: of the one that is to use it.
        name: of what it is, to begin the message.

    Raises:
        ImageError: another artifact, or another version of it.
    """
    if made_by != fingerprint:
        raise ImageError(
            f"{name}: was encoded by another artifact ({made_by[:12]}, this one is "
            f"{fingerprint[:12]}); encode the picture again with this one"
        )
