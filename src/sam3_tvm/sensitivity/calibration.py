"""What a few pictures say of a model's int8: factors that smooth channels, and layers to except.

Smoothing is SmoothQuant's (Xiao et al. 2023): channels of activations that are much larger than
the others leave those few of the 255 steps, and weights have room. Where the activations are what a
layer norm gives, each channel j is divided by ``s_j = max |x_j|^a / max |w_j|^(1 - a)``, and the
columns of the weights that read it are multiplied. The exponent is chosen for each norm, none among
them, by the error of the layers behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.progress import Progress, silent
from sam3_tvm.sensitivity.functions import Error, Layer, ReferenceFunctions, Trial
from sam3_tvm.sensitivity.measuring import Prompts, Steps, recordings
from sam3_tvm.sensitivity.pictures import Asked, asking
from sam3_tvm.sensitivity.products import Product
from sam3_tvm.sensitivity.w8a8 import product_w8a8
from sam3_tvm.sources.base import Source

__all__ = ["EXPONENTS", "Choice", "Fold", "calibrate"]

EXPONENTS = (0.35, 0.5, 0.65, 0.8)
"""Those that are tried: the larger, the more the activations give to the weights."""


@dataclass(frozen=True)
class Fold:
    """A layer norm whose factors its readers can take.

    Attributes:
        scale, shift: names of its parameters.
        weights: names of those of its readers.
    """

    scale: str
    shift: str
    weights: tuple[str, ...]


@dataclass
class Choice:
    """What was chosen of one function.

    Attributes:
        factors: float32 [K] by norm, by which its result is divided.
        excepted: layers whose error at the function's end was above the bound.
        errors: of every layer, that error.
    """

    factors: dict[Fold, NDArray[np.float32]] = field(default_factory=dict)
    excepted: list[Layer] = field(default_factory=list)
    errors: dict[Layer, float] = field(default_factory=dict)


def calibrate(
    source: Source,
    pictures: Sequence[NDArray[np.uint8]],
    prompts: Prompts,
    folds: Mapping[str, Sequence[Fold]],
    bound: float,
    *,
    progress: Progress = silent,
) -> dict[str, Choice]:
    """Choose factors and exceptions of functions.

    Args:
        source: the checkpoint.
        pictures: uint8 [H, W, 3] each, at least one.
        prompts: what is asked of a picture.
        folds: of each function that is to be in int8, the norms whose factors can move.
        bound: a layer is excepted if it alone, in int8 and with its factors, makes a larger error
            at its function's end, root mean square relative to the output.
        progress: told of each picture and layer.
    """
    reference = ReferenceFunctions(source)
    names = [name for name in reference.measured if name in folds]
    choices = {name: Choice() for name in names}
    steps = Steps(progress, 3 * len(pictures))
    with asking(source, reference) as asked:
        maxima = _Maxima()
        for _ in _passes(reference, asked, pictures, prompts, names, maxima, steps, "largest"):
            pass
        exponents = _Exponents(folds, maxima)
        for _ in _passes(reference, asked, pictures, prompts, names, exponents, steps, "factors"):
            pass
        for name in names:
            choices[name].factors = exponents.best(name)
        trials: dict[Layer, Trial] = {}
        for recorded in _passes(reference, asked, pictures, prompts, names, None, steps, "layers"):
            layers = [layer for layer in reference.layers if layer.function in recorded]
            steps.expect(len(layers))
            for layer in layers:
                steps.begin(f"{layer.function} {layer.name}")
                smoothing = _by_weight(choices[layer.function].factors)
                blank = Trial(layer.function, frozenset(layer.weights), smoothing)
                reference.retry(trials.setdefault(layer, blank))
    for layer, trial in trials.items():
        choice = choices[layer.function]
        choice.errors[layer] = trial.at_end
        if trial.at_end > bound:
            choice.excepted.append(layer)
    return choices


def _by_weight(factors: Mapping[Fold, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
    return {
        weight: torch.from_numpy(values)
        for fold, values in factors.items()
        for weight in fold.weights
    }


def _passes(
    reference: ReferenceFunctions,
    asked: Asked,
    pictures: Sequence[NDArray[np.uint8]],
    prompts: Prompts,
    names: Collection[str],
    watch: _Maxima | _Exponents | None,
    steps: Steps,
    what: str,
) -> Iterator[Collection[str]]:
    """Let the reference answer all pictures, watched.

    Yields:
        The functions whose calls there are.
    """
    reference.watch = watch
    for number, rgb in enumerate(pictures, 1):
        steps.begin(f"picture {number}, {what}: PyTorch")
        for recorded, _ in recordings(reference, asked, rgb, prompts(rgb), names):
            yield recorded
    reference.watch = None


class _Maxima:
    """The largest magnitudes of each channel that a weight is multiplied by."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], torch.Tensor] = {}

    def __call__(self, name: str, product: Product) -> None:
        found, key = product.x.abs().amax(0), (name, product.name)
        known = self.of.get(key)
        self.of[key] = found if known is None else torch.maximum(known, found)


class _Exponents:
    """The errors of layers behind norms, with factors of every exponent and without any."""

    def __init__(self, folds: Mapping[str, Sequence[Fold]], maxima: _Maxima) -> None:
        self._fold = {
            (name, weight): fold
            for name, each in folds.items()
            for fold in each
            for weight in fold.weights
        }
        self._maxima = maxima
        self._columns: dict[tuple[str, Fold], torch.Tensor] = {}
        self._errors: dict[tuple[str, Fold], dict[tuple[float | None, str], Error]] = {}
        self._waiting: dict[tuple[str, Fold], list[Product]] = {}

    def __call__(self, name: str, product: Product) -> None:
        fold = self._fold.get((name, product.name))
        if fold is None:
            return
        # All readers of a norm come together, and its factors need the weights of them all.
        waiting = self._waiting.setdefault((name, fold), [])
        waiting.append(product)
        expected = [w for w in fold.weights if (name, w) in self._maxima.of]
        if len(waiting) < len(expected):
            return
        del self._waiting[name, fold]
        columns = torch.stack([p.weight.abs().amax(0) for p in waiting]).amax(0)
        self._columns[name, fold] = columns
        errors = self._errors.setdefault((name, fold), {})
        for one in waiting:
            exact = torch.mm(one.x, one.weight.t())
            for exponent in (None, *EXPONENTS):
                got = product_w8a8(one.x, one.weight, self._factors(name, fold, exponent))
                errors.setdefault((exponent, one.name), Error()).add(got, exact)

    def _factors(self, name: str, fold: Fold, exponent: float | None) -> torch.Tensor | None:
        if exponent is None:
            return None
        of_each = [
            self._maxima.of[key] for w in fold.weights if (key := (name, w)) in self._maxima.of
        ]
        largest, columns = torch.stack(of_each).amax(0), self._columns[name, fold]
        factors = largest**exponent / columns ** (1 - exponent)
        # A channel that is always 0, or that nobody reads, has nothing to give.
        return torch.where((largest > 0) & (columns > 0), factors, torch.ones_like(factors))

    def best(self, name: str) -> dict[Fold, NDArray[np.float32]]:
        """The factors of a function's norms, but of those that are best without."""
        chosen: dict[Fold, NDArray[np.float32]] = {}
        for (function, fold), errors in self._errors.items():
            if function != name:
                continue
            sums: dict[float | None, float] = {}
            for (exponent, _), error in errors.items():
                sums[exponent] = sums.get(exponent, 0.0) + error.relative**2
            factors = self._factors(name, fold, min(sums, key=lambda e: sums[e]))
            if factors is not None:
                chosen[fold] = factors.numpy()
        return chosen
