"""ONNX Runtime's CPU provider, all its graph optimisations on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam3_tvm.bench.engines.base import MeasuredEngine, first_line, model_file

__all__ = ["OnnxRuntime", "OnnxRuntimeInt8"]


class OnnxRuntime(MeasuredEngine):
    """The exported graph as it is, in float32."""

    packages: tuple[str, ...] = ("onnxruntime",)
    files = "onnx"

    def __init__(self, job: Mapping[str, Any]) -> None:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as raised

        super().__init__(job)
        self.errors = (*self.errors, raised.Fail, raised.RuntimeException, raised.InvalidArgument)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._sessions = {}
        refused = (*self.errors, raised.NotImplemented, raised.InvalidGraph, raised.NoSuchFile)
        for name in self.functions:
            try:
                self._sessions[name] = onnxruntime.InferenceSession(
                    f"{model_file(self.work, self.files, name)}",
                    options,
                    providers=["CPUExecutionProvider"],
                )
            except refused as error:
                self.failures[name] = first_line(error)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        session = self._sessions[name]
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        names = [i.name for i in session.get_inputs()]
        given: list[Any] = session.run(None, dict(zip(names, arrays, strict=True)))
        return given


class OnnxRuntimeInt8(OnnxRuntime):
    """The graph that ``quantize_dynamic`` made: weights in eight bits, and activations as they
    come."""

    files = "onnx-int8"

    def __init__(self, job: Mapping[str, Any]) -> None:
        super().__init__(job)
        self.precision = "int8 products by weights, quantised dynamically; float32 else"

    def arithmetic(self, function: str) -> str:
        return "int8"
