"""The training of the tracker: its state, and its steps."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

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
from training.loop import Watch, learn_stages, read_state, write_state
from training.model import IMAGE, MASK_GRID
from training.optimizers import Optimizers
from training.stages import find_place
from training.tracking.batches import ClipBatch, ClipDrawing, ClipPlan
from training.tracking.forward import Passage
from training.tracking.losses import WEIGHTS, batch_losses
from training.tracking.model import LENT, build_tracker, own_parameters
from training.tracking.stages import ClipStage
from training.tracking.validation import validate, validation_batches

__all__ = ["TrackerRun", "load_detector", "train_tracker"]

_AVERAGING = 0.99
_PARTS = 2  # of a step, each on a core of its own
_MOST_PARTS = 3
_BESIDE = 1 << 24  # the numbers of the batches beside them begin here
_VALIDATE_EVERY = 200
_VALIDATION_CLIPS = 24

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

    Attributes:
        first: the step that it began at; the weights until there are another run's.
    """

    def __init__(self, detector: Sam3Model, stages: Sequence[ClipStage], seed: int = 0) -> None:
        self.stages = tuple(stages)
        self.seed = seed
        self.step = self.first = 0
        self.seconds = 0.0
        self.tracker = build_tracker(detector, seed)
        self.average = AveragedModel(self.tracker, multi_avg_fn=get_ema_multi_avg_fn(_AVERAGING))
        self.optimizers = _optimizers(self.tracker)
        # Modules of their own, as those of transformers keep what they are doing; one set of
        # weights.
        shared = {id(t): t for t in self.tracker.state_dict(keep_vars=True).values()}
        self._copies = [copy.deepcopy(self.tracker, dict(shared)) for _ in range(_MOST_PARTS)]

    def begin_at(self, stage: str, weights: Mapping[str, Tensor]) -> None:
        """Begin with a stage that isn't the first.

        Args:
            stage: its name.
            weights: the tracker's, all but its backbone's, by their names in it.

        Raises:
            Sam3Error: no such stage, or weights of another tracker.
        """
        names = [one.name for one in self.stages]
        if stage not in names:
            raise Sam3Error(f"no stage is called {stage!r}; there are {', '.join(names)}")
        for model in (self.tracker, self.average.module):
            own = self._own(model.state_dict())
            if {n: t.shape for n, t in own.items()} != {n: t.shape for n, t in weights.items()}:
                raise Sam3Error("the weights to begin with are another tracker's")
            model.load_state_dict(dict(weights), strict=False)
        self.step = self.first = sum(one.steps for one in self.stages[: names.index(stage)])

    def passage(self, averaged: bool = True) -> Passage:
        """What passes clips through the tracker, with its averaged weights or the latest."""
        return Passage(self.average.module if averaged else self.tracker)

    def learn(self, batches: Sequence[ClipBatch]) -> dict[str, float]:
        """Take one step.

        Args:
            batches: that count alike, no more than three.

        Returns:
            Every loss, unweighted, the weighted "loss" and the "gradient"'s norm.
        """
        place = find_place(self.stages, self.step)
        if place is None:
            raise ValueError(f"the run has no step {self.step}")
        rate = place.stage.rate_at(place.done)
        self.optimizers.set_rate(rate, place.stage.neck * rate)
        parameters = self.optimizers.parameters

        def gradients(
            job: tuple[Sam3TrackerVideoModel, ClipBatch],
        ) -> tuple[dict[str, float], tuple[Tensor | None, ...]]:
            losses = batch_losses(Passage(job[0]), job[1])
            loss = torch.stack([WEIGHTS[name] * one for name, one in losses.items()]).sum()
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            losses["loss"] = loss
            return {name: float(one.detach()) for name, one in losses.items()}, found

        with ThreadPoolExecutor(_PARTS) as pool:
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
        """Write the run to ``path``, whole or not at all; the detector stays where it is."""
        state = {
            "seed": self.seed,
            "first": self.first,
            "step": self.step,
            "seconds": self.seconds,
            "tracker": self._own(self.tracker.state_dict()),
            "average": self._own(self.average.module.state_dict()),
            "averaged": self.average.n_averaged,
            "optimizers": self.optimizers.state_dict(),
        }
        write_state(path, state)

    @classmethod
    def load(cls, path: Path, detector: Sam3Model, stages: Sequence[ClipStage]) -> TrackerRun:
        """Go on where :meth:`save` left off.

        Raises:
            Sam3Error: no file, or one that holds no run of this tracker.
        """
        with read_state(path, "this tracker", "python -m training tracker") as state:
            run = cls(detector, stages, state["seed"])
            run.first, run.step, run.seconds = state["first"], state["step"], state["seconds"]
            for model, name in ((run.tracker, "tracker"), (run.average.module, "average")):
                own = run._own(model.state_dict())
                if own.keys() != state[name].keys():
                    raise KeyError("its tensors are of other names")
                model.load_state_dict(state[name], strict=False)
            run.average.n_averaged.copy_(state["averaged"])
            run.optimizers.load_state_dict(state["optimizers"])
        return run


@contextmanager
def _drawn(run: TrackerRun) -> Iterator[Iterator[tuple[ClipBatch, ...]]]:
    """The batches of the steps that are left, step by step."""

    def jobs() -> Iterator[tuple[int, ClipPlan]]:
        for step, stage in steps():
            for part in range(_PARTS):
                yield _PARTS * step + part, stage.plan
            if stage.beside is not None:
                yield _BESIDE + step, stage.beside

    def steps() -> Iterator[tuple[int, ClipStage]]:
        step = run.step
        while (place := find_place(run.stages, step)) is not None:
            yield step, place.stage
            step += 1

    with drawn(ClipDrawing(IMAGE, MASK_GRID, run.seed), jobs()) as source:
        yield (tuple(islice(source, _PARTS + (stage.beside is not None))) for _, stage in steps())


def train_tracker(
    run: TrackerRun, folder: Path, watch: Watch, minutes: float | None = None
) -> bool:
    """Train until the last stage is done, the time is up or a signal comes.

    Args:
        run: begun or loaded.
        folder: where state and log are kept; see :func:`training.loop.learn_stages`.
        watch: hears of progress.
        minutes: stop after so long.

    Returns:
        Whether the last stage is done.
    """
    kept_aside = validation_batches(_VALIDATION_CLIPS)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return learn_stages(
            run,
            _drawn(run),
            lambda: validate(run.passage(), kept_aside),
            _VALIDATE_EVERY,
            folder,
            watch,
            minutes,
        )
    finally:
        torch.set_num_threads(threads)
