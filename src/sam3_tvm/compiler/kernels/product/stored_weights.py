"""Weights stored in fewer bits than they are multiplied in.

All arithmetic is in float32. What narrow weights save is bytes: of the artifact, of memory, and
of the traffic to it. Packed weights are widened into float32 scratch on their way:

- a product (:mod:`~sam3_tvm.compiler.kernels.product.task`) widens a panel as its first tile of
  rows reads it, where two conversions and two stores a step hide behind 24 multiply-adds; the other
  tiles read the wide panel from L1. Done beforehand the same work took 6 to 8 % of a layer: a wide
  panel fills L1, and nothing overlaps with its stores;
- a convolution (:mod:`~sam3_tvm.compiler.kernels.conv.strips`) broadcasts single weights, which
  narrow ones can't be from memory, so a task widens a block of them before its sweep over the
  pixels: a thousandth of its time.

float16 keeps 11 significant bits: a weight moves by at most 2^-11 of itself (below 6e-5, by
2^-25); bfloat16 keeps 8, and all of float32's range: by at most 2^-8 of itself. int8 is symmetric
per output channel: ``w = scale * q`` with q in -127 .. 127 and ``scale = max |w| / 127`` of the
channel, so a weight moves by at most half a scale, 1/254 of the channel's largest. The scale
multiplies the finished sum, before the bias.

Instructions: a shift widens a vector of bfloat16, ``vcvtph2ps`` (F16C, AVX-512) or ``fcvtl`` one
of halves, ``vpmovsxbd`` or ``sshll`` and a conversion one of bytes. x86-64-v2 has none for halves,
and LLVM would call a library function for every value: :func:`widens` says so.
"""

from __future__ import annotations

from sam3_tvm.compiler.kernels.emit import Expr, as_index, load, loop, store, tensor
from sam3_tvm.compiler.kernels.product.bfloat16 import widened
from sam3_tvm.compiler.targets.cpu import CpuTarget

__all__ = [
    "INT8_MAX",
    "STORED",
    "load_wide",
    "name_suffix",
    "scale_argument",
    "widen_panel",
    "widens",
]

STORED = {"float32": "float32", "float16": "float16", "bfloat16": "uint16", "int8": "int8"}
"""What weights of a precision are to a kernel and in an artifact's file: NumPy has no bfloat16."""

INT8_MAX = 127
"""The largest magnitude of a quantised weight; -128 is not used, so that zero is the centre."""


def widens(target: CpuTarget, precision: str) -> bool:
    """Whether the target has instructions that make float32 of stored weights."""
    x86 = target.triple.startswith("x86_64")
    return precision != "float16" or not x86 or target.has("F16C")


def name_suffix(precision: str) -> str:
    """What the name of a kernel over such weights ends with: nothing for float32."""
    return "" if precision == "float32" else f"_{precision}"


def scale_argument(precision: str, channels: int) -> Expr | None:
    """The kernel's next argument, one float32 per output channel; None unless int8."""
    return tensor("scale", (channels,)) if precision == "int8" else None


def load_wide(buffer: Expr, *indices: Expr | int, lanes: int) -> Expr:
    """:func:`~sam3_tvm.compiler.kernels.emit.load`, converted to float32."""
    value = load(buffer, *indices, lanes=lanes)
    if str(buffer.dtype) == STORED["bfloat16"]:
        return widened(value, lanes)
    return value.astype("float32" if lanes == 1 else f"float32x{lanes}")


def widen_panel(
    wide: Expr,
    weight: Expr,
    panel: Expr,
    k0: Expr,
    steps: Expr,
    *,
    width: int,
    lanes: int,
    at: Expr | int = 0,
) -> None:
    """Emit ``wide[at + k * width + j] = weight[panel, k0 + k, j]`` for k in ``0 .. steps - 1``.

    Args:
        wide: float32 scratch.
        weight: packed weights [panels, K, width] of any precision.
        panel: which panel.
        k0: the first step of the reduction.
        steps: how many.
        width: values per step, a multiple of ``lanes``.
        lanes: values converted at once.
        at: where in ``wide`` the panel starts.
    """
    with loop(steps) as k:
        for j in range(0, width, lanes):
            value = load_wide(weight, panel, k0 + k, j, lanes=lanes)
            store(wide, value, as_index(at) + k * as_index(width) + as_index(j), lanes=lanes)
