"""The training of the tracker: its state, its log, and how it is stopped and resumed."""

from __future__ import annotations

import copy
import json
import pickle
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers.models.sam3.modeling_sam3 import Sam3Model
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)

from sam3_tvm.errors import Sam3Error
from training.batches import drawn
from training.model import IMAGE, MASK_GRID
from training.optimizers import Optimizers
from training.tracking.batches import ClipBatch, ClipDrawing, ClipPlan
from training.tracking.forward import Passage
from training.tracking.losses import WEIGHTS, batch_losses
from training.tracking.model import LENT, build_tracker, own_parameters
from training.tracking.stages import ClipStage, find_place
from training.tracking.validation import validate, validation_batches
from training.train import Watch, stop_on_signals

__all__ = ["TrackerRun", "load_detector", "train_tracker"]

_AVERAGING = 0.99
_PARTS = 2  # of a step, each on a core of its own
_LOG_EVERY = 25
_VALIDATE_EVERY = 200
_VALIDATION_CLIPS = 24
_SAVE_SECONDS = 180

# What Muon is for: matrices between hidden layers.
_LAYERS = ("memory_attention.layers.", "mask_decoder.transformer.", "memory_encoder.memory_fuser.")
# What learns slowly. At the rate of the rest it learns within some fifty steps where anything is,
# which is then drawn whatever was shown.
_NECK = ("vision_encoder.neck.", "mask_decoder.conv_s")


def load_detector(folder: Path) -> Sam3Model:
    """The detector of a checkpoint folder, in float32.

    Raises:
        Sam3Error: there is none.
    """
    from sam3_tvm.sources.huggingface.source import TransformersSource

    try:
        detector: Sam3Model = TransformersSource.open(str(folder), tracked=False).model
    except (OSError, SafetensorError) as error:
        raise Sam3Error(f"{folder}: no detector can be read: {error}") from error
    return detector


def _optimizers(tracker: Sam3TrackerVideoModel) -> Optimizers:
    groups: dict[str, list[torch.nn.Parameter]] = {
        n: [] for n in ("matrices", "decayed", "plain", "slow")
    }
    for name, parameter in own_parameters(tracker):
        if name.startswith(_NECK):
            groups["slow"].append(parameter)
        elif parameter.dim() < 2 or "token" in name or "embed" in name or "." not in name:
            groups["plain"].append(parameter)
        elif parameter.dim() == 2 and name.startswith(_LAYERS):
            groups["matrices"].append(parameter)
        else:
            groups["decayed"].append(parameter)
    return Optimizers(**groups)


