"""The training loop: its state, its log, and how it is stopped and resumed."""

from __future__ import annotations

import json
import pickle
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.errors import Sam3Error
from training.batches import Batch, Drawing, Plan, drawn
from training.dense import DenseHeads
from training.losses import total
from training.model import IMAGE, MASK_GRID, TOKENS, build_model
from training.optimizers import build_optimizers
from training.stages import Stage, find_place
from training.step import batch_losses
from training.validation import validate, validation_batches

__all__ = ["Run", "Watch", "stop_on_signals", "train"]

_AVERAGING = 0.995
_LOG_EVERY = 25
_VALIDATE_EVERY = 300
_VALIDATION_SCENES = 60
_SAVE_SECONDS = 180

Watch = Callable[[str, int, int, dict[str, float]], None]
"""``watch(stage, done, total, figures)`` after each logged step."""


class Run:
    """Everything that a run changes, and how it is kept in a file.

    Args:
        tokenizer: the tokenizer as JSON text.
        stages: what to learn when.
        seed: of weights and scenes.
    """

    def __init__(self, tokenizer: str, stages: Sequence[Stage], seed: int = 0) -> None:
        self.tokenizer = tokenizer
        vocabulary = Tokenizer.from_str(tokenizer).get_vocab_size()
        self.stages = tuple(stages)
        self.seed = seed
        self.step = 0
        self.seconds = 0.0
        self.model: Sam3Model = build_model(vocabulary, seed)
        # On CPUs, softmax and two products of matrices in bfloat16 take less time, backward
        # above all, than torch's fused attention.
        self.model.set_attn_implementation("eager")
        self.heads = DenseHeads(self.model.config.detr_encoder_config.hidden_size)
        self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGING))
        self.optimizers = build_optimizers(self.model, self.heads)

    def learn(self, batch: Batch) -> dict[str, float]:
        """Take one step.

        Returns:
            Every loss, unweighted, the weighted "loss" and the "gradient"'s norm.
        """
        place = find_place(self.stages, self.step)
        if place is None:
            raise ValueError(f"the run has no step {self.step}")
        stage = place.stage
        self.optimizers.set_rate(stage.rate_at(place.done))
        losses = batch_losses(self.model, self.heads, batch, stage.fine_pictures)
        loss = total(losses, stage.weights)
        loss.backward()
        norm = self.optimizers.step()
        self.average.update_parameters(self.model)
        self.step += 1
        values = {name: float(value.detach()) for name, value in losses.items()}
        return {**values, "loss": float(loss.detach()), "gradient": norm}

    def save(self, path: Path) -> None:
        """Write the run to ``path``, under another name first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        state = {
            "tokenizer": self.tokenizer,
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "heads": self.heads.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": self.optimizers.state_dict(),
        }
        try:
            torch.save(state, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, stages: Sequence[Stage]) -> Run:
        """Go on where :meth:`save` left off.

        Raises:
            Sam3Error: no file, or one that holds no run of this model.
        """
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            run = cls(state["tokenizer"], stages, state["seed"])
            run.step, run.seconds = state["step"], state["seconds"]
            for name in ("model", "heads", "average", "optimizers"):
                getattr(run, name).load_state_dict(state[name])
        except FileNotFoundError:
            raise Sam3Error(
                f"{path}: no such run; python -m training, without --resume, begins one"
            ) from None
        except (RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise Sam3Error(f"{path} holds no run of this model: {reason}") from error
        return run


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
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


def _jobs(run: Run) -> Iterator[tuple[int, Plan]]:
    step = run.step
    while (place := find_place(run.stages, step)) is not None:
        yield step, place.stage.plan
        step += 1


def train(
    run: Run,
    folder: Path,
    watch: Watch,
    minutes: float | None = None,
) -> bool:
    """Train until the last stage is done, the time is up or a signal comes.

    The run is saved to ``folder / "run.pt"`` every few minutes and at the end, and what it
    did is appended to ``folder / "log.jsonl"``, one JSON document a line.

    Args:
        run: begun or loaded.
        folder: where state and log are kept.
        watch: hears of progress.
        minutes: stop after so long.

    Returns:
        Whether the last stage is done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "run.pt"
    batches = validation_batches(run.tokenizer, _VALIDATION_SCENES)
    drawing = Drawing(run.tokenizer, IMAGE, MASK_GRID, TOKENS, run.seed)
    steps = sum(stage.steps for stage in run.stages)
    began = saved = last = time.monotonic()
    sums: dict[str, list[float]] = defaultdict(list)
    with (
        stop_on_signals() as stopped,
        drawn(drawing, _jobs(run)) as source,
        (folder / "log.jsonl").open("a", encoding="utf-8") as log,
    ):

        def note(record: dict[str, Any]) -> None:
            log.write(json.dumps(record) + "\n")
            log.flush()

        for batch in source:
            place = find_place(run.stages, run.step)
            assert place is not None
            for name, value in run.learn(batch).items():
                sums[name].append(value)
            now = time.monotonic()
            run.seconds += now - last
            sums["seconds"].append(now - last)
            last = now
            prompted = place.stage.plan.prompts > 0
            if run.step % _LOG_EVERY == 0:
                means = {name: round(sum(v) / len(v), 5) for name, v in sums.items()}
                sums.clear()
                note({"step": run.step, "stage": place.stage.name, **means})
                watch(place.stage.name, run.step, steps, means)
            if prompted and (run.step % _VALIDATE_EVERY == 0 or run.step == steps):
                figures = validate(run.average.module, batches)
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
