"""The functions of a source in PyTorch: what they were called with, and calls with a few layers in
eight bits.

A trial costs no more than what its layers change. Functions that are called with what they were
called with before give what they gave; in the function that has the layers, blocks (the entries of
its ``ModuleList``) before the first of them give what they gave, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.abi import abi
from sam3_tvm.arithmetic import INT8, Arithmetic
from sam3_tvm.sensitivity.products import Product, WeightProducts
from sam3_tvm.sensitivity.w8a8 import product_w8a8
from sam3_tvm.sources.base import Source

__all__ = ["Error", "Layer", "ReferenceFunctions", "Trial"]

Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class Layer:
    """Linear layers of a function that read the same rows, hence the same bytes of them.

    Attributes:
        function: whose.
        weights: names of their parameters, in the order of the calls.
        inputs, outputs: K, and N of all together.
    """

    function: str
    weights: tuple[str, ...]
    inputs: int
    outputs: int

    @property
    def name(self) -> str:
        """Their names without what they have in common at the end, as a shell's braces join them:
        ``layers.0.attention.{q_proj,k_proj}``."""
        parts = [weight.replace(".weight", "").split(".") for weight in self.weights]
        if len(parts) == 1:
            return ".".join(parts[0])
        shared = 0
        while len({tuple(p[: shared + 1]) for p in parts}) == 1:
            shared += 1
        ends = ",".join(".".join(p[shared:]) for p in parts)
        return ".".join([*parts[0][:shared], f"{{{ends}}}"])


@dataclass
class Error:
    """Squares of differences, and of what they are relative to."""

    squares: float = 0.0
    of: float = 0.0

    def add(self, got: Any, wanted: Any) -> None:
        """Count two arrays or tensors of one shape."""
        self.squares += float(((got - wanted) ** 2).sum(dtype=_DOUBLE[type(got)]))
        self.of += float((wanted**2).sum(dtype=_DOUBLE[type(got)]))

    @property
    def relative(self) -> float:
        """The root of their mean, over that of the reference; 0 if nothing was counted."""
        return 0.0 if self.squares == 0 else float(np.sqrt(self.squares / max(self.of, 1e-30)))


_DOUBLE: Mapping[type, Any] = {np.ndarray: np.float64, torch.Tensor: torch.float64}


@dataclass
class Trial:
    """Layers that are computed in eight bits, and what that did.

    Attributes:
        function: whose.
        weights: names of their parameters.
        smoothing: float32 [K] by a parameter's name: what columns of its inputs are divided by.
        own: error of these layers' outputs.
        outputs: error of each output of the function, where it was called as the reference was.
    """

    function: str
    weights: frozenset[str]
    smoothing: Mapping[str, torch.Tensor] = field(default_factory=dict)
    own: Error = field(default_factory=Error)
    outputs: dict[int, Error] = field(default_factory=dict)

    @property
    def at_end(self) -> float:
        """The relative error of the output that has most of it."""
        return max((error.relative for error in self.outputs.values()), default=0.0)

    def answer(self, product: Product) -> torch.Tensor:
        """A product's result in the trial."""
        exact = product.exact()
        if product.name not in self.weights:
            return exact
        smoothing = self.smoothing.get(product.name)
        got = product.with_bias(product_w8a8(product.x, product.weight, smoothing))
        self.own.add(got, exact)
        return got

    def compare(self, got: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> None:
        """Count the outputs of a call of the function."""
        for place, (ours, theirs) in enumerate(zip(got, wanted, strict=True)):
            self.outputs.setdefault(place, Error()).add(ours, theirs)


@dataclass
class _Call:
    """A call of the reference: what it took and gave, what each block gave in the order of their
    calls, and how many were done before a parameter was first used."""

    inputs: Sequence[Any]
    outputs: Arrays = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    starts: dict[str, int] = field(default_factory=dict)


class ReferenceFunctions:
    """Invokes a source's components for a :class:`~sam3_tvm.runtime.execution.functions.
    FunctionTable`.

    Args:
        source: the checkpoint.
        scheme: which says which layers of which functions are in eight bits.

    Attributes:
        measured: functions whose layers are looked for, and whose blocks are kept, as calls are
            recorded; about 0.7 GB a picture for the vision encoder at SAM 3's size.
        layers: those that were found so far, in the order of their calls.
        watch: told of every product that belongs to one of them, as calls are recorded.
    """

    def __init__(self, source: Source, scheme: Arithmetic = INT8) -> None:
        self.scheme = scheme
        known = abi(source.sizes)
        self.measured: Collection[str] = [
            name for name in known if scheme.of_function(name) is scheme
        ]
        self.layers: dict[Layer, None] = {}
        self.watch: Callable[[str, Product], None] | None = None
        self._source = source
        self._modules = {name: source.component(name) for name in known}
        self._blocks = {name: _outermost(module) for name, module in self._modules.items()}
        self._calls: dict[str, list[_Call]] = {}
        self._trial: Trial | None = None

    def forget(self) -> None:
        """Drop what was recorded, but for the layers."""
        self._calls.clear()

    @contextmanager
    def trying(self, trial: Trial) -> Iterator[None]:
        """A scope in which layers are in eight bits; nothing is recorded in it."""
        self._trial = trial
        try:
            yield
        finally:
            self._trial = None

    def retry(self, trial: Trial) -> None:
        """Make the recorded calls of a trial's function again, with its layers in eight bits."""
        with self.trying(trial):
            for call in self._calls.get(trial.function, ()):
                self(trial.function, call.inputs)

    def __call__(self, name: str, inputs: Sequence[Any]) -> Arrays:
        """The outputs of a function, NumPy in and out."""
        trial = self._trial
        known = next((c for c in self._calls.get(name, ()) if _same(c.inputs, inputs)), None)
        if trial is not None and trial.function == name:
            got = self._tried(name, trial, inputs, known)
            if known is not None:
                trial.compare(got, known.outputs)
            return got
        if known is not None:
            return known.outputs
        if trial is not None:
            return self._run(name, inputs)
        call = self._recorded(name, inputs)
        self._calls.setdefault(name, []).append(call)
        return call.outputs

    def _run(self, name: str, inputs: Sequence[Any], *scopes: Any) -> Arrays:
        # An array of the runtime's may be read-only; nothing here writes to one.
        tensors = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in inputs]
        with ExitStack() as stack:
            for scope in (torch.no_grad(), self._source.patched(), *scopes):
                stack.enter_context(scope)
            outputs = self._modules[name](*tensors)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return [np.ascontiguousarray(o.numpy()) for o in outputs]

    def _recorded(self, name: str, inputs: Sequence[Any]) -> _Call:
        call = _Call(inputs)
        if name not in self.measured:
            call.outputs = self._run(name, inputs)
            return call
        groups: list[dict[str, tuple[int, int]]] = []
        rows: list[torch.Tensor] = []

        def answer(product: Product) -> torch.Tensor:
            call.starts.setdefault(product.name, len(call.blocks))
            if self.scheme.of_layer(*product.shape, rows=1) is self.scheme:
                if self.watch is not None:
                    self.watch(name, product)
                if not rows or not _same_rows(rows[0], product.x):
                    groups.append({})
                # The last alone: all of a vision encoder's take gigabytes.
                rows[:] = [product.x]
                groups[-1][product.name] = product.shape
            return product.exact()

        def keep(block: Callable[..., Any]) -> Callable[..., Any]:
            def kept(*args: Any, **kwargs: Any) -> Any:
                output = block(*args, **kwargs)
                call.blocks.append(output)
                return output

            return kept

        products = WeightProducts(self._modules[name], answer)
        call.outputs = self._run(name, inputs, _wrapped(self._blocks[name], keep), products)
        for group in groups:
            outputs = sum(shape[0] for shape in group.values())
            inputs_each = next(iter(group.values()))[1]
            self.layers[Layer(name, tuple(group), inputs_each, outputs)] = None
        return call

    def _tried(self, name: str, trial: Trial, inputs: Sequence[Any], known: _Call | None) -> Arrays:
        products = WeightProducts(self._modules[name], trial.answer)
        if known is None:
            return self._run(name, inputs, products)
        starts = [known.starts[weight] for weight in trial.weights if weight in known.starts]
        start = min(starts, default=len(known.blocks))
        done = iter(known.blocks[:start])

        def skip(block: Callable[..., Any]) -> Callable[..., Any]:
            def skipped(*args: Any, **kwargs: Any) -> Any:
                for output in done:
                    return output
                return block(*args, **kwargs)

            return skipped

        return self._run(name, inputs, _wrapped(self._blocks[name], skip), products)


def _outermost(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The entries of every list of modules that isn't itself in one."""
    found: list[torch.nn.Module] = []
    for child in module.children():
        found += [*child] if isinstance(child, torch.nn.ModuleList) else _outermost(child)
    return found


@contextmanager
def _wrapped(
    blocks: Sequence[torch.nn.Module], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    """A scope in which the forward of each block is what ``wrap`` makes of it."""
    own = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        block.forward = wrap(block.forward)
    try:
        yield
    finally:
        for block, before in zip(blocks, own, strict=True):
            if before is None:
                del block.forward
            else:
                block.forward = before


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return all(
        x is y or (np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y)
        for x, y in zip(a, b, strict=True)
    )


def _same_rows(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors, both alive, are views of one."""
    return (a.data_ptr(), a.shape, a.stride()) == (b.data_ptr(), b.shape, b.stride())
