"""The training loop: its log, and how a run is stopped, kept and resumed."""

from __future__ import annotations

import json
import pickle
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch

from sam3_tvm.errors import Sam3Error
from sam3_tvm.files import write_whole
from training.stages import Schedule, find_place

__all__ = ["Learner", "Watch", "learn_stages", "read_state", "write_state"]

_LOG_EVERY = 25
_SAVE_SECONDS = 180

Watch = Callable[[str, int, int, dict[str, float]], None]
"""``watch(stage, done, total, figures)`` after each logged step."""

BatchT = TypeVar("BatchT")
BatchT_contra = TypeVar("BatchT_contra", contravariant=True)


class Learner(Protocol[BatchT_contra]):
    """A run, of which :func:`learn_stages` takes the steps.

    Attributes:
        step: steps that were taken.
        seconds: what they took.
    """

    step: int
    seconds: float

    @property
    def stages(self) -> Sequence[Schedule[Any]]:
        """What to learn when."""

    def learn(self, batch: BatchT_contra, /) -> dict[str, float]:
        """Take one step; returns the losses."""

    def save(self, path: Path, /) -> None:
        """Keep the run in a file."""


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write what :func:`read_state` reads, whole or not at all.

    Raises:
        UsageError: the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda place: torch.save(dict(state), place))


@contextmanager
def read_state(path: Path, what: str, command: str) -> Iterator[dict[str, Any]]:
    """What :func:`write_state` wrote. In the block a run is made of it, which may fail.

    Args:
        path: the file.
        what: it is to be a run of.
        command: begins a run where there is none.

    Raises:
        Sam3Error: no file, or one of which no run is made.
    """
    try:
        yield torch.load(path, weights_only=True)
    except FileNotFoundError:
        raise Sam3Error(f"{path}: no such run; {command}, without --resume, begins one") from None
    except OSError as error:
        raise Sam3Error(f"{path}: can't be read ({error.strerror or error})") from error
    except (
        RuntimeError,
        LookupError,
        TypeError,
        ValueError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Sam3Error(f"{path} holds no run of {what}: {reason}") from error


@contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came; a second SIGINT interrupts as usual."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def learn_stages(
    run: Learner[BatchT],
    batches: AbstractContextManager[Iterable[BatchT]],
    validate: Callable[[], dict[str, float]],
    validate_every: int,
    folder: Path,
    watch: Watch,
    minutes: float | None = None,
) -> bool:
    """Learn until the last stage is done, the time is up or a signal comes.

    The run is saved to ``folder / "run.pt"`` every few minutes and at the end, and what it
    did is appended to ``folder / "log.jsonl"``, one JSON document a line.

    Args:
        run: begun or loaded.
        batches: of the steps that are left, in their order.
        validate: gives the figures of validation.
        validate_every: steps from one to the next.
        folder: where state and log are kept.
        watch: hears of progress.
        minutes: stop after so long.

    Returns:
        Whether the last stage is done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.pt"
    steps = sum(stage.steps for stage in run.stages)
    began = saved = last = time.monotonic()
    sums: dict[str, list[float]] = defaultdict(list)
    with (
        _stop_on_signals() as stopped,
        batches as source,
        (folder / "log.jsonl").open("a", encoding="utf-8") as log,
    ):

        def note(record: dict[str, Any]) -> None:
            log.write(json.dumps(record) + "\n")
            log.flush()

        for batch in source:
            place = find_place(run.stages, run.step)
            assert place is not None
            stage = place.stage
            for name, value in run.learn(batch).items():
                sums[name].append(value)
            now = time.monotonic()
            run.seconds += now - last
            sums["seconds"].append(now - last)
            last = now
            if run.step % _LOG_EVERY == 0:
                means = {name: round(sum(v) / len(v), 5) for name, v in sums.items()}
                sums.clear()
                note({"step": run.step, "stage": stage.name, **means})
                watch(stage.name, run.step, steps, means)
            if stage.validated and (run.step % validate_every == 0 or run.step == steps):
                figures = validate()
                note({"step": run.step, "validation": figures})
                watch("validation", run.step, steps, figures)
                last = time.monotonic()
            due = minutes is not None and now - began >= 60 * minutes
            if stopped() or due:
                break
            if now - saved >= _SAVE_SECONDS:
                run.save(path)
                saved = now
    run.save(path)
    return run.step >= steps