class TrackerRun:
    """Everything that a run changes, and how it is kept in a file.

    A step's batches are passed each in a thread of its own, by torch on one core: on so small a
    model two cores get in each other's way within an operator.

    Args:
        detector: whose backbone the tracker shares; it is frozen.
        stages: what to learn when.
        seed: of weights and clips.
    """

    def __init__(self, detector: Sam3Model, stages: Sequence[ClipStage], seed: int = 0) -> None:
        self.stages = tuple(stages)
        self.seed = seed
        self.step = 0
        self.seconds = 0.0
        self.tracker = build_tracker(detector, seed)
        self.average = AveragedModel(self.tracker, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGING))
        self.optimizers = _optimizers(self.tracker)
        # Modules of their own, as those of transformers keep what they are doing; one set of
        # weights.
        shared = {id(t): t for t in self.tracker.state_dict(keep_vars=True).values()}
        self._copies = [copy.deepcopy(self.tracker, dict(shared)) for _ in range(_PARTS)]

    def passage(self, averaged: bool = True) -> Passage:
        """What passes clips through the tracker, with its averaged weights or the latest."""
        return Passage(self.average.module if averaged else self.tracker)

    def learn(self, batches: Sequence[ClipBatch]) -> dict[str, float]:
        """Take one step.

        Args:
            batches: that count alike, no more than two.

        Returns:
            Every loss, unweighted, the weighted "loss" and the "gradient"'s norm.
        """
        place = find_place(self.stages, self.step)
        if place is None:
            raise ValueError(f"the run has no step {self.step}")
        stage, done = place
        rate = stage.rate_at(done)
        self.optimizers.set_rate(rate, stage.neck * rate)
        parameters = self.optimizers.parameters

        def gradients(
            job: tuple[Sam3TrackerVideoModel, ClipBatch],
        ) -> tuple[dict[str, float], tuple[Tensor | None, ...]]:
            losses = batch_losses(Passage(job[0]), job[1])
            loss = torch.stack([WEIGHTS[name] * one for name, one in losses.items()]).sum()
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            losses["loss"] = loss
            return {name: float(one.detach()) for name, one in losses.items()}, found

        with ThreadPoolExecutor(len(batches)) as pool:
            parts = list(pool.map(gradients, zip(self._copies, batches, strict=False)))
        for parameter, *found in zip(parameters, *(part[1] for part in parts), strict=True):
            known = [one for one in found if one is not None]
            if known:
                parameter.grad = torch.stack(known).sum(0) / len(batches)
        norm = self.optimizers.step()
        self.average.update_parameters(self.tracker)
        self.step += 1
        means = {name: sum(part[0][name] for part in parts) / len(parts) for name in parts[0][0]}
        return {**means, "gradient": norm}

    def _own(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: t for name, t in state.items() if not name.startswith(LENT)}

    def save(self, path: Path) -> None:
        """Write the run to ``path``, under another name first; the detector stays where it is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        state = {
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            "tracker": self._own(self.tracker.state_dict()),
            "average": self._own(self.average.module.state_dict()),
            "averaged": self.average.n_averaged,
            "optimizers": self.optimizers.state_dict(),
        }
        try:
            torch.save(state, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path, detector: Sam3Model, stages: Sequence[ClipStage]) -> TrackerRun:
        """Go on where :meth:`save` left off.

        Raises:
            Sam3Error: no file, or one that holds no run of this tracker.
        """
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            run = cls(detector, stages, state["seed"])
            run.step, run.seconds = state["step"], state["seconds"]
            for model, name in ((run.tracker, "tracker"), (run.average.module, "average")):
                own = run._own(model.state_dict())
                if own.keys() != state[name].keys():
                    raise KeyError("its tensors are of other names")
                model.load_state_dict(state[name], strict=False)
            run.average.n_averaged.copy_(state["averaged"])
            run.optimizers.load_state_dict(state["optimizers"])
        except FileNotFoundError:
            raise Sam3Error(
                f"{path}: no such run; python -m training tracker, without --resume, begins one"
            ) from None
        except (RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise Sam3Error(f"{path} holds no run of this tracker: {reason}") from error
        return run


def _jobs(run: TrackerRun) -> Iterator[tuple[int, ClipPlan]]:
    step = run.step
    while (place := find_place(run.stages, step)) is not None:
        for part in range(_PARTS):
            yield _PARTS * step + part, place[0].plan
        step += 1


def train_tracker(
    run: TrackerRun, folder: Path, watch: Watch, minutes: float | None = None
) -> bool:
    """Train until the last stage is done, the time is up or a signal comes.

    State and log are kept as by :func:`training.train.train`.

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
    kept_aside = validation_batches(_VALIDATION_CLIPS)
    steps = sum(stage.steps for stage in run.stages)
    began = saved = last = time.monotonic()
    sums: dict[str, list[float]] = defaultdict(list)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with (
        stop_on_signals() as stopped,
        drawn(ClipDrawing(IMAGE, MASK_GRID, run.seed), _jobs(run)) as source,
        (folder / "log.jsonl").open("a", encoding="utf-8") as log,
    ):

        def note(record: dict[str, Any]) -> None:
            log.write(json.dumps(record) + "\n")
            log.flush()

        for batches in zip(*[iter(source)] * _PARTS, strict=False):
            place = find_place(run.stages, run.step)
            assert place is not None
            for name, value in run.learn(batches).items():
                sums[name].append(value)
            now = time.monotonic()
            run.seconds += now - last
            sums["seconds"].append(now - last)
            last = now
            if run.step % _LOG_EVERY == 0:
                means = {name: round(sum(v) / len(v), 5) for name, v in sums.items()}
                sums.clear()
                note({"step": run.step, "stage": place[0].name, **means})
                watch(place[0].name, run.step, steps, means)
            tracked = place[0].plan.frames > 1
            if tracked and (run.step % _VALIDATE_EVERY == 0 or run.step == steps):
                figures = validate(run.passage(), kept_aside)
                note({"step": run.step, "validation": figures})
                watch("validation", run.step, steps, figures)
                last = time.monotonic()
            due = minutes is not None and now - began >= 60 * minutes
            if stopped() or due:
                break
            if now - saved >= _SAVE_SECONDS:
                run.save(path)
                saved = now
    torch.set_num_threads(threads)
    run.save(path)
    return run.step >= steps
