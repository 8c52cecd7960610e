"""How a convolution by Winograd's F(4 x 4, 3 x 3) is cut into tasks, and whether it pays.

Estimates count vector instructions, a multiply-add of a whole vector as one; what moving and
transforming values costs in that unit was measured (256 channels, 512-bit vectors, one thread).
"""

from __future__ import annotations

from dataclasses import dataclass

from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.conv.winograd_matrices import INPUTS, OUTPUTS, TAPS
from sam3_tvm.compiler.kernels.product.tile import RegisterTile, wide_tile
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["POINTS", "WinogradPlan", "plan_winograd", "winograd_pays"]

POINTS = INPUTS * INPUTS
"""Products per pair of channels and tile of 4 x 4 outputs."""

# Tiles in a task: with 48 a weight, which streams from L3, serves 24 FLOP a byte.
_BLOCK = 48
# Most tasks that share a block of tiles, each transforming all of its inputs.
_SPLITS = 8
# Per vector of tiles: the 36 points of an input channel, and of an output channel.
_INPUT_COST, _OUTPUT_COST = 700, 400
# Per pair of channels: its 36 transformed weights.
_WEIGHT_COST = 100
# Winograd must be this much cheaper than the direct sum by the estimate: it is an estimate.
_MARGIN = 0.75


@dataclass(frozen=True)
class WinogradPlan:
    """How a convolution is cut.

    Tiles are 4 x 4 outputs, numbered row by row. A task is ``block`` consecutive ones of a
    picture times ``task_panels`` panels of ``tile.rows`` output channels, done ``chunk`` panels
    at a time.
    """

    shape: ConvShape
    tile: RegisterTile
    block: int
    task_panels: int
    chunk: int

    @property
    def across(self) -> int:
        """Tiles in a row of tiles."""
        return -(-self.shape.out_width // OUTPUTS)

    @property
    def tiles(self) -> int:
        """Tiles of a picture."""
        return _tiles(self.shape)

    @property
    def blocks(self) -> int:
        """Blocks of tiles in a picture."""
        return -(-self.tiles // self.block)

    @property
    def panels(self) -> int:
        """Panels of output channels."""
        return -(-self.shape.out_channels // self.tile.rows)

    @property
    def splits(self) -> int:
        """Tasks that share a block of tiles."""
        return -(-self.panels // self.task_panels)

    @property
    def line(self) -> int:
        """Values in a row of pixels of the longest run of tiles, with what it sees beside it."""
        lanes = self.tile.lanes
        run = -(-min(self.block, self.across) // lanes) * lanes
        return OUTPUTS * run + lanes

    @property
    def weight_stride(self) -> int:
        """From the weights of a point to those of the next."""
        return _skewed(self.panels * self.shape.in_channels * self.tile.rows)

    @property
    def input_stride(self) -> int:
        """From the inputs of a point to those of the next; a vector may be stored behind them."""
        return _skewed(self.shape.in_channels * self.block + self.tile.lanes)

    @property
    def product_stride(self) -> int:
        """From the products of a point to those of the next; a vector may be loaded behind."""
        return _skewed(self.chunk * self.tile.rows * self.block + self.tile.lanes)


def _skewed(extent: int) -> int:
    """At least ``extent``, in cache lines of 16 values, and an odd number of them: a transform
    stores to all 36 points, which must not fall into one cache set."""
    return (-(-extent // 16) | 1) * 16


def _tiles(shape: ConvShape) -> int:
    return -(-shape.out_height // OUTPUTS) * -(-shape.out_width // OUTPUTS)


def _block(tile: RegisterTile) -> int:
    return -(-_BLOCK // tile.columns) * tile.columns


def plan_winograd(target: CpuTarget, shape: ConvShape) -> WinogradPlan:
    """The cut for a CPU; see :class:`WinogradPlan`."""
    tile = wide_tile(target)
    block = _block(tile)
    blocks = -(-_tiles(shape) // block)
    panels = -(-shape.out_channels // tile.rows)
    products = POINTS * shape.in_channels * shape.out_channels

    def time(splits: int) -> float:
        task = products / splits + _INPUT_COST * shape.in_channels
        return -(-blocks * splits // target.cores) * task

    task_panels = -(-panels // min(range(1, min(_SPLITS, panels) + 1), key=time))
    # Products stay in half of L2 until they are transformed.
    fits = max(1, target.l2_bytes // 2 // (4 * POINTS * block * tile.rows))
    chunk = -(-task_panels // -(-task_panels // fits))
    return WinogradPlan(shape, tile, block, task_panels, chunk)


def winograd_pays(target: CpuTarget, shape: ConvShape) -> bool:
    """Whether a convolution is one for Winograd's algorithm, and a large enough one.

    Args:
        target: the CPU.
        shape: the convolution. 3 x 3, of stride and dilation 1, is what the algorithm does.

    Returns:
        True if the estimate for one picture is below three quarters of the direct sum's: few
        channels are all transform, few pixels all weights, and blocks of tiles can be mostly
        empty.
    """
    if shape.kernel != (TAPS, TAPS) or not shape.dense:
        return False
    tile = wide_tile(target)
    pairs = shape.in_channels * shape.out_channels
    direct = shape.taps * pairs * shape.out_height * shape.out_width / tile.lanes
    block = _block(tile)
    vectors = -(-_tiles(shape) // block) * block // tile.lanes
    transforms = _INPUT_COST * shape.in_channels + _OUTPUT_COST * shape.out_channels
    return vectors * (POINTS * pairs + transforms) + _WEIGHT_COST * pairs < _MARGIN * direct
