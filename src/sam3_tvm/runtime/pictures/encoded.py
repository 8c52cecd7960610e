"""A picture after the vision encoder: the costly part, done once and kept for many prompts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.saved import check_made_by, opened_tensors, save_tensors
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
        save_tensors(path, self.features, metadata)

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
        with opened_tensors(path, _KIND, "encoded image", "EncodedImage.save") as (about, read):
            size = (int(about["height"]), int(about["width"]))
            made_by = about["artifact"]
            # Another artifact's may have other names, and its message says more.
            check_made_by(made_by, fingerprint, os.fsdecode(path))
            features = {key: read(key) for key in names}
        return cls(features, size, made_by)

    def check_made_by(self, fingerprint: str) -> None:
        """Refuse features of another artifact: they would give results without meaning.

        Raises:
            ImageError: another artifact, or another version of it, encoded the picture.
        """
        check_made_by(self.fingerprint, fingerprint, "this encoded image")
