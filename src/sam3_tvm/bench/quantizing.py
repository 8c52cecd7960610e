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

__all__ = ["QUANTIZERS", "load_sample", "quantize", "save_sample"]

# Their own errors derive from RuntimeError; graphs that they don't expect raise the others.
_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError)


def save_sample(work: Path, function: str, inputs: Sequence[NDArray[np.generic]]) -> None:
    """Keep what a function is given, in the order of its inputs, unless something is kept."""
    folder = work / "sample" / function
    if not folder.exists():
        folder.mkdir(parents=True)
        for number, array in enumerate(inputs):
            np.save(folder / f"{number:02d}.npy", array)


def load_sample(work: Path, function: str) -> list[NDArray[np.generic]]:
    """The inverse of :func:`save_sample`."""
    return [np.load(path) for path in sorted((work / "sample" / function).glob("*.npy"))]


def _dynamic(source: Path, path: Path, sample: Sequence[NDArray[np.generic]]) -> None:
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


def _calibrated(source: Path, path: Path, sample: Sequence[NDArray[np.generic]]) -> None:
    """NNCF's ``quantize`` with its preset for transformers, which smooths activations' outliers
    into weights: eight bits for both, with scales from one sample."""
    # Otherwise it tells its makers of every use, and a process waits at its end until that is sent.
    os.environ["NNCF_CI"] = "1"
    import nncf
    import openvino

    model = nncf.quantize(
        openvino.Core().read_model(source),
        nncf.Dataset([list(sample)]),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=1,
    )
    openvino.save_model(model, path, compress_to_fp16=False)


Quantizer = Callable[[Path, Path, Sequence[NDArray[np.generic]]], None]

QUANTIZERS: dict[str, Quantizer] = {"onnx-int8": _dynamic, "openvino-int8": _calibrated}
"""By the name of the files: from a component's ONNX file, and a sample of its inputs, to a file."""


def quantize(files: str, functions: Sequence[str], work: str) -> dict[str, dict[str, str]]:
    """Make the files of an engine of components that were exported.

    Args:
        files: which, a key of :data:`QUANTIZERS`.
        functions: the components.
        work: where ``onnx/`` and ``sample/`` are.

    Returns:
        ``failures``: by function, why there is no file.
    """
    folder, failures = Path(work), {}
    for name in functions:
        path = model_file(folder, files, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            QUANTIZERS[files](model_file(folder, "onnx", name), path, load_sample(folder, name))
        except _ERRORS as error:
            failures[name] = f"could not be quantized: {first_line(error)}"
    return {"failures": failures}
