"""Where our time goes: every call that a compiled function makes, by kernel.

Relax's VM tells an instrument of each call before and after it. Names and shapes of the
arguments say what a kernel had to compute and to move:

- ``linear_KxN...`` of A ``[M, K]``: 2 M K N;
- ``matmul_KxN...`` of A ``[..., M, K]``: 2 M K N for each product of the batch;
- ``convHxW_CxD...``, ``convHxW_matrix_CxD...`` with result ``[..., D, h, w]``: 2 H W C for each of
  its values;
- ``conv3x3_winograd_CxD...`` with result ``[B, D, h, w]``: 2 * 36 C D for each tile of 4 x 4
  values; the transforms, some hundredths of that, are not counted;
- ``conv_upsampled3x3_CxD...`` with result ``[B, D, h, w]``: 2 * 9 C for each four of its values;
- ``conv_parities3x3_CxD...`` the same: 2 * 4 C for each of its values;
- ``conv_transposeHxW_CxD...`` of A ``[..., C, h, w]``: 2 H W D for each of its values;
- ``attention_HxD...`` of q, k, v with result ``[..., E]``: 2 (D + E) for each pair of a query and a
  key in a head.

That is the arithmetic that a kernel's name promises, whatever shorter way it takes. Bytes are
those of all tensor arguments, each read or written once: less cannot be moved.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm import artifact as artifacts
from sam3_tvm.bench.parts import (
    BenchError,
    Part,
    external_inputs,
    run_part,
    select_parts,
    usual_sizes,
)
from sam3_tvm.runtime.execution.engine import Engine, checked_threads
from sam3_tvm.runtime.execution.functions import FunctionTable, aligned
from sam3_tvm.runtime.execution.module import Machine

__all__ = ["KernelRow", "Profile", "kernel_arithmetic", "kernel_flops", "profile"]

Shape = tuple[int, ...]


@dataclass
class KernelRow:
    """All calls of one kernel in one function.

    Attributes:
        name: the kernel.
        calls: how many.
        seconds: together.
        flops: what it computed, None where its name doesn't tell.
        bytes: of its tensors.
    """

    name: str
    calls: int = 0
    seconds: float = 0.0
    flops: int | None = None
    bytes: int = 0

    @property
    def rate(self) -> float | None:
        """FLOP/s, where its name tells."""
        return None if self.flops is None else self.flops / self.seconds

    def share(self, peaks: Mapping[str, float]) -> float | None:
        """Of the peak in its arithmetic; None where its name or the peaks don't tell."""
        peak = _peak_of(self.name, peaks)
        return None if self.rate is None or peak is None else self.rate / peak


@dataclass
class Profile:
    """A function's calls.

    Attributes:
        function: its name.
        seconds: of the whole run, the instrument's own time included.
        kernels: longest first.
    """

    function: str
    seconds: float
    kernels: list[KernelRow]

    @property
    def flops(self) -> int:
        """What the kernels computed whose names tell."""
        return sum(row.flops or 0 for row in self.kernels)

    @property
    def between(self) -> float:
        """Seconds of the run that no kernel accounts for: the VM's and the instrument's own."""
        return self.seconds - sum(row.seconds for row in self.kernels)

    def share(self, peaks: Mapping[str, float]) -> float:
        """The time that its kernels' arithmetic takes at the peaks, of the time that it took."""
        at_peak = ((row.flops, _peak_of(row.name, peaks)) for row in self.kernels)
        return sum(flops / peak for flops, peak in at_peak if flops and peak) / self.seconds

    def to_json(self, peaks: Mapping[str, float]) -> dict[str, Any]:
        """As plain data, with rates and shares.

        Args:
            peaks: the machine's, in FLOP/s, by kind of arithmetic; float32 at least.
        """
        return {
            "function": self.function,
            "seconds": self.seconds,
            "flops": self.flops,
            "share_of_peak": self.share(peaks),
            "seconds_between_kernels": self.between,
            "kernels": [
                {
                    **asdict(row),
                    "share": row.seconds / self.seconds,
                    "arithmetic": kernel_arithmetic(row.name),
                    "flops_per_second": row.rate,
                    "share_of_peak": row.share(peaks),
                    "bytes_per_second": row.bytes / row.seconds,
                }
                for row in self.kernels
            ],
        }


