"""How large a picture a vision encoder takes: which sizes it can be given, and what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sam3_tvm.errors import Sam3Error

__all__ = ["ImageSizeError", "ImageSizeWarning", "VisionShape"]

# Of 14 pixels each: 224 to 1344. Below, a mask has too few cells for what SAM 3 is asked for;
# above, attention to the whole picture takes most of the time and of the memory.
_LEAST, _MOST = 16, 96


class ImageSizeError(Sam3Error):
    """A size that a vision encoder can't be given."""


class ImageSizeWarning(UserWarning):
    """A size that costs more than it looks."""


@dataclass(frozen=True)
class VisionShape:
    """What of a vision encoder, a plain ViT with windows, decides its arithmetic.

    Attributes:
        image: side of its square picture, pixels (1008).
        own: side of the picture that the weights are for.
        patch: side of a patch, pixels (14).
        window: side of a window of attention, patches (24).
        layers: all of them (32).
        whole: layers whose attention is to the whole picture, not within windows (4).
        width: of its features (1024).
        hidden: width within its feed-forward layers (4736).
    """

    image: int
    own: int
    patch: int
    window: int
    layers: int
    whole: int
    width: int
    hidden: int

    @property
    def grid(self) -> int:
        """Patches a side."""
        return self.image // self.patch

    @property
    def padded(self) -> int:
        """Patches a side of whole windows, the last of which may be padded."""
        return -(-self.grid // self.window) * self.window

    @property
    def flops(self) -> int:
        """Operations a picture in matrix products, convolutions and attention, a multiply-add as
        two.

        Projections are of patches alone: of padding they are the bias, whatever the picture
        (:mod:`sam3_tvm.compiler.algebra.move_padding`). Attention is of the padding, too: every
        patch looks at it, and what it would see itself is computed and dropped.
        """
        patches, padded = self.grid**2, self.padded**2
        projections = 4 * self.width**2 + 2 * self.width * self.hidden
        embedding = 3 * self.patch**2 * self.width
        windowed = (self.layers - self.whole) * padded * self.window**2
        attention = 2 * self.width * (windowed + self.whole * patches**2)
        return 2 * (patches * (embedding + self.layers * projections) + attention)

    @property
    def dropped(self) -> float:
        """The fraction of ``flops`` that goes into what padding sees, and is dropped."""
        padding = self.padded**2 - self.grid**2
        attention = 2 * self.width * (self.layers - self.whole) * padding * self.window**2
        return 2 * attention / self.flops

    @property
    def share(self) -> float:
        """``flops`` as a fraction of those at its own size."""
        return self.flops / replace(self, image=self.own).flops

    def at(self, image: int | None) -> VisionShape:
        """The same encoder for pictures of another size; None for its own.

        Raises:
            ImageSizeError: a size that it can't be given.
        """
        if image is None or image == self.own:
            return replace(self, image=self.own)
        smallest = min(_LEAST, self.own // self.patch // 2)
        least, most = smallest * self.patch, _MOST * self.patch
        below = min(max(image // self.patch * self.patch, least), most)
        nearest = sorted({below, min(below + self.patch, most)} if image > least else {least})
        if below != image:
            raise ImageSizeError(
                f"image size {image}: it must be a multiple of {self.patch} from {least} to "
                f"{most}; nearest {'is' if len(nearest) == 1 else 'are'} "
                f"{' and '.join(map(str, nearest))}"
            )
        return replace(self, image=image)

    def warning(self) -> str | None:
        """Why its size costs more than it looks, and which sizes near it don't; None if not so."""
        if self.padded == self.grid:
            return None
        whole = list(self._whole_windows())
        return (
            f"a picture of {self.image} pixels is {self.grid} patches a side, which attention pads "
            f"to {self.padded}, whole windows of {self.window}: it computes "
            f"{(self.padded / self.grid) ** 2:.2f} times the patches, and drops {self.dropped:.0%} "
            "of the vision encoder's work; "
            f"{' and '.join(map(str, whole))} need{'s' * (len(whole) == 1)} no padding"
        )

    def _whole_windows(self) -> Iterator[int]:
        """The sizes around its own that have no padding."""
        windows = self.padded // self.window
        for count in (windows - 1, windows):
            if count and count * self.window <= _MOST:
                yield count * self.window * self.patch
