"""The engines, each as it is used well: what a worker process loads and runs.

Every engine computes in float32 on the same number of threads, keeps its tensors between the
functions of a part, and gets static shapes where that is its way to speed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.bench.parts import (
    KEPT,
    PROMPT_ROWS,
    BenchError,
    Part,
    PromptRow,
    external_inputs,
    kept_queries,
    run_part,
    select_parts,
)
from sam3_tvm.components import Component, abi_from_json

__all__ = [
    "ENGINES",
    "OURS",
    "EngineInfo",
    "MeasuredEngine",
    "installed",
    "open_engine",
    "select_engines",
]

OURS = "sam3-tvm"

Run = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class EngineInfo:
    """An engine to compare with.

    Attributes:
        name: as the command line spells it.
        title: for tables and charts.
        needs: packages, by the names they are imported under.
        onnx: whether it reads the components as ONNX.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    onnx: bool = False


ENGINES = {
    e.name: e
    for e in (
        EngineInfo("torch", "PyTorch", ("torch",)),
        EngineInfo("torch-compile", "torch.compile", ("torch",)),
        EngineInfo("onnxruntime", "ONNX Runtime", ("onnxruntime", "onnx", "onnxscript"), True),
        EngineInfo("openvino", "OpenVINO", ("openvino", "onnx", "onnxscript"), True),
    )
}
"""The peers, in the order of tables."""


def installed(engine: EngineInfo) -> list[str]:
    """The packages that an engine lacks here."""
    return [package for package in engine.needs if util.find_spec(package) is None]


def select_engines(names: Sequence[str] | None) -> list[EngineInfo]:
    """The engines of these names; all that are installed for None.

    Raises:
        BenchError: an unknown engine, or one that is not installed.
    """
    if names is None:
        return [e for e in ENGINES.values() if not installed(e)]
    if unknown := [n for n in names if n not in ENGINES]:
        raise BenchError(f"no engine named {unknown[0]!r}; accepted are {', '.join(ENGINES)}")
    chosen = [ENGINES[n] for n in dict.fromkeys(names)]
    for engine in chosen:
        if lacking := installed(engine):
            raise BenchError(
                f"{engine.name} needs {', '.join(lacking)}, which this installation lacks: "
                "pip install 'sam3-tvm[bench]'"
            )
    return chosen


class MeasuredEngine:
    """One engine in its process.

    Args:
        job: ``engine``, ``threads``, ``parts`` (names), ``checkpoint``, ``tasks`` and
            ``image_size`` of it, ``artifact`` and ``work``, the folder that
            :func:`sam3_tvm.bench.prepare.reference` has filled.

    Attributes:
        failures: by function, why it can't be run.
        errors: what running a function may raise.
    """

    packages: tuple[str, ...] = ()
    errors: tuple[type[BaseException], ...] = (RuntimeError, ValueError, TypeError)

    def __init__(self, job: Mapping[str, Any]) -> None:
        self.threads: int = job["threads"]
        self.work = Path(job["work"])
        self.failures: dict[str, str] = {}
        self.components: dict[str, Component] = abi_from_json(
            json.loads((self.work / "abi.json").read_text(encoding="utf-8"))
        )
        named = [name for name in job["parts"] if name not in PROMPT_ROWS]
        self.parts: dict[str, Part] = {p.name: p for p in select_parts(named, self.components)}
        self.functions = list(dict.fromkeys(f for p in self.parts.values() for f in p.functions))

    def versions(self) -> dict[str, str]:
        """Of the packages that compute."""
        return {package: metadata.version(package) for package in self.packages}

    def tensor(self, value: NDArray[Any]) -> Any:
        """An array as the engine takes it, without a copy where it can."""
        return value

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        """Run one function."""
        raise NotImplementedError

    def kept(self, part: Part) -> NDArray[np.int64] | None:
        """The queries whose masks are decoded, None for all."""
        return None

    def runner(self, part: str, inputs: Mapping[str, NDArray[Any]]) -> Run:
        """What runs a part on these inputs; its outputs become arrays by ``np.asarray``."""
        chosen = self.parts[part]
        kept = self.kept(chosen)
        given = {
            spec.name: tuple(int(n) for n in inputs[spec.name])
            if spec.dtype == "shape"
            else self.tensor(inputs[spec.name])
            for spec in external_inputs(chosen, self.components)
        }
        return lambda: run_part(chosen, self.components, given, self.call, kept)


