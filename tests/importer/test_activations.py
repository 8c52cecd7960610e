"""Activations against PyTorch, in every float dtype and far from zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from import_harness import Wrap, check

from sam3_tvm.importer import import_module


def activations(x: Any) -> Any:
    return (
        F.relu(x),
        F.relu6(x),
        F.gelu(x),
        F.gelu(x, approximate="tanh"),
        F.silu(x),
        F.mish(x),
        F.softplus(x),
        F.softplus(x, 2, 5),
        F.hardtanh(x, -2, 0.5),
        F.leaky_relu(x, 0.3),
        F.elu(x, 0.5),
        F.celu(x, 2.0),
        F.selu(x),
        F.hardsigmoid(x),
        F.hardswish(x),
        F.glu(x),
        F.logsigmoid(x),
        F.softsign(x),
        F.prelu(x, torch.tensor([0.2]).to(x.dtype)),
        F.prelu(x.reshape(2, 3, 5), torch.tensor([0.2, -1.0, 3.0]).to(x.dtype)),
        F.softmax(x, -1),
        F.log_softmax(x, -1),
        x.softmax(-1, dtype=torch.float32),
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float32, 1e-5),
        (torch.float16, 2e-3),
        (torch.bfloat16, 1.6e-2),
    ],
    ids=str,
)
def test_activations(dtype: torch.dtype, tolerance: float) -> None:
    far = torch.tensor([-100.0, 100.0, -20.5, 20.5, 0.0])
    x = torch.cat([torch.linspace(-6, 6, 25), far]).to(dtype).reshape(1, 30)
    check(activations, x, rtol=tolerance, atol=tolerance)


def test_gelu_stays_one_operator() -> None:
    mod, _ = import_module(Wrap(lambda x: F.gelu(x)), (torch.randn(2, 3),))
    assert mod.script().count("R.nn.gelu(") == 1
