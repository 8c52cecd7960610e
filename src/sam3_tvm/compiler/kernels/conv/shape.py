"""The sizes of a convolution, as far as they are known when it is compiled."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConvShape"]


@dataclass(frozen=True)
class ConvShape:
    """The static part of a convolution; the batch is symbolic.

    Attributes:
        in_channels: I.
        out_channels: O.
        height: rows of the input.
        width: columns of the input.
        kernel: rows and columns of the kernel.
        stride: of the rows and of the columns.
        padding: zeros above, left, below, right.
        dilation: of the rows and of the columns.
    """

    in_channels: int
    out_channels: int
    height: int
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return self._out(self.height + self.padding[0] + self.padding[2], 0)

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self._out(self.width + self.padding[1] + self.padding[3], 1)

    @property
    def taps(self) -> int:
        """Weights per pair of channels."""
        return self.kernel[0] * self.kernel[1]

    @property
    def dense(self) -> bool:
        """Whether neighbouring outputs read neighbouring inputs: stride and dilation are 1."""
        return self.stride == (1, 1) and self.dilation == (1, 1)

    def _out(self, extent: int, axis: int) -> int:
        reach = self.dilation[axis] * (self.kernel[axis] - 1) + 1
        return (extent - reach) // self.stride[axis] + 1
