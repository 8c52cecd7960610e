"""Decisions by values that no input has a part in are made while a module is traced."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from import_harness import check
from torch.export import Dim
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from sam3_tvm.importer.export import export

_BATCH = Dim("batch", min=1, max=8)


class Buffers(torch.nn.Module):
    """A module with buffers of every kind, and a function of it and its input."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("scales", torch.tensor([0.5, 2.0, 0.0]), persistent=False)
        self.register_buffer("steps", torch.tensor(3))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def _branches(module: Buffers, x: torch.Tensor) -> torch.Tensor:
    if module.flags.any() and not module.flags.all():
        x = x + 1
    if module.scales[2] > 0:
        x = x * 100
    for _ in range(int(module.steps)):
        x = x * 2
    return x * module.scales.max().item() + module.scales.tolist()[0]


def _by_sizes(_: Buffers, x: torch.Tensor) -> torch.Tensor:
    mask = torch.triu(torch.full((4, 4), float("-inf")), diagonal=1)
    other = torch.ones(4, 4).tril().log()
    return x - 1 if (mask == other).all() else x * 1000


def _written(module: Buffers, x: torch.Tensor) -> torch.Tensor:
    table = torch.zeros(3)
    table[1:] = module.scales[:2] * 2
    view = table[2:]
    view.add_(1)
    return x * 3 if table[2] == 5 else x * 7


@pytest.mark.parametrize("function", [_branches, _by_sizes, _written])
def test_what_follows_from_buffers_and_sizes_decides(function: Callable[..., torch.Tensor]) -> None:
    x = torch.randn(2, 4)
    also = [(torch.randn(n, 4),) for n in (1, 3)]
    check(Buffers(function), x, dynamic_shapes=({0: _BATCH},), also=also)


def test_a_causal_mask_of_a_transformer_is_recognised() -> None:
    layer = torch.nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)

    class Causal(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = encoder

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
            return self.encoder(x, mask=mask)

    x = torch.randn(2, 5, 8)
    check(Causal(), x, dynamic_shapes=({0: _BATCH},), also=[(torch.randn(3, 5, 8),)], atol=1e-5)


def _of_input(_: Buffers, x: torch.Tensor) -> torch.Tensor:
    return x + 1 if x.sum() > 0 else x


def _of_a_draw(_: Buffers, x: torch.Tensor) -> torch.Tensor:
    return x + 1 if torch.zeros(3).uniform_().sum() > 1 else x


def _of_overwritten(module: Buffers, x: torch.Tensor) -> torch.Tensor:
    table = torch.zeros(3, 4)
    table[: x.shape[0]].add_(x.sum())
    return x + 1 if table.sum() > 0 else x


def _of_overwritten_buffer(module: Buffers, x: torch.Tensor) -> torch.Tensor:
    module.scales.copy_(x[0, :3])
    return x + 1 if module.scales.sum() > 0 else x


@pytest.mark.parametrize(
    "function", [_of_input, _of_a_draw, _of_overwritten, _of_overwritten_buffer]
)
def test_what_only_running_tells_is_still_refused(function: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(GuardOnDataDependentSymNode):
        export(Buffers(function), (torch.randn(2, 4),))


def test_tracing_leaves_buffers_and_the_random_state_alone() -> None:
    module = Buffers(_branches)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    state = torch.get_rng_state()
    export(module, (torch.randn(2, 4, generator=torch.Generator()),))
    assert torch.equal(torch.get_rng_state(), state)
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name])


def test_len_of_a_tensor_leaves_its_size_free() -> None:
    def repeated(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return table.unsqueeze(0).expand(len(x), -1, -1) + x[:, None]

    inputs = [(torch.randn(n, 4), torch.randn(3, 4)) for n in (2, 1, 5)]
    check(repeated, *inputs[0], dynamic_shapes=({0: _BATCH}, {}), also=inputs[1:])


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: torch.cat([x, x + 1, x * 2]).split(x.shape[0]),
        lambda x: torch.cat([x, x + 1, x * 2]).split(split_size=x.shape[0], dim=0),
        lambda x: torch.cat([x, x + 1, x * 2]).chunk(3),
        lambda x: torch.chunk(torch.cat([x, x * 2], 0).T, 2, dim=1),
        lambda x: torch.split(F.pad(x, (0, 0, 0, x.shape[0])), x.shape[0], -2),
    ],
    ids=["split", "by name", "chunk", "chunk of an axis", "of a padded one"],
)
def test_equal_parts_of_an_axis_that_varies(cut: Callable[..., torch.Tensor]) -> None:
    inputs = [(torch.randn(n, 4),) for n in (2, 1, 5)]
    check(cut, *inputs[0], dynamic_shapes=({0: _BATCH},), also=inputs[1:])
