"""The words in which compiled functions are described, and the check of a call against them.

A function of an artifact is a :class:`Component`, with a :class:`TensorSpec` for each input and
output, whose sizes are integers or a :class:`Dim`. Which functions a SAM 3 has is said in
:mod:`sam3_tvm.abi`.

Nothing here needs more than the standard library: every other part stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sam3_tvm.errors import Sam3Error

__all__ = [
    "AbiError",
    "Component",
    "Dim",
    "TensorSpec",
    "abi_from_json",
    "abi_to_json",
    "bind",
    "spec_from_json",
    "spec_to_json",
]


class AbiError(Sam3Error, ValueError):
    """A call that breaks the contract; the message names the function, the input and the bound."""


@dataclass(frozen=True)
class Dim:
    """A dimension that varies from call to call, with its inclusive bounds."""

    name: str
    min: int
    max: int

    def __str__(self) -> str:
        return f"{self.name} in {self.min}..{self.max}"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, its dtype, and its shape of integers and dimensions.

    The dtype ``"shape"`` marks an argument that is no tensor but a list of integers
    (an output size), whose entries are dimensions of the function.
    """

    name: str
    dtype: str
    shape: tuple[int | Dim, ...]

    @property
    def per_image(self) -> bool:
        """Whether it comes from the picture alone, so that all prompts share it.

        So do the features of the vision encoder and of the tracker's neck, wherever they are an
        input of a function that also takes a prompt.
        """
        return self.name.startswith(("fpn_", "tracker_"))

    def __str__(self) -> str:
        dims = ", ".join(d.name if isinstance(d, Dim) else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


@dataclass(frozen=True)
class Component:
    """One compiled function: name, inputs and outputs in calling order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def dims(self) -> dict[str, Dim]:
        """The function's dynamic dimensions by name, in order of first use."""
        found: dict[str, Dim] = {}
        for spec in self.inputs:
            for d in spec.shape:
                if isinstance(d, Dim):
                    found.setdefault(d.name, d)
        return found

    @property
    def image_inputs(self) -> tuple[int, ...]:
        """Positions of the inputs that come from the picture alone."""
        return tuple(i for i, spec in enumerate(self.inputs) if spec.per_image)

    def __str__(self) -> str:
        ins = ", ".join(map(str, self.inputs))
        outs = ", ".join(map(str, self.outputs))
        return f"{self.name}({ins}) -> {outs}"


def bind(component: Component, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """Match actual input shapes against a component's specs.

    Args:
        component: the function that is to be called.
        shapes: one shape per input, in order; for a ``"shape"`` input the values themselves.

    Returns:
        The value of each dynamic dimension by name.

    Raises:
        AbiError: a wrong number of inputs, a wrong rank or static size, two inputs that
            disagree on a dimension, or a dimension outside its bounds.
    """
    if len(shapes) != len(component.inputs):
        raise AbiError(
            f"{component.name} takes {len(component.inputs)} inputs "
            f"({', '.join(s.name for s in component.inputs)}), got {len(shapes)}"
        )
    values: dict[str, int] = {}
    for spec, shape in zip(component.inputs, shapes, strict=True):
        if len(shape) != len(spec.shape):
            raise AbiError(
                f"{component.name}: {spec} takes {len(spec.shape)} axes, got shape {tuple(shape)}"
            )
        for axis, (want, got) in enumerate(zip(spec.shape, shape, strict=True)):
            where = f"{component.name}: {spec}, axis {axis}"
            if not isinstance(want, Dim):
                if got != want:
                    raise AbiError(f"{where} must be {want}, got {got}")
            elif not want.min <= got <= want.max:
                raise AbiError(f"{where} is {got}, outside {want}")
            elif values.setdefault(want.name, got) != got:
                raise AbiError(
                    f"{where} is {got}, but {want.name} is {values[want.name]} in an earlier input"
                )
    return values


def spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as plain data."""
    dims = [asdict(d) if isinstance(d, Dim) else d for d in spec.shape]
    return {"name": spec.name, "dtype": spec.dtype, "shape": dims}


def spec_from_json(data: Mapping[str, Any]) -> TensorSpec:
    """The inverse of :func:`spec_to_json`."""
    dims = tuple(Dim(**d) if isinstance(d, dict) else int(d) for d in data["shape"])
    return TensorSpec(data["name"], data["dtype"], dims)


def abi_to_json(components: Mapping[str, Component]) -> list[dict[str, Any]]:
    """The ABI as plain data for a manifest."""
    return [
        {
            "name": c.name,
            "inputs": [spec_to_json(s) for s in c.inputs],
            "outputs": [spec_to_json(s) for s in c.outputs],
        }
        for c in components.values()
    ]


def abi_from_json(data: Sequence[Mapping[str, Any]]) -> dict[str, Component]:
    """The inverse of :func:`abi_to_json`."""
    return {
        c["name"]: Component(
            c["name"],
            tuple(map(spec_from_json, c["inputs"])),
            tuple(map(spec_from_json, c["outputs"])),
        )
        for c in data
    }
