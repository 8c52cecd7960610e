"""One way to test a converter: import, compile, run, compare shape, then dtype, then values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import tvm
from tvm import relax

from sam3_tvm.importer import import_module


class Wrap(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def compile_module(
    module: torch.nn.Module | Callable[..., Any],
    args: Sequence[Any],
    dynamic_shapes: Any = None,
) -> Callable[..., tuple[np.ndarray, ...]]:
    """Import and build; the result runs on torch tensors and ints and gives NumPy arrays."""
    if not isinstance(module, torch.nn.Module):
        module = Wrap(module)
        if dynamic_shapes is not None:
            dynamic_shapes = (tuple(dynamic_shapes),)
    mod, params = import_module(module, args, dynamic_shapes)
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())

    def to_tvm(value: Any) -> Any:
        if isinstance(value, int):
            return tvm.runtime.ShapeTuple([value])
        if isinstance(value, tuple):
            return tvm.runtime.ShapeTuple(list(value))
        if value.dtype == torch.bfloat16:
            return tvm.runtime.from_dlpack(value.contiguous())
        return tvm.runtime.tensor(value.detach().numpy())

    def run(*inputs: Any) -> tuple[np.ndarray, ...]:
        out = machine["main"](*map(to_tvm, inputs), *params.values())
        return tuple(o.numpy() for o in ([out] if hasattr(out, "numpy") else out))

    return run


def compare(got: Sequence[np.ndarray], want: Any, rtol: float, atol: float) -> None:
    """Shape, dtype, values, in this order; prints the largest and the mean error."""
    flat = [t for t in torch.utils._pytree.tree_leaves(want) if t is not None]
    assert len(got) == len(flat), f"{len(got)} results, PyTorch has {len(flat)}"
    for position, (ours, reference) in enumerate(zip(got, flat, strict=True)):
        reference = torch.as_tensor(reference)
        assert ours.shape == tuple(reference.shape), (
            f"result {position}: shape {ours.shape}, PyTorch {tuple(reference.shape)}"
        )
        name = str(reference.dtype).removeprefix("torch.")
        assert str(ours.dtype) == name, f"result {position}: dtype {ours.dtype}, PyTorch {name}"
        a = ours.astype("float64")
        b = reference.detach().to(torch.float64).numpy()
        if a.size:
            finite = np.isfinite(a) & np.isfinite(b)
            error = np.abs(np.where(finite, a - b, 0.0))
            what = f"result {position} {name}{ours.shape}"
            print(f"{what}: max {error.max():.3g} mean {error.mean():.3g}")
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)


def check(
    module: torch.nn.Module | Callable[..., Any],
    *args: Any,
    dynamic_shapes: Any = None,
    also: Sequence[Sequence[Any]] = (),
    rtol: float = 1e-5,
    atol: float = 1e-6,
) -> None:
    """Compare with PyTorch on ``args`` and, compiled once, on each further set in ``also``.

    Args:
        module: a module, or a function of the inputs.
        args: example inputs for the import, also the first that are compared.
        dynamic_shapes: one entry per input, as for ``torch.export.export``.
        also: further inputs, of other sizes where ``dynamic_shapes`` allows.
    """
    run = compile_module(module, args, dynamic_shapes)
    reference = module.eval() if isinstance(module, torch.nn.Module) else module
    for inputs in (args, *also):
        with torch.no_grad():
            compare(run(*inputs), reference(*inputs), rtol, atol)
