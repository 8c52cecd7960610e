"""The words in which compiled functions are described, and the check of a call against them.

A function of an artifact is a :class:`Component`, with a :class:`TensorSpec` for each input and
output, whose sizes are integers or a :class:`Dim`. Which functions a SAM 3 has is said in
:mod:`sam3_tvm.abi`.

Nothing here needs more than the standard library: every other part stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sam3_tvm.errors import Sam3Error
from sam3_tvm.values import Normal, Values

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
    """A dimension that varies from call to call: its inclusive bounds, and sizes to try it at.

    The bounds are the contract, and what a manifest says; the other sizes are for whoever tries a
    function out, and two dimensions that differ in nothing else are equal.

    Attributes:
        name: what ranges over it; inputs of a function that share a name share the size.
        min, max: the bounds.
        example: the size at which a function is traced. 0 and 1 are special to ``torch.export``,
            and so are equal sizes of different dimensions.
        odd: a size that ``verify`` compares because no vector, tile or task divides it.
        usual: the size at which ``bench`` measures.
        largest: the largest size that ``verify`` compares; None for ``max``.
    """

    name: str
    min: int
    max: int
    example: int = field(default=2, compare=False)
    odd: int = field(default=3, compare=False)
    usual: int = field(default=1, compare=False)
    largest: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name} in {self.min}..{self.max}"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: unique among the function's inputs, or its outputs. An output and an input of the
            same name are the same thing, which is how functions are put together.
        dtype: NumPy's name of it; ``"shape"`` marks an argument that is no tensor but a list of
            integers (an output size), whose entries are dimensions of the function.
        shape: integers where a model fixes the size, dimensions where a call does.
        per_image: whether it comes from the picture alone, so that all prompts share it.
        values: what an input holds, for drawing examples; no part of what a manifest says.
    """

    name: str
    dtype: str
    shape: tuple[int | Dim, ...]
    per_image: bool = False
    values: Values = field(default=Normal(), compare=False)

    def __str__(self) -> str:
        dims = ", ".join(d.name if isinstance(d, Dim) else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


@dataclass(frozen=True)
class Component:
    """One compiled function.

    Attributes:
        name: by which it is called.
        inputs, outputs: in calling order.
        task: what it is for, of :data:`sam3_tvm.sizes.TASKS`: the first task that takes it. Empty
            where functions were put together for a purpose of the caller's.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    task: str = ""

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
    dims = [
        {"name": d.name, "min": d.min, "max": d.max} if isinstance(d, Dim) else d
        for d in spec.shape
    ]
    return {"name": spec.name, "dtype": spec.dtype, "shape": dims, "per_image": spec.per_image}


def spec_from_json(data: Mapping[str, Any]) -> TensorSpec:
    """The inverse of :func:`spec_to_json`."""
    dims = tuple(Dim(**d) if isinstance(d, dict) else int(d) for d in data["shape"])
    return TensorSpec(data["name"], data["dtype"], dims, data["per_image"])


def abi_to_json(components: Mapping[str, Component]) -> list[dict[str, Any]]:
    """The ABI as plain data for a manifest."""
    return [
        {
            "name": c.name,
            "task": c.task,
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
            c["task"],
        )
        for c in data
    }