def kernel_arithmetic(name: str) -> str:
    """In what a kernel multiplies where the CPU can, by its name: float32, bfloat16 or int8.

    ``_w8a8`` and ``_bfloat16`` end the names of those that don't take float32; convolutions of
    larger filters than 1 x 1 have bfloat16 weights, and products of float32 but over a doubled
    picture or by a matrix unit.
    A number behind these tells kernels of one name apart.
    """
    kind = re.search(r"_(w8a8|bfloat16)\d*$", name)
    if kind is None:
        return "float32"
    if kind[1] == "w8a8":
        return "int8"
    pairs = re.match(
        r"linear|matmul|attention|conv(1x1|_transpose|_parities|_upsampled|\d+x\d+_matrix)", name
    )
    return "bfloat16" if pairs else "float32"


def _peak_of(name: str, peaks: Mapping[str, float]) -> float | None:
    """A kernel's; bytes have none where it wasn't measured, as pairs are widened to float32."""
    kind = kernel_arithmetic(name)
    return peaks.get(kind) if kind == "int8" else peaks.get(kind, peaks["float32"])


def kernel_flops(name: str, shapes: Sequence[Shape]) -> int | None:
    """FLOPs of a call, from the kernel's name and its tensors' shapes; see the module.

    Args:
        name: the kernel's.
        shapes: of its tensor arguments in order, the result last.

    Returns:
        The count, a multiply-add as two, or None for a name that doesn't say.
    """
    if not shapes:
        return None
    first, last = math.prod(shapes[0]), math.prod(shapes[-1])
    if found := re.match(r"(?:linear|matmul)_(\d+)x(\d+)", name):
        return 2 * first * int(found[2])
    if found := re.match(r"conv_transpose(\d+)x(\d+)_(\d+)x(\d+)", name):
        height, width, _, features = map(int, found.groups())
        return 2 * height * width * features * first
    if found := re.match(r"depthwise(\d+)x(\d+)_", name):
        return 2 * int(found[1]) * int(found[2]) * last
    if found := re.match(r"conv_upsampled3x3_(\d+)x", name):
        return 2 * 9 * int(found[1]) * last // 4
    if found := re.match(r"conv_parities3x3_(\d+)x", name):
        return 2 * 4 * int(found[1]) * last
    if found := re.match(r"conv3x3_winograd_(\d+)x(\d+)", name):
        channels, features = map(int, found.groups())
        batch, _, height, width = shapes[-1]
        return 2 * 36 * channels * features * batch * -(-height // 4) * -(-width // 4)
    if found := re.match(r"conv(\d+)x(\d+)_(?:matrix_)?(\d+)x(\d+)", name):
        height, width, channels, _ = map(int, found.groups())
        return 2 * height * width * channels * last
    if (found := re.match(r"attention_(\d+)x(\d+)", name)) and len(shapes) > 2:
        heads, size = map(int, found.groups())
        found_size = shapes[-1][-1]
        return 2 * (size + found_size) * (last // found_size) * _keys(name, shapes[1], heads * size)
    return None


def _keys(name: str, shape: Shape, width: int) -> int:
    """How many keys a query sees, from an attention's name and its keys' shape."""
    if found := re.search(r"_windows_(\d+)x(\d+)", name):
        return int(found[1]) * int(found[2])
    # Keys that share a tensor with queries or values lie as [B, L, parts, H, D].
    parts = shape[2] if len(shape) == 5 else 1
    return math.prod(shape) // max(1, shape[0] * parts * width)


def profile(
    path: Path,
    functions: Sequence[str] | None = None,
    threads: int | None = None,
    seed: int = 0,
) -> list[Profile]:
    """Run an artifact's functions once to warm up and once with the instrument.

    Args:
        path: the artifact.
        functions: parts or functions, as :func:`select_parts` takes them; by default all that
            segmenting a picture with a phrase runs.
        threads: how many compute; by default the runtime's choice.
        seed: of the inputs.

    Returns:
        One profile for each compiled function, in the order of running.

    Raises:
        BenchError: an unknown function, or a part that runs none by itself.
        Sam3Error: an artifact that cannot be opened.
    """
    opened = artifacts.open(path)
    opened.check_host()
    components = opened.manifest.components
    parts = [p for p in select_parts(functions, components) if p.functions]
    if not parts:
        raise BenchError("nothing to profile; name functions, or leave --functions out")
    machine = _Machine(opened, checked_threads(threads))
    found: list[Profile] = []

    def invoke(name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        outputs, seen = machine.profiled(name, inputs)
        found.append(seen)
        return outputs

    # A function that is compiled in two halves gives two profiles.
    table = FunctionTable(components, invoke, opened.manifest.stages)
    for part in parts:
        given = _inputs(part, opened, seed)
        run_part(part, components, given, lambda name, inputs: table(name, *inputs))
    return found


def _inputs(part: Part, opened: artifacts.Artifact, seed: int) -> Mapping[str, Any]:
    from sam3_tvm.abi import abi
    from sam3_tvm.components import Component
    from sam3_tvm.sources.sampling import sample_inputs

    # The contract's own specs: a manifest doesn't say what inputs hold and which sizes are usual.
    specs = external_inputs(part, abi(opened.manifest.sizes))
    whole = Component(part.name, specs, ())
    # Fewer token ids than any vocabulary has: their values don't matter to the time.
    drawn = sample_inputs(whole, usual_sizes(whole), vocabulary=256, seed=seed)
    return {
        spec.name: value if isinstance(value, tuple) else aligned(value.numpy())
        for spec, value in zip(specs, drawn, strict=True)
    }


@dataclass
class _Instrument:
    """Takes the time of each call, and once per call of a kernel what its arguments were."""

    rows: dict[str, KernelRow] = field(default_factory=dict)
    start: float = 0.0

    def __call__(self, _: Any, name: str, before: bool, __: Any, *arguments: Any) -> None:
        now = time.perf_counter()
        if not before:
            row = self.rows.setdefault(name, KernelRow(name))
            row.seconds += now - self.start
            row.calls += 1
            if not name.startswith(("vm.", "runtime.")):
                self._count(row, arguments)
        self.start = time.perf_counter()

    def _count(self, row: KernelRow, arguments: Sequence[Any]) -> None:
        import tvm_ffi

        tensors = [a for a in arguments if isinstance(a, tvm_ffi.Tensor)]
        shapes = [tuple(int(n) for n in t.shape) for t in tensors]
        row.bytes += sum(
            math.prod(shape) * _item_bytes(f"{t.dtype}")
            for shape, t in zip(shapes, tensors, strict=True)
        )
        flops = kernel_flops(row.name, shapes)
        if flops is not None:
            row.flops = (row.flops or 0) + flops


def _item_bytes(dtype: str) -> int:
    return np.dtype(dtype).itemsize


class _Machine:
    """An artifact's functions with the VM at hand, which the runtime keeps to itself."""

    def __init__(self, opened: artifacts.Artifact, threads: int) -> None:
        self._machine = Machine(opened)
        self._engine = Engine(threads)

    def profiled(self, name: str, inputs: Sequence[Any]) -> tuple[Sequence[NDArray[Any]], Profile]:
        """A function's outputs, and its second run's calls."""
        import tvm_ffi

        def run() -> tuple[list[NDArray[Any]], float]:
            start = time.perf_counter()
            given = self._machine(name, inputs)
            return given, time.perf_counter() - start

        self._engine.run(run)
        instrument = _Instrument()
        self._machine.vm["set_instrument"](tvm_ffi.convert(instrument))
        try:
            given, seconds = self._engine.run(run)
        finally:
            self._machine.vm["set_instrument"](tvm_ffi.convert(_ignore))
        rows = sorted(instrument.rows.values(), key=lambda r: -r.seconds)
        return given, Profile(name, seconds, rows)


def _ignore(*_: Any) -> None:
    """The instrument of a VM that isn't profiled."""
