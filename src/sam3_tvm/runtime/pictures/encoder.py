"""The vision encoder, and the tracker's neck behind it: what is computed once per picture."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.manifest import Manifest
from sam3_tvm.runtime.execution.functions import FunctionTable
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.pictures.image import preprocess

__all__ = ["Encoder"]


class Encoder:
    """Encodes pictures, for concepts, for clicks and for films.

    Args:
        call: calls the artifact's functions.
        manifest: how a picture is preprocessed.
        on_image: the functions that take features of the picture.
        levels: features that are kept beside those that ``on_image`` takes, by name.
        frames: whether what is encoded are frames of a film, of which it is said later whether
            there is memory of earlier ones. A picture's features are told that there is none, where
            the artifact's reference does so.
    """

    def __init__(
        self,
        call: FunctionTable,
        manifest: Manifest,
        on_image: ImageFunctions,
        levels: Collection[str] = (),
        frames: bool = False,
    ) -> None:
        self._call = call
        self._preprocessing = manifest.preprocessing
        self._on_image = on_image
        self._levels = tuple(levels)
        clicks = manifest.sizes.clicks
        self._without_memory = clicks is not None and clicks.without_memory and not frames

    def __call__(
        self, rgb: NDArray[np.uint8], functions: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """What calls with a prompt need of a picture, by name.

        The tracker's neck runs where something needs it.

        Args:
            rgb: the picture, uint8 [H, W, 3].
            functions: which of the functions will be called; None for all.
        """
        named = self._call.named("vision_encoder", preprocess(rgb, self._preprocessing))
        if not {*self._levels, *self._on_image.features(functions)} <= named.keys():
            named |= self._call.named("tracker_neck", named["backbone"])
            if self._without_memory:
                (named["tracker_2"],) = self._call("without_memory", named["tracker_2"])
        kept = self._on_image.keep(named, functions)
        return {**{level: named[level] for level in self._levels}, **kept}