class Ours(MeasuredEngine):
    """An artifact, through the runtime that users run, as if it were all that is installed."""

    packages = ("sam3-tvm", "apache-tvm-ffi")

    def __init__(self, job: Mapping[str, Any]) -> None:
        # tvm_ffi imports torch where it finds it: seconds and 190 MB (torch 2.13, November 2026)
        # that an installation of the runtime hasn't got. In this process torch isn't there.
        sys.modules["torch"] = None  # type: ignore[assignment]
        from sam3_tvm import artifact
        from sam3_tvm.runtime.concepts.tokenizer import Tokenizer
        from sam3_tvm.runtime.execution.module import load_functions
        from sam3_tvm.runtime.model import Model

        super().__init__(job)
        opened = artifact.open(job["artifact"])
        manifest = opened.manifest
        # As sam3_tvm.load does, with the functions at hand for the parts: loaded a second time
        # their weights would be mapped, and counted, twice.
        self._table = load_functions(opened, self.threads)
        rules, length = manifest.tokenizer, manifest.sizes.text_tokens
        file = opened.path / rules.file
        tokenizer = Tokenizer(file, length, rules.pad_id, rules.mask_by_id)
        functions: Any = _Remembering(self._table)
        self._manifest = manifest
        # A quick model has the functions alone that are measured.
        self._model = (
            None if manifest.left_out else Model(functions, tokenizer, manifest, opened.fingerprint)
        )
        self._image: Any = None
        self._threshold = 0.0

    def tensor(self, value: NDArray[Any]) -> Any:
        from sam3_tvm.runtime.execution.functions import aligned

        return aligned(value)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        return self._table(name, *inputs)

    def kept(self, part: Part) -> NDArray[np.int64] | None:
        queries = self._manifest.sizes.queries
        return kept_queries(queries) if part.keeps else None

    def versions(self) -> dict[str, str]:
        return {
            **super().versions(),
            **{k: v for k, v in self._manifest.versions.items() if k == "apache-tvm"},
        }

    def runner(self, part: str, inputs: Mapping[str, NDArray[Any]]) -> Run:
        if part not in PROMPT_ROWS:
            return super().runner(part, inputs)
        if self._image is None:
            self._prepare()
        return lambda: self._prompts(PROMPT_ROWS[part])

    def _prepare(self) -> None:
        assert self._model is not None
        side = self._manifest.sizes.image
        self._picture = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        self._image = self._model.encode_image(self._picture)
        # A score that KEPT objects of the first phrase exceed: what a picture full of them
        # costs doesn't depend on what random weights think of 0.5.
        scores = self._model.segment(self._image, text=_PHRASES[0], threshold=0.0).scores
        self._threshold = float(np.sort(scores)[::-1][: KEPT + 1][-2:].mean())

    def _prompts(self, row: PromptRow) -> dict[str, Any]:
        model = self._model
        assert model is not None

        def segment(text: Any) -> Any:
            image = model.encode_image(self._picture) if row.fresh else self._image
            return model.segment(image, text=text, threshold=self._threshold)

        phrases = list(_PHRASES[: row.prompts])
        results = segment(phrases) if row.together else [segment(phrase) for phrase in phrases]
        return {"scores": np.concatenate([r.scores for r in results])}


