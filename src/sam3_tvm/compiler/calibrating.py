"""``compile --calibrate``: what pictures say of int8, and what becomes of it in the module.

Factors of channels move between parameters, before any pass: the module stays as it is, and so does
what it computes, but for the rounding of float32.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.graph.arithmetic import arithmetic_of, excepting
from sam3_tvm.compiler.graph.norm_readers import find_norm_readers
from sam3_tvm.errors import UsageError
from sam3_tvm.manifest import Calibration
from sam3_tvm.progress import Progress
from sam3_tvm.runtime.pictures.image import pictures_in, read_picture
from sam3_tvm.sensitivity import Choice, Fold, calibrate
from sam3_tvm.sources.base import PromptSpec, Source

__all__ = ["BOUND", "Calibrating"]

BOUND = 0.01
"""Of a layer's error at its function's end: more, and it is excepted."""

Params = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Calibrating:
    """What a compilation is calibrated on.

    Attributes:
        pictures: uint8 [H, W, 3] each.
        phrases: what is looked for in them; without any, the source's word for examples, alone and
            with a box around the middle.
        bound: see :data:`BOUND`.
    """

    pictures: list[NDArray[np.uint8]]
    phrases: tuple[str, ...] = ()
    bound: float = BOUND

    @classmethod
    def of(
        cls,
        arithmetic: Arithmetic,
        folder: str | os.PathLike[str] | None,
        phrases: Sequence[str],
        bound: float | None,
    ) -> Calibrating | None:
        """As the options of a compilation say; None where they don't.

        Raises:
            UsageError: options that make no sense together, or a folder without pictures.
            ImageError: a picture that can't be read.
        """
        if folder is None:
            if phrases or bound is not None:
                raise UsageError(
                    "phrases and a bound are for calibrating: name a folder with calibrate"
                )
            return None
        if arithmetic.sums != "int32":
            raise UsageError("calibrating is for compute int8; leave calibrate out, or choose that")
        if bound is not None and not bound > 0:
            raise UsageError(f"the bound of an error must be above 0, not {bound}")
        if any(not phrase.strip() for phrase in phrases):
            raise UsageError("a phrase to calibrate on is empty")
        try:
            paths = sorted(pictures_in(Path(folder)))
        except OSError as error:
            reason = error.strerror or error
            raise UsageError(f"{folder}: cannot be read as a folder ({reason})") from error
        if not paths:
            raise UsageError(f"{folder}: no pictures in this folder to calibrate on")
        pictures = [read_picture(path) for path in paths]
        return cls(pictures, tuple(phrases), BOUND if bound is None else bound)

    def prompts(self, source: Source, rgb: NDArray[np.uint8]) -> list[PromptSpec]:
        """What is asked of a picture."""
        if self.phrases:
            return [PromptSpec(phrase) for phrase in self.phrases]
        height, width = rgb.shape[:2]
        box = (0.25 * width, 0.25 * height, 0.75 * width, 0.75 * height)
        word = source.reference.visual_text
        return [PromptSpec(word), PromptSpec(word, (box,), (1,))]

    def apply(
        self, source: Source, mod: tvm.IRModule, params: Params, progress: Progress
    ) -> Calibration:
        """Calibrate imported functions: their parameters and attributes change in place.

        Args:
            source: the checkpoint.
            mod: the functions, as they are imported.
            params: their parameters by function and name, in the order of their arguments.
            progress: told of each picture and layer.

        Returns:
            What the manifest says of it.
        """
        folds: dict[str, list[Fold]] = {}
        axes: dict[tuple[str, str], int] = {}
        for gvar, func in mod.functions_items():
            if isinstance(func, relax.Function) and arithmetic_of(func).sums == "int32":
                name = gvar.name_hint
                folds[name] = _folds(name, func, params[name], axes)
        choices = calibrate(
            source,
            self.pictures,
            lambda rgb: self.prompts(source, rgb),
            folds,
            self.bound,
            progress=progress,
        )
        for name, choice in choices.items():
            _smooth(params[name], choice, {w: a for (f, w), a in axes.items() if f == name})
            _except(mod, name, params[name], choice)
        return Calibration(
            pictures=len(self.pictures),
            prompts=len(self.phrases) or 2,
            bound=self.bound,
            smoothed={n: tuple(f.scale for f in c.factors) for n, c in choices.items()},
            excepted={n: tuple(x.name for x in c.excepted) for n, c in choices.items()},
        )


def _names(func: relax.Function, params: Mapping[str, Any]) -> dict[Any, str]:
    """Names of parameters by the variables that stand for them."""
    variables = list(func.params)[int(func.attrs["num_input"]) :]
    return dict(zip(variables, params, strict=True))


def _folds(
    name: str, func: relax.Function, params: Mapping[str, Any], axes: dict[tuple[str, str], int]
) -> list[Fold]:
    """The norms of a function whose factors can move; notes the axes of their readers' inputs."""
    names, found = _names(func, params), []
    for one in find_norm_readers(func):
        weights = tuple(names[weight] for weight, _ in one.weights)
        axes.update(((name, names[weight]), axis) for weight, axis in one.weights)
        found.append(Fold(names[one.scale], names[one.shift], weights))
    return found


def _smooth(params: dict[str, Any], choice: Choice, axes: Mapping[str, int]) -> None:
    for fold, factors in choice.factors.items():
        for name in (fold.scale, fold.shift):
            params[name] = tvm.runtime.tensor(params[name].numpy() / factors)
        for name in fold.weights:
            along = factors if axes[name] == 1 else factors[:, None]
            params[name] = tvm.runtime.tensor(params[name].numpy() * along)


def _except(mod: tvm.IRModule, name: str, params: Mapping[str, Any], choice: Choice) -> None:
    # A part of a parameter, rows that are queries alone, excepts all of it: it is one in the graph.
    whole = {weight.partition("[")[0] for layer in choice.excepted for weight in layer.weights}
    variables = [f"{var.name}" for var, key in _names(mod[name], params).items() if key in whole]
    if variables:
        mod[name] = excepting(mod[name], variables)
