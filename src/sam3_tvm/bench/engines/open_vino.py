"""OpenVINO's CPU plug-in, made for latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sam3_tvm.bench.engines.base import MeasuredEngine, first_line, model_file

__all__ = ["OpenVino", "OpenVinoFloat32", "OpenVinoInt8", "counted_precisions"]

# Layers of the plug-in that multiply.
_PRODUCTS = frozenset(
    {"FullyConnected", "MatMul", "Convolution", "Deconvolution", "ScaledDotProductAttention"}
)
_DTYPES = {
    **{"f32": "float32", "bf16": "bfloat16", "f16": "float16"},
    **{"i8": "int8", "u8": "int8"},
}


class OpenVino(MeasuredEngine):
    """As it comes: it chooses the precision, bfloat16 where the CPU has instructions for it."""

    packages: tuple[str, ...] = ("openvino",)
    files = "onnx"
    told: Mapping[str, str] = {}

    def __init__(self, job: Mapping[str, Any]) -> None:
        import openvino

        super().__init__(job)
        core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
            **self.told,
        }
        self._models: dict[str, Any] = {}
        self._counted: dict[str, Counter[str]] = {}
        for name in self.functions:
            try:
                model = core.read_model(model_file(self.work, self.files, name))
                self._models[name] = core.compile_model(model, "CPU", config)
            except self.errors as error:
                self.failures[name] = first_line(error)
            else:
                self._counted[name] = counted_precisions(self._models[name])
        self.precision = self._account()

    def _account(self) -> str:
        """What it says itself, of the models' hint and of the layers that run."""
        hints = {
            f"{model.get_property('INFERENCE_PRECISION_HINT').to_string()}"
            for model in self._models.values()
        }
        total: Counter[str] = sum(self._counted.values(), Counter())
        layers = ", ".join(f"{count} in {dtype}" for dtype, count in total.most_common())
        return f"hint {'/'.join(sorted(hints)) or 'none'}; products: {layers or 'none'}"

    def arithmetic(self, function: str) -> str:
        most = self._counted.get(function, Counter()).most_common(1)
        return most[0][0] if most else "float32"

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        given = self._models[name](arrays, share_inputs=True, share_outputs=True)
        return [given[i] for i in range(len(given))]


class OpenVinoFloat32(OpenVino):
    """Told to keep float32, which it would leave where it can."""

    told: Mapping[str, str] = {"INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoInt8(OpenVino):
    """The model that NNCF's ``quantize`` made, as it comes."""

    files = "openvino-int8"


def counted_precisions(model: Any) -> Counter[str]:
    """In which dtype a compiled model's products run, by their layers' own account."""
    found: Counter[str] = Counter()
    for layer in model.get_runtime_model().get_ops():
        facts = layer.get_rt_info()
        if "layerType" in facts and _value(facts["layerType"]) in _PRODUCTS:
            dtype = _value(facts["runtimePrecision"]) if "runtimePrecision" in facts else "unknown"
            found[_DTYPES.get(dtype, dtype)] += 1
    return found


def _value(fact: Any) -> str:
    return f"{getattr(fact, 'value', fact)}"
