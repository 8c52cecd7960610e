"""Examples of a function's inputs, as the contract says what they hold, and torch's marks of what
varies in them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import torch

from sam3_tvm.components import Component, Dim
from sam3_tvm.values import (
    Alternating,
    Binary,
    Boxes,
    Choice,
    Integers,
    Normal,
    Padding,
    TokenIds,
    Uniform,
)

__all__ = ["dynamic_shapes", "example_sizes", "sample_inputs"]


def example_sizes(component: Component) -> dict[str, int]:
    """Sizes of a component's dynamic dimensions at which it is traced."""
    return {name: dim.example for name, dim in component.dims.items()}


def dynamic_shapes(component: Component) -> tuple[Any, ...]:
    """The ABI's dynamic dimensions in the form that ``torch.export`` takes."""
    dims = {
        name: torch.export.Dim(name, min=d.min, max=d.max) for name, d in component.dims.items()
    }
    shapes: list[Any] = []
    for spec in component.inputs:
        marks = {i: dims[d.name] for i, d in enumerate(spec.shape) if isinstance(d, Dim)}
        # torch takes no named Dim for an int; its bounds come from the ABI at compile time.
        unnamed = tuple(torch.export.Dim.DYNAMIC for _ in spec.shape)
        shapes.append(unnamed if spec.dtype == "shape" else marks)
    return tuple(shapes)


def sample_inputs(
    component: Component, dims: Mapping[str, int], vocabulary: int, seed: int = 0
) -> tuple[Any, ...]:
    """Seeded random inputs of a component, by the rules in its specs.

    Args:
        component: the function's description.
        dims: a value for each of its dynamic dimensions.
        vocabulary: number of token ids.
        seed: of the random generator.

    Returns:
        One torch tensor per input; a tuple of ints for a ``"shape"`` input.

    Raises:
        TypeError: an input whose rule gives values of another kind than its dtype.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn: list[Any] = []
    for spec in component.inputs:
        shape = tuple(dims[d.name] if isinstance(d, Dim) else d for d in spec.shape)
        if spec.dtype == "shape":
            drawn.append(shape)
            continue
        rule = Integers(0, vocabulary) if isinstance(spec.values, TokenIds) else spec.values
        values, dtype = draw(rule, shape, generator), getattr(torch, spec.dtype)
        if values.is_floating_point() != dtype.is_floating_point:
            raise TypeError(f"{component.name}: {spec} is not drawn as {rule}")
        drawn.append(values.to(dtype))
    return tuple(drawn)


@singledispatch
def draw(rule: Any, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Values of one rule: float32, int64 or bool."""
    raise TypeError(f"no values are drawn by {rule!r}")


@draw.register
def _(rule: Normal, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator)


@draw.register
def _(rule: Uniform, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.rand(shape, generator=generator)


@draw.register
def _(rule: Integers, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randint(rule.low, rule.high, shape, generator=generator)


@draw.register
def _(rule: Choice, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    among = torch.tensor(rule.among)
    return among[torch.randint(0, len(among), shape, generator=generator)]


@draw.register
def _(rule: Boxes, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    centre = torch.rand((*shape[:-1], 2), generator=generator) * 0.6 + 0.2
    side = torch.rand((*shape[:-1], 2), generator=generator) * 0.35 + 0.02
    return torch.cat([centre, side], dim=-1)


@draw.register
def _(rule: Binary, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return (torch.rand(shape, generator=generator) > 0.5).float()


@draw.register
def _(rule: Padding, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    length = torch.randint(1, max(shape[1], 1) + 1, (shape[0], 1), generator=generator)
    length[0] = shape[1]
    return torch.arange(shape[1])[None, :] < length


@draw.register
def _(rule: Alternating, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.arange(shape[0]) % 2 == 0
