"""A picture after the vision encoder: the costly part, done once and kept for many prompts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sam3_tvm.runtime.execution.functions import aligned
from sam3_tvm.runtime.pictures.image import ImageError
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.values import PlainValue

__all__ = ["EncodedImage"]

_KIND = "sam3-tvm encoded image"


@dataclass(frozen=True, repr=False, eq=False)
class EncodedImage(PlainValue):
    """A picture's features, for any number of calls of :meth:`Model.segment`.

    Attributes:
        features: what calls with a prompt need of the picture, by name: outputs of the vision
            encoder (``"fpn_2"``, float32 [1, D, S, S]), and what functions that are compiled in
            two halves made of them (``"detr_encoder.kept_0"``). Which, the artifact decides.
        size: height and width of the picture, pixels.
        fingerprint: of the artifact that encoded it, the only one that can use it.
        picture: what was encoded, for drawing; None when loaded from a file.
    """

    features: Mapping[str, NDArray[Any]]
    size: tuple[int, int]
    fingerprint: str
    picture: KeptPicture | None = None

    def __repr__(self) -> str:
        height, width = self.size
        return f"EncodedImage({width}x{height})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the features to a safetensors file, from which they come back bit for bit.

        It is written under another name and then renamed, so that it is there whole or not at all.

        Raises:
            ImageError: a path that cannot be written.
        """
        height, width = self.size
        metadata = {
            "kind": _KIND,
            "height": str(height),
            "width": str(width),
            "artifact": self.fingerprint,
        }
        tensors = {name: np.ascontiguousarray(array) for name, array in self.features.items()}
        target = Path(os.fsdecode(path))
        partial = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            save_file(tensors, partial, metadata)
            partial.replace(target)
        except (OSError, ValueError, SafetensorError) as error:
            reason = " ".join(f"{getattr(error, 'strerror', None) or error}".split())
            raise ImageError(f"{target}: cannot be written ({reason})") from error
        finally:
            with suppress(OSError, ValueError):
                partial.unlink(missing_ok=True)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], fingerprint: str, names: Iterable[str]
    ) -> EncodedImage:
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            fingerprint: of the artifact that is to use it.
            names: of the features that it needs.

        Raises:
            ImageError: no such file, another kind of file, or one that another artifact made.
        """
        name = os.fsdecode(path)
        if not os.path.isfile(name):
            raise ImageError(f"{name}: no such file; EncodedImage.save makes one")
        try:
            with safe_open(name, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("kind") != _KIND:
                    raise ImageError(f"{name}: is no encoded image; EncodedImage.save makes one")
                size = (int(metadata["height"]), int(metadata["width"]))
                made_by = metadata["artifact"]
                # Another artifact's may have other names, and its message says more.
                _check_made_by(made_by, fingerprint, name)
                features = {key: aligned(file.get_tensor(key)) for key in names}
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"{name}: is damaged ({error}); encode the picture again") from error
        return cls(features, size, made_by)

    def check_made_by(self, fingerprint: str) -> None:
        """Refuse features of another artifact: they would give results without meaning.

        Raises:
            ImageError: another artifact, or another version of it, encoded the picture.
        """
        _check_made_by(self.fingerprint, fingerprint, "this encoded image")


def _check_made_by(made_by: str, fingerprint: str, name: str) -> None:
    if made_by != fingerprint:
        raise ImageError(
            f"{name}: was encoded by another artifact ({made_by[:12]}, this one is "
            f"{fingerprint[:12]}); encode the picture again with this one"
        )
