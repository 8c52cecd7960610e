"""The engines, each as it is used well: what a worker process loads and runs.

Every engine computes on the same number of threads, keeps its tensors between the functions of a
part, and gets static shapes where that is its way to speed. In what it computes is its own choice,
but for those whose name says otherwise: that is what a user gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam3_tvm.bench.engines.base import OURS, EngineInfo, MeasuredEngine, first_line, lacking
from sam3_tvm.bench.engines.onnx_runtime import OnnxRuntime, OnnxRuntimeInt8
from sam3_tvm.bench.engines.open_vino import OpenVino, OpenVinoFloat32, OpenVinoInt8
from sam3_tvm.bench.engines.ours import Ours
from sam3_tvm.bench.engines.pytorch import Torch, TorchBfloat16, TorchCompile
from sam3_tvm.bench.parts import BenchError

__all__ = [
    "ENGINES",
    "OURS",
    "PIP",
    "EngineInfo",
    "MeasuredEngine",
    "first_line",
    "lacking",
    "open_engine",
    "our_engines",
    "select_engines",
]

PIP = "pip install 'sam3-tvm[bench]'"

_ONNX = ("onnx", "onnxscript")

ENGINES = {
    e.name: e
    for e in (
        EngineInfo("torch", "PyTorch", ("torch",)),
        EngineInfo("torch-bf16", "PyTorch bf16", ("torch",)),
        EngineInfo("torch-compile", "torch.compile", ("torch",)),
        EngineInfo("onnxruntime", "ONNX Runtime", ("onnxruntime", *_ONNX), "onnx"),
        EngineInfo("onnxruntime-int8", "ONNX Runtime int8", ("onnxruntime", *_ONNX), "onnx-int8"),
        EngineInfo("openvino", "OpenVINO", ("openvino", *_ONNX), "onnx"),
        EngineInfo("openvino-f32", "OpenVINO f32", ("openvino", *_ONNX), "onnx"),
        EngineInfo("openvino-int8", "OpenVINO int8", ("openvino", "nncf", *_ONNX), "openvino-int8"),
    )
}
"""The peers, in the order of tables."""

_CLASSES: dict[str, type[MeasuredEngine]] = {
    OURS: Ours,
    "torch": Torch,
    "torch-bf16": TorchBfloat16,
    "torch-compile": TorchCompile,
    "onnxruntime": OnnxRuntime,
    "onnxruntime-int8": OnnxRuntimeInt8,
    "openvino": OpenVino,
    "openvino-f32": OpenVinoFloat32,
    "openvino-int8": OpenVinoInt8,
}


def select_engines(names: Sequence[str] | None) -> list[EngineInfo]:
    """The engines of these names; all for None, of which some may not be installed.

    Raises:
        BenchError: an unknown engine, or one that was named and is not installed.
    """
    if names is None:
        return list(ENGINES.values())
    if unknown := [n for n in names if n not in ENGINES]:
        raise BenchError(f"no engine named {unknown[0]!r}; accepted are {', '.join(ENGINES)}")
    chosen = [ENGINES[n] for n in dict.fromkeys(names)]
    for engine in chosen:
        if missing := lacking(engine):
            raise BenchError(
                f"{engine.name} needs {', '.join(missing)}, which this installation lacks: {PIP}"
            )
    return chosen


def our_engines(artifacts: Sequence[Path]) -> list[EngineInfo]:
    """An engine for each artifact; among several they are told apart by their folders."""
    if len(artifacts) == 1:
        return [EngineInfo(OURS, OURS, artifact=artifacts[0])]
    names = [path.resolve().name for path in artifacts]
    titles = [
        name if names.count(name) == 1 else f"{path}"
        for name, path in zip(names, artifacts, strict=True)
    ]
    return [
        EngineInfo(f"{OURS}:{title}", title, artifact=path)
        for title, path in zip(titles, artifacts, strict=True)
    ]


def open_engine(job: Mapping[str, Any]) -> MeasuredEngine:
    """Load the engine that a job names."""
    return _CLASSES[job["engine"].partition(":")[0]](job)