class _Remembering:
    """An artifact's functions, but that the vision encoder, and the tracker's neck, run once and
    give the same again.

    So what ``encode_image`` does beside it can be measured, through the same interface.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._features: dict[str, Any] = {}

    def __call__(self, name: str, *inputs: Any) -> Any:
        if name not in ("vision_encoder", "tracker_neck"):
            return self._table(name, *inputs)
        if name not in self._features:
            self._features[name] = self._table(name, *inputs)
        return self._features[name]

    def named(self, name: str, *inputs: Any) -> dict[str, Any]:
        """As ``FunctionTable.named``, which would go past what is remembered."""
        names = (spec.name for spec in self._table.components[name].outputs)
        return dict(zip(names, self(name, *inputs), strict=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)


_PHRASES = ("dog", "cat", "cup", "tree", "car", "shoe", "door", "hand")


class Torch(MeasuredEngine):
    """PyTorch eager: the source's modules, as they are."""

    packages = ("torch", "transformers")

    def __init__(self, job: Mapping[str, Any]) -> None:
        import torch

        from sam3_tvm.sources import open_source

        super().__init__(job)
        torch.set_num_threads(self.threads)
        source = open_source(job["checkpoint"], job["tasks"], job["image_size"])
        self._torch = torch
        self._scope = ExitStack()
        self._scope.enter_context(torch.no_grad())
        self._scope.enter_context(source.patched())
        self._modules = {name: self.compiled(source.component(name)) for name in self.functions}

    def compiled(self, module: Any) -> Any:
        """What is called for a module."""
        return module

    def tensor(self, value: NDArray[Any]) -> Any:
        return self._torch.from_numpy(value)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        given = self._modules[name](*inputs)
        return given if isinstance(given, tuple) else (given,)


class TorchCompile(Torch):
    """torch.compile with Inductor, shapes static; compiling is part of each first call."""

    def compiled(self, module: Any) -> Any:
        return self._torch.compile(module, dynamic=False)


class OnnxRuntime(MeasuredEngine):
    """ONNX Runtime's CPU provider, all its graph optimisations on."""

    packages = ("onnxruntime",)

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
                    onnx_file(self.work, name), options, providers=["CPUExecutionProvider"]
                )
            except refused as error:
                self.failures[name] = first_line(error)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        session = self._sessions[name]
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        names = [i.name for i in session.get_inputs()]
        given: list[Any] = session.run(None, dict(zip(names, arrays, strict=True)))
        return given


class OpenVino(MeasuredEngine):
    """OpenVINO's CPU plug-in, made for latency; float32, which it would leave where it can."""

    packages = ("openvino",)

    def __init__(self, job: Mapping[str, Any]) -> None:
        import openvino

        super().__init__(job)
        core = openvino.Core()
        config = {
            "INFERENCE_NUM_THREADS": self.threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._models = {}
        for name in self.functions:
            try:
                model = core.read_model(onnx_file(self.work, name))
                self._models[name] = core.compile_model(model, "CPU", config)
            except self.errors as error:
                self.failures[name] = first_line(error)

    def call(self, name: str, inputs: Sequence[Any]) -> Sequence[Any]:
        arrays = [x for x in inputs if isinstance(x, np.ndarray)]
        given = self._models[name](arrays, share_inputs=True, share_outputs=True)
        return [given[i] for i in range(len(given))]


_CLASSES: dict[str, type[MeasuredEngine]] = {
    OURS: Ours,
    "torch": Torch,
    "torch-compile": TorchCompile,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
}


def open_engine(job: Mapping[str, Any]) -> MeasuredEngine:
    """Load the engine that a job names."""
    return _CLASSES[job["engine"]](job)


def onnx_file(work: Path, function: str) -> str:
    """Where a component's ONNX file is."""
    return f"{work / 'onnx' / function / 'model.onnx'}"


def first_line(error: BaseException) -> str:
    """An error's type and the first line of what it says."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
    return text if len(text) <= 300 else text[:297] + "..."
