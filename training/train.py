"""The training of the detector: its state, and its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transformers.models.sam3.modeling_sam3 import Sam3Model

from training.batches import Batch, Drawing, Plan, drawn
from training.dense import DenseHeads
from training.loop import Watch, learn_stages, read_state, write_state
from training.losses import total
from training.model import IMAGE, MASK_GRID, TOKENS, build_model
from training.optimizers import build_optimizers
from training.stages import Stage, find_place
from training.step import batch_losses
from training.validation import validate, validation_batches

__all__ = ["Run", "train"]

_AVERAGING = 0.995
_VALIDATE_EVERY = 300
_VALIDATION_SCENES = 60


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
        """Write the run to ``path``, whole or not at all."""
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
        write_state(path, state)

    @classmethod
    def load(cls, path: Path, stages: Sequence[Stage]) -> Run:
        """Go on where :meth:`save` left off.

        Raises:
            Sam3Error: no file, or one that holds no run of this model.
        """
        with read_state(path, "this model", "python -m training") as state:
            run = cls(state["tokenizer"], stages, state["seed"])
            run.step, run.seconds = state["step"], state["seconds"]
            for name in ("model", "heads", "average", "optimizers"):
                getattr(run, name).load_state_dict(state[name])
        return run


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

    Args:
        run: begun or loaded.
        folder: where state and log are kept; see :func:`training.loop.learn_stages`.
        watch: hears of progress.
        minutes: stop after so long.

    Returns:
        Whether the last stage is done.
    """
    kept_aside = validation_batches(run.tokenizer, _VALIDATION_SCENES)
    drawing = Drawing(run.tokenizer, IMAGE, MASK_GRID, TOKENS, run.seed)
    return learn_stages(
        run,
        drawn(drawing, _jobs(run)),
        lambda: validate(run.average.module, kept_aside),
        _VALIDATE_EVERY,
        folder,
        watch,
        minutes,
    )
