"""Measures which linear layer of a model loses most when it alone is computed in eight bits."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.errors import UsageError
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.sensitivity.functions import Layer, ReferenceFunctions, Trial
from sam3_tvm.sensitivity.pictures import Answer, Asked, Difference, asking, difference
from sam3_tvm.sensitivity.report import ALL, SensitivityReport, SensitivityRow
from sam3_tvm.sources.base import PromptSpec, Source

__all__ = ["Prompts", "Steps", "is_named", "measure", "recordings"]

Prompts = Callable[[NDArray[np.uint8]], Sequence[PromptSpec]]

_OF_FILMS = "memory_attention"


def measure(
    source: Source,
    pictures: Sequence[str | os.PathLike[str]],
    prompts: Prompts,
    *,
    functions: Collection[str] | None = None,
    pattern: str | None = None,
    smoothing: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    progress: Progress = silent,
) -> SensitivityReport:
    """Compute the layers that ``--compute int8`` has in eight bits so, one after the other, and
    then all of a function at once.

    Layers are tried in PyTorch, by the arithmetic of the compiled kernels; those that read the same
    rows (queries, keys and values) together. ``memory_attention`` is asked on a pan over a picture.

    Args:
        source: the checkpoint.
        pictures: to try it on.
        prompts: what is asked of a picture, uint8 [H, W, 3].
        functions: those whose layers are tried; None for all that the scheme names.
        pattern: those layers alone whose names match it, as a shell matches files; of those that
            are tried together the name of one is enough.
        smoothing: float32 [K] by function and parameter: what columns of its inputs are divided
            by, and those of the weight multiplied.
        progress: told of each picture and layer.

    Raises:
        UsageError: no picture, or no layer of these functions and of such a name.
        ImageError: a picture that can't be read; nothing was measured then.
    """
    if not pictures:
        raise UsageError("no pictures to measure on")
    reference = ReferenceFunctions(source)
    chosen = [n for n in reference.measured if functions is None or n in functions]
    if unknown := [name for name in functions or () if name not in chosen]:
        raise UsageError(
            f"no layer of {unknown[0]} is in int8; there are those of "
            f"{', '.join(reference.measured)}"
        )
    read = [read_picture(Path(picture)) for picture in pictures]
    found: dict[str, dict[Layer | None, _Found]] = {name: {} for name in chosen}
    with asking(source, reference) as asked:
        steps = Steps(progress, len(read))
        for picture, rgb in zip(pictures, read, strict=True):
            steps.begin(f"{Path(picture).name}: PyTorch")
            for names, asks in recordings(reference, asked, rgb, prompts(rgb), chosen):
                layers = _matching(reference.layers, names, pattern)
                trials: list[tuple[str, Layer | None]] = [(one.function, one) for one in layers]
                trials += [(name, None) for name in dict.fromkeys(name for name, _ in trials)]
                steps.expect(len(trials))
                for name, layer in trials:
                    some = [layer] if layer else [x for x in layers if x.function == name]
                    weights = frozenset(w for one in some for w in one.weights)
                    smooth = (smoothing or {}).get(name, {})
                    steps.begin(f"{name} {layer.name if layer else ALL}")
                    entry = found[name].setdefault(layer, _Found(Trial(name, weights, smooth)))
                    with reference.trying(entry.trial):
                        entry.add(asks.differ())
    asked_for = [f"{prompt}" for prompt in prompts(read[0])]
    report = SensitivityReport(source.checkpoint, [Path(p).name for p in pictures], asked_for)
    for name, entries in found.items():
        for layer, entry in entries.items():
            # What a compiler drops as well: a function's end that nobody reads.
            if entry.trial.at_end > 0:
                (report.totals if layer is None else report.rows).append(entry.row(name, layer))
    if not report.rows:
        known = ", ".join(layer.name for layer in [*reference.layers][-3:]) or "none"
        raise UsageError(
            f"no layer that is in int8 has a name like {pattern!r}; others are {known} ..."
        )
    report.rows.sort(key=lambda row: -row.function_error)
    return report


def recordings(
    reference: ReferenceFunctions,
    asked: Asked,
    rgb: NDArray[np.uint8],
    prompts: Sequence[PromptSpec],
    functions: Collection[str],
) -> Iterator[tuple[list[str], Asks]]:
    """Let the reference answer a picture, then a film, so that the calls of functions are recorded.

    Yields:
        Those of ``functions`` whose calls there are, and what was asked; films only where
        ``memory_attention`` is among them.
    """
    for films in (False, True):
        names = [name for name in functions if (name == _OF_FILMS) == films]
        if names:
            reference.forget()
            reference.measured = names
            asks: Asks = _Film(asked, rgb) if films else _Picture(asked, rgb, prompts)
            asks.remember()
            yield names, asks


class Asks(Protocol):
    """Something that the reference answers, and trials after it."""

    def remember(self) -> None:
        """Let the reference answer."""

    def differ(self) -> Difference:
        """Ask again, and compare."""
        ...


@dataclass
class _Found:
    """A trial over several pictures."""

    trial: Trial
    score: float = 0.0
    ious: list[float] = field(default_factory=list)

    def add(self, one: Difference) -> None:
        self.score = max(self.score, one.score)
        self.ious += one.ious

    def row(self, function: str, layer: Layer | None) -> SensitivityRow:
        trial = self.trial
        return SensitivityRow(
            function,
            ALL if layer is None else layer.name,
            () if layer is None else layer.weights,
            0 if layer is None else layer.inputs,
            0 if layer is None else layer.outputs,
            trial.own.relative,
            trial.at_end,
            self.score,
            float(np.mean(self.ious or [1.0])),
        )


class _Picture:
    """Prompts of a picture, answered by the reference and by trials."""

    def __init__(self, asked: Asked, rgb: NDArray[np.uint8], prompts: Sequence[PromptSpec]) -> None:
        self._asked, self._rgb, self._prompts = asked, rgb, prompts

    def remember(self) -> None:
        self._wanted, self._kept = self._asked.segment(self._rgb, self._prompts)

    def differ(self) -> Difference:
        got, _ = self._asked.segment(self._rgb, self._prompts, self._kept)
        return difference(got, self._wanted)


class _Film:
    """The same of an object that is followed."""

    def __init__(self, asked: Asked, rgb: NDArray[np.uint8]) -> None:
        self._asked, self._rgb = asked, rgb
        self._wanted: list[Answer] = []

    def remember(self) -> None:
        self._wanted = self._asked.follow(self._rgb)

    def differ(self) -> Difference:
        return difference(self._asked.follow(self._rgb), self._wanted)


def _matching(
    layers: Collection[Layer], names: Collection[str], pattern: str | None
) -> list[Layer]:
    return [
        layer
        for layer in layers
        if layer.function in names and (pattern is None or is_named(layer, pattern))
    ]


def is_named(layer: Layer, pattern: str) -> bool:
    """Whether layers that read the same rows are called so, together or one of them."""
    names = [layer.name, *(weight.replace(".weight", "") for weight in layer.weights)]
    # As it is, too: a name may have brackets, which mean something else in a pattern.
    return any(name == pattern or fnmatchcase(name, pattern) for name in names)


class Steps:
    """Counts steps whose number shows as the first picture is computed."""

    def __init__(self, progress: Progress, pictures: int) -> None:
        self._progress = progress
        self._left = pictures
        self._total = pictures
        self._done = 0

    def begin(self, what: str) -> None:
        self._progress(what, self._done, max(self._total, self._done + 1))
        self._done += 1

    def expect(self, steps: int) -> None:
        self._total = max(self._total, self._done) + steps
