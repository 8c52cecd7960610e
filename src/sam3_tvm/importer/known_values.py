"""Values that are known while a module is traced: those of its buffers, and what follows from them.

``torch.export`` traces with tensors that have no values, and refuses ``if mask.all():`` as
dependent on data, although ``mask`` may be a buffer, or made from sizes alone:
``nn.TransformerEncoder`` asks in this way whether its mask is causal. Buffers are bound into the
imported module, so a decision that they make is made once and for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

__all__ = ["KnownValues"]

_LARGEST = 1 << 16
"""Elements of a tensor whose value is still followed."""

_READS = frozenset(
    {
        torch.Tensor.__bool__,
        torch.Tensor.__float__,
        torch.Tensor.__index__,
        torch.Tensor.__int__,
        torch.Tensor.item,
        torch.Tensor.tolist,
    }
)
_MAKERS = frozenset(
    {
        torch.arange,
        torch.eye,
        torch.full,
        torch.linspace,
        torch.ones,
        torch.tensor,
        torch.zeros,
    }
)


class KnownValues(TorchFunctionMode):
    """The scope in which Python may read a tensor that depends on no input.

    Each call of torch on tensors whose values are known is made once more, on the values.

    Args:
        module: what is traced inside; its buffers' values are known.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self._module = module
        self._buffers = {
            name: buffer.detach().clone()
            for name, buffer in module.named_buffers()
            if buffer.numel() <= _LARGEST
        }
        # By identity; the tensor is kept, so that its identity isn't given to another.
        self._known: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch._C._meta_in_tls_dispatch_include():
            return func(*args, **kwargs)  # torch itself, finding the shape of a result
        leaves, spec = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        values = [self._value(tensor) for tensor in tensors]
        known = all(value is not None for value in values)
        if func in _READS and known:
            with _untraced():
                return func(values[0])
        result = func(*args, **kwargs)
        if known and (tensors or func in _MAKERS) and not any(map(_varies, leaves)):
            replaced = iter(values)
            real = [next(replaced) if isinstance(x, torch.Tensor) else x for x in leaves]
            self._repeat(func, tree_unflatten(real, spec), result)
        elif _writes(func, kwargs):
            self._forget(tensors)
        return result

    def _value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        found = self._known.get(id(tensor))
        if found is None and self._buffers:
            # While it is traced, the module has tensors without values in place of its buffers.
            for name, buffer in self._module.named_buffers():
                if buffer is tensor and name in self._buffers:
                    found = self._known[id(tensor)] = (tensor, self._buffers[name])
        return None if found is None else found[1]

    def _repeat(self, func: Any, arguments: Any, result: Any) -> None:
        """Make the call on the values, and note what its results are."""
        args, kwargs = arguments
        with _untraced():
            state = torch.get_rng_state()
            real = func(*args, **kwargs)
            drawn = not torch.equal(state, torch.get_rng_state())
            torch.set_rng_state(state)
        made = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
        if drawn:
            self._forget(made)  # nobody knows what a draw will give, in place or not
            return
        values = [x for x in tree_leaves(real) if isinstance(x, torch.Tensor)]
        for tensor, value in zip(made, values, strict=True):
            if value.numel() <= _LARGEST:
                self._known[id(tensor)] = (tensor, value)

    def _forget(self, changed: Iterable[torch.Tensor]) -> None:
        """Something unknown was written into these tensors, and so into all that share memory
        with them."""
        written = {_memory(tensor) for tensor in changed}
        self._known = {k: e for k, e in self._known.items() if _memory(e[0]) not in written}
        for name, buffer in self._module.named_buffers():
            if _memory(buffer) in written:
                self._buffers.pop(name, None)


def _memory(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


@contextmanager
def _untraced() -> Iterator[None]:
    """The scope in which tensors have values, within a trace."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        yield


def _varies(leaf: Any) -> bool:
    """Whether an argument depends on a symbolic size."""
    if isinstance(leaf, slice):
        return any(map(_varies, (leaf.start, leaf.stop, leaf.step)))
    return isinstance(leaf, torch.SymInt | torch.SymFloat | torch.SymBool)


def _writes(func: Any, kwargs: Any) -> bool:
    """Whether a call may change one of its arguments."""
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    by_operator = name.startswith("__i") or name in ("__setitem__", "__set__")
    return in_place or by_operator or "out" in kwargs
