"""Recurrent networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tests.zoo.entry import Entry, drawn, features, tokens

__all__ = ["ENTRIES"]

_SEQUENCE = {"x": features(7, 6)}


class Tagger(nn.Module):
    """Embeddings, two directions, a label per token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.embedding(ids))[0]).argmax(-1)


class States(nn.Module):
    """A network that is given its states and gives them back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, *states: torch.Tensor) -> Any:
        return self.network(x, states if len(states) > 1 else states[0])


class Cells(nn.Module):
    """A loop over steps, with cells of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(6, 5), nn.GRUCell(5, 4), nn.RNNCell(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, c = (x.new_zeros(x.shape[0], 5) for _ in range(2))
        g, r = x.new_zeros(x.shape[0], 4), x.new_zeros(x.shape[0], 3)
        steps = []
        for t in range(x.shape[1]):
            h, c = self.lstm(x[:, t], (h, c))
            g = self.gru(h, g)
            r = self.rnn(g, r)
            steps.append(r)
        return torch.stack(steps, 1)


class ConvolutionalLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Conv2d(3 + 4, 16, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, steps, _, height, width = x.shape
        h = c = x.new_zeros(batch, 4, height, width)
        for t in range(steps):
            i, f, g, o = self.gates(torch.cat([x[:, t], h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return h


class Recogniser(nn.Module):
    """Convolutions over a line of text, a recurrent network over its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 8, 3, (2, 1), 1)
        self.network = nn.GRU(8 * 4, 10, num_layers=2, bidirectional=True)
        self.head = nn.Linear(20, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.convolution(x).relu().permute(3, 0, 1, 2).flatten(2)
        return self.head(self.network(y)[0]).log_softmax(-1)


class Attentive(nn.Module):
    """Additive attention over the states of an encoder, and a decoder of fixed length."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(6, 8, batch_first=True)
        self.cell = nn.GRUCell(8, 8)
        self.query, self.key, self.score = nn.Linear(8, 5), nn.Linear(8, 5), nn.Linear(5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, last = self.encoder(x)
        h, keys, results = last[0], self.key(states), []
        for _ in range(3):
            weights = self.score((self.query(h)[:, None] + keys).tanh()).softmax(1)
            h = self.cell((weights * states).sum(1), h)
            results.append(h)
        return torch.stack(results, 1)


ENTRIES = [
    Entry("LSTM", lambda: nn.LSTM(6, 5, batch_first=True), _SEQUENCE),
    Entry(
        "LSTM, three layers, two directions",
        lambda: nn.LSTM(6, 5, num_layers=3, bidirectional=True, batch_first=True),
        _SEQUENCE,
    ),
    Entry(
        "LSTM with projections",
        lambda: nn.LSTM(6, 8, num_layers=2, proj_size=3, batch_first=True),
        _SEQUENCE,
    ),
    Entry(
        "LSTM, steps first, states given",
        lambda: States(nn.LSTM(6, 5, bias=False)),
        {"x": drawn(7, 6, axis=1), "h": drawn(1, 5, axis=1), "c": drawn(1, 5, axis=1)},
    ),
    Entry(
        "GRU, two layers, two directions",
        lambda: nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True),
        _SEQUENCE,
    ),
    Entry(
        "GRU, states given",
        lambda: States(nn.GRU(6, 5)),
        {"x": drawn(7, 6, axis=1), "h": drawn(1, 5, axis=1)},
    ),
    Entry("RNN, tanh", lambda: nn.RNN(6, 5, batch_first=True), _SEQUENCE),
    Entry(
        "RNN, relu, three layers, two directions",
        lambda: nn.RNN(
            6, 5, num_layers=3, nonlinearity="relu", bidirectional=True, batch_first=True
        ),
        _SEQUENCE,
    ),
    Entry("Cells in a loop", Cells, _SEQUENCE),
    Entry("Tagger of two directions", Tagger, {"ids": tokens(9)}),
    Entry("Convolutional LSTM", ConvolutionalLSTM, {"x": drawn(3, 3, 6, 6)}),
    Entry("Text recogniser, convolutions and GRU", Recogniser, {"x": drawn(1, 8, 12)}),
    Entry("Sequence to sequence with additive attention", Attentive, _SEQUENCE),
]
