"""What is tuned: families of kernels, at SAM 3's shapes, with the sizes to try for each.

A family's kernels share sizes, so what is looked for is one choice for all of its shapes. Rows
(pictures, windows, heads) are fewer than in SAM 3, so that a call takes about a tenth of a
second on two cores: enough for all of them to make many tasks for every core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sam3_tvm.compiler.kernels.attention.attention import AttentionSpec, attention_kernel
from sam3_tvm.compiler.kernels.conv.direct import conv_kernel, conv_transpose_kernel
from sam3_tvm.compiler.kernels.conv.shape import ConvShape
from sam3_tvm.compiler.kernels.product.epilogue import Epilogue
from sam3_tvm.compiler.kernels.product.linear import linear_kernel
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = ["FAMILIES", "Family", "Subject"]


@dataclass(frozen=True)
class Subject:
    """A kernel that is timed.

    Attributes:
        name: for reports.
        build: makes its PrimFunc for a target.
        sizes: values of its symbolic sizes.
    """

    name: str
    build: Callable[[CpuTarget], Any]
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """Kernels that share tile sizes.

    Attributes:
        name: as the command line spells it.
        candidates: by field of :class:`~sam3_tvm.compiler.targets.tiles.Tiles`, the sizes to try.
        subjects: the kernels.
    """

    name: str
    candidates: Mapping[str, tuple[int, ...]]
    subjects: tuple[Subject, ...]


def _linear(rows: int, k: int, n: int) -> Subject:
    epilogue = Epilogue(bias=True)
    return Subject(
        f"linear {k}x{n}, {rows} rows", lambda t: linear_kernel(t, n, k, epilogue), {"m": rows}
    )


def _attention(batch: int, length: int, heads: int, head_dim: int) -> Subject:
    spec = AttentionSpec(heads, head_dim, head_dim, head_dim**-0.5)
    return Subject(
        f"attention {length}x{length}, {batch} x {heads} heads of {head_dim}",
        lambda t: attention_kernel(t, spec),
        {"batch": batch, "lq": length, "lk": length},
    )


def _conv(channels: int, side: int, kernel: int) -> Subject:
    pad = kernel // 2
    shape = ConvShape(
        channels, channels, side, side, kernel=(kernel, kernel), padding=(pad, pad, pad, pad)
    )
    return Subject(
        f"conv {kernel}x{kernel}, {channels} channels, {side}x{side}",
        lambda t: conv_kernel(t, shape, Epilogue(bias=True)),
        {"batch": 1},
    )


def _transposed(channels: int, features: int, side: int) -> Subject:
    return Subject(
        f"transposed conv 2x2, {channels} to {features} channels, {side}x{side}",
        lambda t: conv_transpose_kernel(t, channels, features, side, side, Epilogue(bias=True)),
        {"batch": 1},
    )


FAMILIES = {
    family.name: family
    for family in (
        # The vision encoder's.
        Family(
            "strassen",
            {
                "strassen_rows": (96, 144, 240, 288, 384),
                "strassen_depth": (256, 384, 768, 1024),
            },
            (_linear(1728, 1024, 4736), _linear(1728, 4736, 1024), _linear(1728, 1024, 3072)),
        ),
        # The detector's, too narrow for Strassen's algorithm.
        Family(
            "linear",
            {
                "gemm_rows": (48, 72, 120, 144, 192, 240, 288),
                "gemm_columns": (128, 192, 384, 512),
                "gemm_depth": (128, 192, 320, 384, 512),
            },
            (_linear(5184, 256, 2048), _linear(5184, 2048, 256), _linear(5184, 256, 256)),
        ),
        Family(
            "attention",
            {
                "task_queries": (144, 192, 288, 384, 768),
                "block_keys": (64, 96, 128, 144, 256, 288),
            },
            (_attention(9, 576, 16, 64), _attention(1, 5184, 2, 64), _attention(1, 5184, 4, 32)),
        ),
        Family(
            "convolution",
            {"strip_steps": (144, 192, 216, 384, 432, 576)},
            (_conv(256, 72, 3), _conv(256, 144, 1), _transposed(1024, 512, 72)),
        ),
    )
}
"""By name, in the order of their share of SAM 3's time."""
