"""What a picture's later calls need, computed once, and the calls that use it.

Some functions take features of the picture beside a prompt. Where such a function is compiled
in two halves, the first runs once per picture and what it gives is kept; where it is whole, its
inputs are kept. Either way a call with a prompt then adds the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.abi import BATCH
from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.manifest import Manifest
from sam3_tvm.runtime.execution.functions import Input

__all__ = ["ImageFunctions"]

#: Calls a function, or one of its halves, by name.
Call = Callable[..., tuple[NDArray[Any], ...]]


class ImageFunctions:
    """The functions that take features of the picture.

    Args:
        call: calls functions and halves, such as a
            :class:`~sam3_tvm.runtime.execution.functions.FunctionTable`.
        manifest: their signatures.
        functions: which of them; None for all.

    Attributes:
        names: of the arrays that :meth:`keep` gives.
    """

    def __init__(
        self, call: Call, manifest: Manifest, functions: Collection[str] | None = None
    ) -> None:
        self._call = call
        self._stages = manifest.stages
        self._components = {
            name: component
            for name, component in manifest.components.items()
            if component.image_inputs and (functions is None or name in functions)
        }
        kept = [key for name in self._components for key, _ in self._taken(name)]
        self.names = tuple(dict.fromkeys(kept))

    def _taken(self, name: str) -> list[tuple[str, TensorSpec]]:
        """What a call with a prompt takes of the picture, in order, and under which names."""
        component = self._components[name]
        if name not in self._stages:
            return [(spec.name, spec) for spec in component.inputs if spec.per_image]
        half = self._stages[name].prompt_half(component)
        count = len(self._stages[name].kept)
        return [
            *((f"{name}.{spec.name}", spec) for spec in half.inputs[:count]),
            *((spec.name, spec) for spec in half.inputs[count:] if spec.per_image),
        ]

    def kept(self, name: str) -> tuple[str, ...]:
        """Those of :attr:`names` that a function takes."""
        return tuple(key for key, _ in self._taken(name))

    def features(self, functions: Collection[str] | None = None) -> set[str]:
        """The picture's features that functions take, by name.

        Args:
            functions: which; None for all.
        """
        return {
            component.inputs[i].name
            for name, component in self._components.items()
            if functions is None or name in functions
            for i in component.image_inputs
        }

    def keep(
        self, features: Mapping[str, NDArray[Any]], functions: Collection[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Run what the picture alone decides.

        Args:
            features: outputs of the vision encoder, and of the tracker's neck, by name.
            functions: which functions will be called; None for all.

        Returns:
            What calls with a prompt take, by name, and nothing more.
        """
        known = dict(features)
        chosen = [n for n in self._components if functions is None or n in functions]
        for name, split in self._stages.items():
            if name not in chosen:
                continue
            outputs = self._call(split.image, *(features[i] for i in split.image_inputs))
            for spec, output in zip(split.kept, outputs, strict=True):
                known[f"{name}.{spec.name}"] = output
        return {key: known[key] for name in chosen for key, _ in self._taken(name)}

    def __call__(
        self, name: str, kept: Mapping[str, NDArray[Any]], *inputs: Input
    ) -> tuple[NDArray[Any], ...]:
        """Call a function for prompts on one picture.

        Args:
            name: the function.
            kept: what :meth:`keep` gave; it is repeated for each prompt.
            inputs: the function's other inputs, in order.

        Raises:
            AbiError: an input or an output that breaks the signature.
        """
        component = self._components[name]
        split = self._stages.get(name)
        target = component if split is None else split.prompt_half(component)
        batch = _batch(component, inputs)
        pictured = {spec.name: _repeated(spec, kept[key], batch) for key, spec in self._taken(name)}
        rest = iter(inputs)
        taken = [pictured[s.name] if s.name in pictured else next(rest) for s in target.inputs]
        return self._call(target.name, *taken, *rest)


def _batch(component: Component, inputs: tuple[Input, ...]) -> int:
    """How many prompts the inputs that come with them are for."""
    specs = [spec for spec in component.inputs if not spec.per_image]
    for spec, value in zip(specs, inputs, strict=False):
        for dim, size in zip(spec.shape, getattr(value, "shape", ()), strict=False):
            if isinstance(dim, Dim) and dim.name == BATCH.name:
                return int(size)
    return 1


def _repeated(spec: TensorSpec, array: NDArray[Any], batch: int) -> NDArray[Any]:
    for axis, dim in enumerate(spec.shape):
        if isinstance(dim, Dim) and dim.name == BATCH.name and batch > 1:
            array = np.repeat(array, batch, axis)
    return array
