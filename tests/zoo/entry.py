"""What a model of the zoo is: how it is built, and how its inputs are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export import Dim

__all__ = [
    "LARGEST_BATCH",
    "Entry",
    "Input",
    "attention_mask",
    "drawn",
    "features",
    "flags",
    "image",
    "integers",
    "model",
    "of_class",
    "ones",
    "tokens",
    "whole_mask",
]

LARGEST_BATCH = 8
"""The bound of the dimension that is declared for a varying batch."""


@dataclass(frozen=True)
class Input:
    """One input.

    Attributes:
        draw: gives the tensor for a batch size, from a generator.
        axis: where its batch axis is; None for an input without one.
        scale: how many times the batch size that axis has.
    """

    draw: Callable[[int, torch.Generator], torch.Tensor]
    axis: int | None = 0
    scale: int = 1


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Attributes:
        name: as the table shows it.
        build: makes the module, with whatever random weights it begins with.
        inputs: in the order in which ``forward`` takes them.
        source: where the module comes from: ``transformers`` or ``torch.nn``.
        batch: the batch size of the example that is traced.
        dynamic: whether its batch size may vary.
        batches: the sizes on which the model with a varying batch is compared.
        tolerance: of the largest error, relative to the largest value of that result.
        options: keyword arguments of ``forward`` that are no tensors.
        redraw: whether weights are drawn anew (:func:`redraw`) so that none is trivial.
        family: filled in by the collection: the file that declares it.
    """

    name: str
    build: Callable[[], torch.nn.Module]
    inputs: Mapping[str, Input]
    source: str = "torch.nn"
    batch: int = 2
    dynamic: bool = True
    batches: tuple[int, ...] = (1, 2, 3, 5)
    tolerance: float = 1e-4
    options: Mapping[str, Any] = field(default_factory=dict)
    redraw: bool = True
    family: str = ""

    def module(self) -> torch.nn.Module:
        """The module in evaluation mode with positional inputs and tensors as results."""
        torch.manual_seed(0)
        module = self.build().eval().requires_grad_(False)
        if self.redraw:
            redraw(module)
        by_name = tuple(self.inputs) if self.source == "transformers" else None
        module = _Positional(module, by_name, dict(self.options)).eval()
        _settle_batch_norms(module, self.example(2 * self.batch, seed=0))
        return module

    def example(self, batch: int, seed: int) -> tuple[torch.Tensor, ...]:
        """Inputs of one batch size; each seed gives others."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(given.draw(batch, generator) for given in self.inputs.values())

    def dynamic_shapes(self) -> Any:
        """As torch.export takes them, for :meth:`module`: the batch is the one size that varies."""
        batch = Dim("batch", min=1, max=LARGEST_BATCH)
        axes = [
            {} if given.axis is None else {given.axis: given.scale * batch}
            for given in self.inputs.values()
        ]
        return (tuple(axes),)


class _Positional(torch.nn.Module):
    """A module whose results are the tensors in what it returns, by name or not."""

    def __init__(
        self, module: torch.nn.Module, names: tuple[str, ...] | None, options: dict[str, Any]
    ) -> None:
        super().__init__()
        self.module = module
        self.names = names
        self.options = options

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        if self.names is None:
            result = self.module(*inputs, **self.options)
        else:
            by_name = dict(zip(self.names, inputs, strict=True))
            result = self.module(**by_name, **self.options)
        leaves = torch.utils._pytree.tree_leaves(result)
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def redraw(module: torch.nn.Module) -> None:
    """Draw weights so that every part of the module has a say in its result.

    Models begin with layer scales of 1e-6, biases of zero, and weights so small that the
    residual path drowns all else: a fault in a branch would not show.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if not parameter.is_floating_point():
            continue
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
        if parameter.ndim < 2:
            parameter.data.add_(0.1 * noise)
        else:
            fan_in = math.prod(parameter.shape[1:])
            parameter.data.copy_(noise / math.sqrt(fan_in))


def _settle_batch_norms(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Have batch norms know the statistics of what passes through them, as after training.

    With those that they begin with, a signal fades from layer to layer, until the result is
    the same whatever the input is.
    """
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    norms = [norm for norm in norms if norm.track_running_stats]
    if not norms:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches, of which there is one
        norm.train()
    with torch.no_grad():
        module(*inputs)
    module.eval()


def of_class(path: str, name: str, **settings: Any) -> Callable[[], torch.nn.Module]:
    """Builds a class of a package, found when it is called."""

    def build() -> torch.nn.Module:
        import importlib

        return getattr(importlib.import_module(path), name)(**settings)

    return build


def model(name: str, **settings: Any) -> Callable[[], torch.nn.Module]:
    """Builds a model of transformers from its configuration class and these settings."""

    def build() -> torch.nn.Module:
        import transformers

        cls = getattr(transformers, name)
        return cls(cls.config_class(**settings))

    return build


def drawn(*shape: int, axis: int | None = 0) -> Input:
    """Normal numbers of (batch, *shape), or of ``shape`` where ``axis`` is None."""
    if axis is None:
        return Input(lambda _, g: torch.randn(shape, generator=g), None)
    return Input(lambda b, g: torch.randn((*shape[:axis], b, *shape[axis:]), generator=g), axis)


def image(height: int, width: int | None = None, channels: int = 3) -> Input:
    """Pictures, (batch, channels, height, width), normal numbers."""
    return drawn(channels, height, width or height)


def features(length: int, width: int) -> Input:
    """Sequences, (batch, length, width), normal numbers."""
    return drawn(length, width)


def integers(low: int, high: int, *shape: int) -> Input:
    """Integers from ``low`` to below ``high``, (batch, *shape)."""
    return Input(lambda b, g: torch.randint(low, high, (b, *shape), generator=g))


def tokens(length: int, vocabulary: int = 64, low: int = 5) -> Input:
    """Token ids, (batch, length), none of them special."""
    return integers(low, vocabulary, length)


def attention_mask(length: int, dtype: torch.dtype = torch.int64) -> Input:
    """(batch, length): ones, and zeros behind a length that is drawn per row."""

    def draw(batch: int, generator: torch.Generator) -> torch.Tensor:
        lengths = torch.randint(length // 2, length, (batch, 1), generator=generator)
        return (torch.arange(length) < lengths).to(dtype)

    return Input(draw)


def whole_mask(*shape: int, dtype: torch.dtype = torch.int64) -> Input:
    """Ones, (batch, *shape): a mask that hides nothing."""
    return Input(lambda b, _: torch.ones((b, *shape), dtype=dtype))


def ones(*shape: int) -> Input:
    """Float ones, (batch, *shape)."""
    return whole_mask(*shape, dtype=torch.float32)


def flags(*shape: int) -> Input:
    """Booleans, (batch, *shape), about half of them true."""
    return Input(lambda b, g: torch.rand((b, *shape), generator=g) > 0.5)
