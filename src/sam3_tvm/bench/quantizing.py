"""What other engines' own tools make of the exported components, in eight bits.

Done before anything is timed, as a user would: what is measured is the engine that loads the
result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.bench.engines.base import first_line, model_file

__all__ = ["CALIBRATED", "QUANTIZERS", "SAMPLES", "load_samples", "quantize", "save_sample"]

CALIBRATED = "openvino-int8"
"""The files whose making takes samples."""

SAMPLES = 8
"""Samples for what is calibrated. NNCF takes 300 where there are so many: hours at SAM 3's size.

The rms error of the DETR encoder of ``random:tiny`` was 0.11 with 1, 0.081 with 4, 0.070 with 8,
0.066 with 16 and 0.063 with 64; that of its vision encoder 0.11 to 0.12 with 1 to 64 (NNCF 3.4)."""

Sample = list[NDArray[np.generic]]

# Their own errors derive from RuntimeError; graphs that they don't expect raise the others.
_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


def save_sample(
    work: Path, number: int, function: str, inputs: Sequence[NDArray[np.generic]]
) -> None:
    """Keep what a function is given in sample ``number``, in the order of its inputs, unless that
    of an earlier call is kept."""
    folder = work / "samples" / function / f"{number:02d}"
    if not folder.exists():
        folder.mkdir(parents=True)
        for place, array in enumerate(inputs):
            np.save(folder / f"{place:02d}.npy", array)


def load_samples(work: Path, function: str) -> list[Sample]:
    """What :func:`save_sample` kept of a function, mapped: features of pictures are large."""
    folders = sorted((work / "samples" / function).glob("*"))
    return [
        [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
        for folder in folders
    ]


def _dynamic(source: Path, path: Path, samples: Sequence[Sample]) -> None:
    """ONNX Runtime's ``quantize_dynamic``: products by weights, with scales of activations that
    are taken as they come.

    Its provider has no convolution of signed bytes, so these stay in float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        f"{source}",
        f"{path}",
        op_types_to_quantize=["MatMul", "Gemm"],
        weight_type=QuantType.QInt8,
        # A file of ONNX ends at 2 GB.
        use_external_data_format=True,
    )


def _calibrated(source: Path, path: Path, samples: Sequence[Sample]) -> None:
    """NNCF's ``quantize`` with its preset for transformers, which smooths activations' outliers
    into weights: eight bits for both, with scales from the samples."""
    # Otherwise it tells its makers of every use, and a process waits at its end until that is sent.
    os.environ["NNCF_CI"] = "1"
    import nncf
    import openvino

    model = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(samples),
    )
    openvino.save_model(model, path, compress_to_fp16=False)


Quantizer = Callable[[Path, Path, Sequence[Sample]], None]

QUANTIZERS: dict[str, Quantizer] = {"onnx-int8": _dynamic, CALIBRATED: _calibrated}
"""By the name of the files: from a component's ONNX file, and samples of its inputs, to a file."""


def quantize(files: str, functions: Sequence[str], work: str) -> dict[str, dict[str, str]]:
    """Make the files of an engine of components that were exported.

    Args:
        files: which, a key of :data:`QUANTIZERS`.
        functions: the components.
        work: where ``onnx/`` and ``samples/`` are.

    Returns:
        ``failures``: by function, why there is no file.
    """
    folder, failures = Path(work), {}
    for name in functions:
        path = model_file(folder, files, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            QUANTIZERS[files](model_file(folder, "onnx", name), path, load_samples(folder, name))
        except _ERRORS as error:
            failures[name] = f"could not be quantized: {first_line(error)}"
    return {"failures": failures}
