"""The compiled functions as the segmenter sees them: NumPy in and out, checked, one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.components import AbiError, Component, Dim, bind
from sam3_tvm.manifest import Stages
from sam3_tvm.weights import ALIGNMENT

__all__ = ["FunctionTable", "Input", "Invoke", "aligned"]

#: An array, or for a ``"shape"`` input the integers themselves.
Input = NDArray[Any] | tuple[int, ...]

#: Runs the named function on inputs that keep the ABI and returns its outputs in order. It is
#: called from any thread, and lets one call through at a time where the function needs that.
Invoke = Callable[[str, Sequence[Input]], Sequence[NDArray[Any]]]


class FunctionTable:
    """The functions of an artifact, callable from any thread.

    A function that is compiled in two halves can be called whole, which calls the one and then
    the other, and each half can be called by its own name.

    Args:
        components: the signatures, by function name.
        invoke: runs one compiled function; the table has checked the inputs. It is an argument
            so that what calls the functions can be tested without compiled ones.
        stages: the halves of the functions that are compiled in two, by the whole's name.
    """

    def __init__(
        self,
        components: Mapping[str, Component],
        invoke: Invoke,
        stages: Mapping[str, Stages] | None = None,
    ) -> None:
        self.components = components
        self._invoke = invoke
        self._stages = dict(stages or {})
        halves = [
            half
            for name, split in self._stages.items()
            for half in (split.image_half(components[name]), split.prompt_half(components[name]))
        ]
        self._signatures = {**components, **{half.name: half for half in halves}}

    def __call__(self, name: str, *inputs: Input) -> tuple[NDArray[Any], ...]:
        """Call one function, whole or a half.

        Returns:
            Its outputs in order. They may be views of memory that the runtime owns; they stay
            valid as long as they are held.

        Raises:
            AbiError: an input or an output that breaks the function's signature.
        """
        component = self._signatures[name]
        for spec, value in zip(component.inputs, inputs, strict=False):
            if spec.dtype == "shape":
                continue
            got = value.dtype.name if isinstance(value, np.ndarray) else type(value).__name__
            if got != spec.dtype:
                raise AbiError(f"{name}: {spec} must be {spec.dtype}, got {got}")
        dims = bind(component, [v.shape if isinstance(v, np.ndarray) else v for v in inputs])
        if name in self._stages:
            outputs = self._in_stages(name, inputs)
        else:
            outputs = tuple(self._invoke(name, inputs))
        _check_outputs(component, dims, outputs)
        return outputs

    def named(self, name: str, *inputs: Input) -> dict[str, NDArray[Any]]:
        """Call one function whole; its outputs by name."""
        outputs = self(name, *inputs)
        specs = self.components[name].outputs
        return {spec.name: output for spec, output in zip(specs, outputs, strict=True)}

    def _in_stages(self, name: str, inputs: Sequence[Input]) -> tuple[NDArray[Any], ...]:
        split = self._stages[name]
        given = dict(zip((s.name for s in self.components[name].inputs), inputs, strict=True))
        kept = self(split.image, *(given[i] for i in split.image_inputs))
        return self(split.prompt, *kept, *(given[i] for i in split.prompt_inputs))


def aligned(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy if it isn't contiguous or doesn't start at a multiple of 64 bytes."""
    if array.size and array.flags.c_contiguous and array.ctypes.data % ALIGNMENT == 0:
        return array
    memory = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    # Spelt out for empty arrays, to which NumPy gives the strides of axes of length 1; TVM
    # takes those for a gap.
    strides = [array.itemsize * math.prod(array.shape[i + 1 :]) for i in range(array.ndim)]
    copy: NDArray[Any] = np.ndarray(array.shape, array.dtype, memory.data, offset, strides)
    copy[...] = array
    return copy


def _check_outputs(
    component: Component, dims: Mapping[str, int], outputs: Sequence[NDArray[Any]]
) -> None:
    """An artifact whose code and manifest disagree is caught here, not by wrong pictures."""
    if len(outputs) != len(component.outputs):
        raise AbiError(
            f"{component.name} gave {len(outputs)} outputs instead of {len(component.outputs)}"
        )
    for spec, array in zip(component.outputs, outputs, strict=True):
        # A dimension of outputs alone, such as boxes + 1, is free.
        want = [dims.get(d.name) if isinstance(d, Dim) else d for d in spec.shape]
        fits = len(want) == array.ndim and all(
            w is None or w == g for w, g in zip(want, array.shape, strict=True)
        )
        if array.dtype.name != spec.dtype or not fits:
            raise AbiError(f"{component.name}: {spec} came out as {array.dtype}{array.shape}")
