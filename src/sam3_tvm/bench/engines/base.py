"""What every engine is: a worker process's part of it, and what is known of it before it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.bench.parts import PROMPT_ROWS, Part, external_inputs, run_part, select_parts
from sam3_tvm.components import Component, abi_from_json

__all__ = ["OURS", "EngineInfo", "MeasuredEngine", "Run", "first_line", "lacking", "model_file"]

OURS = "sam3-tvm"

Run = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class EngineInfo:
    """An engine.

    Attributes:
        name: as the command line spells it.
        title: for tables and charts.
        needs: packages, by the names they are imported under.
        files: which files of the components it reads: ``"onnx"``, or what
            :data:`sam3_tvm.bench.quantizing.QUANTIZERS` make of these; empty for none.
        artifact: of one of ours, its folder.
    """

    name: str
    title: str
    needs: tuple[str, ...] = ()
    files: str = ""
    artifact: Path | None = None

    @property
    def ours(self) -> bool:
        """Whether it is one of ours."""
        return self.name.partition(":")[0] == OURS


def lacking(engine: EngineInfo) -> list[str]:
    """The packages that an engine lacks here."""
    return [package for package in engine.needs if util.find_spec(package) is None]


class MeasuredEngine:
    """One engine in its process.

    Args:
        job: ``engine``, ``threads``, ``parts`` (names), ``checkpoint``, ``tasks`` and
            ``image_size`` of it, ``artifact`` and ``work``, the folder that
            :func:`sam3_tvm.bench.prepare.reference` has filled.

    Attributes:
        failures: by function, why it can't be run.
        errors: what running a function may raise.
        precision: in a few words, in what it computes by its own account.
    """

    packages: tuple[str, ...] = ()
    errors: tuple[type[BaseException], ...] = (RuntimeError, ValueError, TypeError)
    precision: str = "float32"

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

    def arithmetic(self, function: str) -> str:
        """The dtype in which it takes most of a function's products."""
        return "float32"

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


def model_file(work: Path, files: str, function: str) -> Path:
    """Where a component's file for the engines that read ``files`` is."""
    return work / files / function / f"model.{'xml' if files.startswith('openvino') else 'onnx'}"


def first_line(error: BaseException) -> str:
    """An error's type and the first line of what it says."""
    lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
    return text if len(text) <= 300 else text[:297] + "..."
