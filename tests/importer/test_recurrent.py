"""Recurrent layers, which torch decomposes, and shuffles of pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import check
from torch.export import Dim


class Layer(torch.nn.Module):
    def __init__(self, kind: Any, **settings: Any) -> None:
        super().__init__()
        self.layer = kind(4, 6, **settings)

    def forward(self, x: Any) -> Any:
        return self.layer(x)


LAYERS = {
    "lstm": (torch.nn.LSTM, {}),
    "deep two-way lstm with projections": (
        torch.nn.LSTM,
        {"num_layers": 2, "bidirectional": True, "proj_size": 3},
    ),
    "deep gru": (torch.nn.GRU, {"num_layers": 2, "bidirectional": True, "dropout": 0.5}),
    "gru without bias": (torch.nn.GRU, {"bias": False}),
    "deep rnn": (torch.nn.RNN, {"num_layers": 3}),
    "rectified rnn": (torch.nn.RNN, {"nonlinearity": "relu", "bidirectional": True}),
}


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_recurrent_layer_of_any_batch(layer: tuple[Any, dict[str, Any]]) -> None:
    kind, settings = layer
    module = Layer(kind, batch_first=True, **settings)
    batch = ({0: Dim("batch", min=2, max=9)},)
    check(
        module,
        torch.randn(3, 3, 4),
        dynamic_shapes=batch,
        also=[(torch.randn(5, 3, 4),)],
        rtol=1e-4,
    )


def test_shuffled_pixels() -> None:
    sizes = ({2: 2 * Dim("h", min=1, max=8), 3: 2 * Dim("w", min=1, max=8)},)
    check(
        lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2), F.channel_shuffle(x, 4)),
        torch.randn(2, 8, 4, 6),
        dynamic_shapes=sizes,
        also=[(torch.randn(2, 8, 10, 2),)],
    )
