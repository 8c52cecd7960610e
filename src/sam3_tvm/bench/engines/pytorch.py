"""PyTorch, by the source's modules as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from numpy.typing import NDArray

from sam3_tvm.bench.engines.base import MeasuredEngine

__all__ = ["Torch", "TorchBfloat16", "TorchCompile"]


class Torch(MeasuredEngine):
    """PyTorch eager in float32."""

    packages = ("torch", "transformers")

    def __init__(self, job: Mapping[str, Any]) -> None:
        import torch

        from sam3_tvm.sources import open_source

        super().__init__(job)
        torch.set_num_threads(self.threads)
        source = open_source(job["checkpoint"], job["tasks"], job["image_size"])
        self._torch = torch
        self.precision = f"float32, matmul precision {torch.get_float32_matmul_precision()!r}"
        self._scope = ExitStack()
        self._scope.enter_context(torch.no_grad())
        self._scope.enter_context(source.patched())
        self._scope.enter_context(self.scope())
        self._modules = {name: self.compiled(source.component(name)) for name in self.functions}

    def scope(self) -> AbstractContextManager[Any]:
        """In which everything is computed."""
        return nullcontext()

    def compiled(self, module: Any) -> Any:
        """What is called for a module."""
        return module

    def tensor(self, value: NDArray[Any]) -> Any:
        return self._torch.from_numpy(value)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        given = self._modules[name](*inputs)
        return given if isinstance(given, tuple) else (given,)


class TorchBfloat16(Torch):
    """PyTorch eager under autocast: products in bfloat16, and in float32 what it holds delicate.

    Between functions values are float32, as those of a contract are.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        super().__init__(job)
        self.precision = "autocast to bfloat16"

    def scope(self) -> AbstractContextManager[Any]:
        scope: AbstractContextManager[Any] = self._torch.autocast("cpu", self._torch.bfloat16)
        return scope

    def arithmetic(self, function: str) -> str:
        return "bfloat16"

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        narrow = self._torch.bfloat16
        return [x.float() if x.dtype == narrow else x for x in super().call(name, inputs)]


class TorchCompile(Torch):
    """torch.compile with Inductor, shapes static; compiling is part of each first call."""

    def compiled(self, module: Any) -> Any:
        return self._torch.compile(module, dynamic=False)
