"""Region-of-interest pooling, as torchvision defines it."""

from __future__ import annotations

from tvm import relax

from sam3_tvm.importer.converters._tensors import accumulator, cast, dtype_of
from sam3_tvm.importer.registry import Context, converter


# This package has an operator of the same arguments for where torchvision is absent.
@converter("torchvision::roi_align", "sam3_tvm::roi_align")
def roi_align(
    cx: Context,
    input: relax.Expr,
    rois: relax.Expr,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> relax.Expr:
    """Average bilinear samples of ``input [B, C, H, W]`` in each bin of each region.

    ``rois [K, 5]`` holds the batch index and x0, y0, x1, y1; the result is
    ``[K, C, pooled_height, pooled_width]``, and K may be 0. The definition is that of
    Mask R-CNN (He et al. 2017) with torchvision's conventions: ``aligned`` shifts the scaled
    corners by half a pixel and lets regions be smaller than a pixel; ``sampling_ratio <= 0``
    takes ``ceil(bin size)`` samples a side; a sample beyond one pixel outside the picture
    counts as 0.

    The corners are scaled and shifted here, in torchvision's order: as it decides on the
    number of samples by a ceiling, rounding differently would change whole samples.
    """
    dtype = accumulator(dtype_of(input))
    data, regions = cast(cx, input, dtype), cast(cx, rois, dtype)
    sampled = None
    if aligned:
        index, start, end = (_columns(cx, regions, *c) for c in ((0, 1), (1, 3), (3, 5)))
        start, end = (_scaled(cx, corner, spatial_scale) for corner in (start, end))
        spatial_scale = 1.0
        if sampling_ratio <= 0:
            sampled, end = _with_samples(cx, start, end)
        regions = cx.emit(relax.op.concat([index, start, end], axis=1))
    out = cx.emit(
        relax.op.vision.roi_align(
            data,
            regions,
            pooled_size=(pooled_height, pooled_width),
            spatial_scale=spatial_scale,
            sample_ratio=sampling_ratio,
            aligned=aligned,
            layout="NCHW",
            mode="avg",
        )
    )
    if sampled is not None:
        out = cx.emit(relax.op.where(sampled, out, relax.const(0.0, dtype)))
    return cast(cx, out, dtype_of(input))


def _columns(cx: Context, x: relax.Expr, begin: int, end: int) -> relax.Expr:
    return cx.emit(relax.op.strided_slice(x, axes=[1], begin=[begin], end=[end]))


def _scaled(cx: Context, corner: relax.Expr, scale: float) -> relax.Expr:
    """From the picture's pixels to the centre-based ones of the features."""
    dtype = dtype_of(corner)
    scaled = cx.emit(relax.op.multiply(corner, relax.const(scale, dtype)))
    return cx.emit(relax.op.subtract(scaled, relax.const(0.5, dtype)))


def _with_samples(cx: Context, start: relax.Expr, end: relax.Expr) -> tuple[relax.Expr, relax.Expr]:
    """Which regions have a positive size, bool ``[K, 1, 1, 1]``, and ends that make all have one.

    ``ceil(bin size)`` samples are none for a point or an inverted region, whose average is 0
    by definition, but Relax's loop over samples runs at least once.
    """
    size = cx.emit(relax.op.subtract(end, start))
    smaller = cx.emit(relax.op.min(size, axis=1, keepdims=True))
    positive = cx.emit(relax.op.greater(smaller, relax.const(0.0, dtype_of(size))))
    one = relax.const(1.0, dtype_of(size))
    end = cx.emit(relax.op.where(positive, end, relax.op.add(start, one)))
    return cx.emit(relax.op.expand_dims(positive, [2, 3])), end
