"""One model through one importer, compared with PyTorch; in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import torch

from tests.zoo.entry import Entry

__all__ = ["Kind", "Outcome", "Trial", "compare", "import_and_compare", "in_child", "try_model"]

Kind = Literal["right", "wrong", "error", "refused", "timeout", "crash", "none"]
"""How a trial ended. ``refused``: torch.export itself can't trace the model. ``none``: the model
has no batch to vary."""


@dataclass(frozen=True)
class Trial:
    """A model, an importer, and whether the batch varies."""

    name: str
    stock: bool
    dynamic: bool


@dataclass(frozen=True)
class Outcome:
    """How one trial ended.

    Attributes:
        kind: see :data:`Kind`.
        detail: what is wrong, one line; empty when right.
        error: the largest error relative to the largest value of that result; None where
            nothing could be compared.
        seconds: how long import, build and comparison took.
    """

    kind: Kind
    detail: str = ""
    error: float | None = None
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        return self.kind == "right"


Run = Callable[..., list[torch.Tensor]]

_FAREWELL = 5.0
"""Seconds that a process has to end by itself, once it has said how its trial ended."""


def _build(module: Any, params: Sequence[Any]) -> Run:
    import tvm
    from tvm import relax

    # What is measured is numbers, not speed: LLVM's lesser effort halves the time.
    target = tvm.target.Target({"kind": "llvm", "opt-level": 1})
    machine = relax.VirtualMachine(tvm.compile(module, target), tvm.cpu())

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        result = machine["main"](
            *(tvm.runtime.from_dlpack(i.contiguous()) for i in inputs), *params
        )
        flat = [result] if hasattr(result, "numpy") else list(result)
        return [torch.from_dlpack(one) for one in flat]

    return run


def _ours(module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any) -> Run:
    from sam3_tvm.importer import import_module

    imported, params = import_module(module, args, dynamic_shapes)
    return _build(imported, list(params.values()))


def _stock(module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any) -> Run:
    """TVM's importer as its documentation has it used."""
    from tvm.relax.frontend.torch import from_exported_program

    with torch.no_grad():
        program = torch.export.export(module, args, dynamic_shapes=dynamic_shapes)
        return _build(from_exported_program(program), ())


def _one_line(error: BaseException) -> str:
    """The line of an error that says most. TVM's own begin with a trace of C++ frames."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    if "no converter for" in text:
        text = "no converter for " + ", ".join(re.findall(r"^\s+(\S+) \(", str(error), re.M))
    name = type(error).__name__
    text = re.sub(r"(?:/[\w.+-]+)+/([\w.+-]+/[\w.+-]+\.\w+)", r"\1", text)
    return re.sub(r"0x[0-9a-f]+", "0x…", f"{name}: {text}" if text else name)


def _refusal(
    module: torch.nn.Module, args: tuple[Any, ...], dynamic_shapes: Any
) -> BaseException | None:
    """What torch.export raises for the model, None if it can trace it."""
    try:
        with torch.no_grad():
            torch.export.export(module, args, dynamic_shapes=dynamic_shapes, strict=False)
    except Exception as error:  # whatever a model's own code raises while it is traced
        return error
    return None


def compare(got: Sequence[torch.Tensor], want: Sequence[torch.Tensor], tolerance: float) -> Outcome:
    """Number, shape, dtype, values, in this order; NaN equals NaN, an infinity itself."""
    if len(got) != len(want):
        return Outcome("wrong", f"{len(got)} results, PyTorch has {len(want)}")
    worst = 0.0
    for position, (ours, reference) in enumerate(zip(got, want, strict=True)):
        if reference.is_complex():
            reference = torch.view_as_real(reference)
        for what, a, b in (
            ("shape", tuple(ours.shape), tuple(reference.shape)),
            ("dtype", ours.dtype, reference.dtype),
        ):
            if a != b:
                return Outcome("wrong", f"result {position}: {what} {a}, PyTorch has {b}")
        if not reference.numel():
            continue
        a, b = ours.to(torch.float64), reference.to(torch.float64)
        error = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs())
        error = error.nan_to_num(nan=torch.inf, posinf=torch.inf)
        finite = b[b.isfinite()].abs()
        scale = float(finite.max()) if finite.numel() else 0.0
        worst = max(worst, float(error.max()) / (scale or 1.0))
    if worst > tolerance:
        return Outcome("wrong", f"off by {worst:.2g} of the largest value", worst)
    return Outcome("right", "", worst)


def import_and_compare(entry: Entry, stock: bool, dynamic: bool) -> Outcome:
    """Import on one input, compare on others; for a varying batch, on several sizes."""
    if dynamic and not entry.dynamic:
        return Outcome("none", "no batch axis")
    began = time.monotonic()
    module = entry.module()
    example = entry.example(entry.batch, seed=0)
    shapes = entry.dynamic_shapes() if dynamic else None
    try:
        run = (_stock if stock else _ours)(module, example, shapes)
    except Exception as error:  # it is the zoo's task to say how any import ends
        refusal = _refusal(module, example, shapes)
        if refusal is not None:
            return Outcome("refused", f"torch.export refuses: {_one_line(refusal)}")
        return Outcome("error", _one_line(error))
    worst = 0.0
    for number, batch in enumerate(entry.batches if dynamic else (entry.batch,)):
        inputs = entry.example(batch, seed=1 + number)
        with torch.no_grad():
            want = module(*inputs)
        try:
            outcome = compare(run(*inputs), want, entry.tolerance)
        except Exception as error:  # as above
            outcome = Outcome("error", _one_line(error))
        if not outcome.right:
            place = f"batch {batch}: " if dynamic else ""
            return Outcome(outcome.kind, place + outcome.detail, outcome.error)
        worst = max(worst, outcome.error or 0.0)
    return Outcome("right", "", worst, time.monotonic() - began)


def try_model(trial: Trial) -> Outcome:
    """What a child process does with a trial."""
    from tests.zoo.families import find

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    (entry,) = (e for e in find("*") if e.name == trial.name)
    return import_and_compare(entry, trial.stock, trial.dynamic)


def _child(connection: Connection, work: Callable[[Trial], Outcome], trial: Trial) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)  # what a model prints is not for the table
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        outcome = work(trial)
    except Exception as error:  # a model that can't be built or run is an entry to be mended
        outcome = Outcome("error", f"the entry is wrong: {_one_line(error)}")
    connection.send(asdict(outcome))
    connection.close()


def in_child(trial: Trial, limit: float, work: Callable[[Trial], Outcome] = try_model) -> Outcome:
    """Run a trial in a process of its own, so that a crash or a hang ends nothing else.

    Args:
        trial: what to run.
        limit: seconds after which it is ended.
        work: what the process does with it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.zoo.preload"])
    ours, theirs = context.Pipe(duplex=False)
    began = time.monotonic()
    process = context.Process(target=_child, args=(theirs, work, trial), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            return Outcome("timeout", f"not done after {limit:.0f} s", None, limit)
        outcome = Outcome(**ours.recv())
        process.join(_FAREWELL)
        return outcome
    except EOFError:
        process.join()
        code = process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Outcome("crash", f"the process ended with {how}", None, time.monotonic() - began)
    finally:
        process.kill()
        process.join()
        ours.close()
