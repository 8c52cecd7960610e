"""Lowerings that keep precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tvm
from import_harness import Wrap
from torch.export import Dim
from tvm import relax

from sam3_tvm.importer import import_module
from sam3_tvm.importer.legalize import LegalizeGroupNorm


def norms(x: Any, w: Any, b: Any) -> Any:
    return F.group_norm(x, 2, w, b), F.instance_norm(x), F.group_norm(x[..., 0], 6, w, b)


def run(lower: Any, *args: torch.Tensor) -> list[np.ndarray]:
    h = Dim("h", min=2, max=64)
    mod, _ = import_module(Wrap(norms), args, (({2: h}, None, None),))
    machine = relax.VirtualMachine(tvm.compile(lower(mod), "llvm"), tvm.cpu())
    return [o.numpy() for o in machine["main"](*(tvm.runtime.tensor(a.numpy()) for a in args))]


def error(lower: Any, mean: float) -> float:
    torch.manual_seed(0)
    args = torch.randn(2, 6, 9, 8) + mean, torch.rand(6) + 0.5, torch.randn(6)
    want = norms(*(a.double() for a in args))
    pairs = zip(run(lower, *args), want, strict=True)
    return max(float(np.abs(got - w.numpy()).max()) for got, w in pairs)


def test_group_norm_keeps_its_precision_around_a_large_mean() -> None:
    assert error(LegalizeGroupNorm(), 0.0) < 5e-6
    assert error(LegalizeGroupNorm(), 100.0) < 2e-4


def test_stock_group_norm_still_cancels() -> None:
    assert not error(lambda mod: mod, 100.0) < 2e-3
