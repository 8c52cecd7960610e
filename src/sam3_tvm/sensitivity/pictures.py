"""What a model finds, end to end: the runtime over functions in PyTorch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.abi import abi
from sam3_tvm.manifest import Licence, Manifest, Target, TokenizerRules
from sam3_tvm.manifest import Source as ManifestSource
from sam3_tvm.runtime.concepts.tokenizer import Tokenizer
from sam3_tvm.runtime.execution.functions import FunctionTable, Invoke
from sam3_tvm.runtime.model import Model
from sam3_tvm.sources.base import PromptSpec, Source

__all__ = ["Answer", "Asked", "Difference", "asking", "difference"]

_FRAMES = 3


@dataclass(frozen=True)
class Answer:
    """What one prompt finds in a picture, or a film's frame of followed objects.

    Attributes:
        scores: float32 [Q], of every query or object.
        masks: bool [K, H, W], of those that were asked for.
    """

    scores: NDArray[np.float32]
    masks: NDArray[np.bool_]


@dataclass
class Difference:
    """How far answers are from those of the reference.

    Attributes:
        score: the largest difference of a score, of whatever query.
        ious: intersection over union of masks, of each object that the reference finds.
    """

    score: float
    ious: list[float]


class Asked:
    """What is asked of a model, and asked again.

    Args:
        source: the checkpoint.
        invoke: its functions.
        tokenizer: of its phrases.
    """

    def __init__(self, source: Source, invoke: Invoke, tokenizer: Tokenizer) -> None:
        self._source = source
        self._invoke = invoke
        self._tokenizer = tokenizer

    def _model(self) -> Model:
        # A new one each time: a model remembers the features of phrases.
        manifest = _manifest(self._source)
        table = FunctionTable(manifest.components, self._invoke)
        return Model(table, self._tokenizer, manifest, "in PyTorch")

    def segment(
        self,
        rgb: NDArray[np.uint8],
        prompts: Sequence[PromptSpec],
        kept: Sequence[NDArray[np.int64]] | None = None,
    ) -> tuple[list[Answer], list[NDArray[np.int64]]]:
        """Scores of all queries of each prompt, and masks of those that are ``kept``: by default
        those with a score above 0.5, or else the best one.

        Returns:
            The answers, and which queries have masks, in rising order.
        """
        model = self._model()
        image = model.encode_image(rgb)
        answers, chosen = [], []
        for number, prompt in enumerate(prompts):
            found = model.segment(
                image,
                **prompt.arguments,
                threshold=0.0,
            )
            scores = np.zeros(self._source.sizes.queries, np.float32)
            scores[found.queries] = found.scores
            which = np.flatnonzero(scores > 0.5) if kept is None else kept[number]
            if len(which) == 0:
                which = np.array([int(scores.argmax())])
            some = found[np.isin(found.queries, which)]
            masks = np.zeros((len(which), *rgb.shape[:2]), np.bool_)
            # A query whose score has become 0 isn't among what was found.
            masks[np.searchsorted(which, some.queries)] = some.masks
            answers.append(Answer(scores, masks))
            chosen.append(which)
        return answers, chosen

    def follow(self, rgb: NDArray[np.uint8]) -> list[Answer]:
        """An object in the middle of a picture, followed through a pan over it."""
        height, width = rgb.shape[:2]
        tall, wide = max(5 * height // 6, 1), max(5 * width // 6, 1)
        corners = [
            (round(part * (height - tall)), round(part * (width - wide)))
            for part in np.linspace(0, 1, _FRAMES)
        ]
        film = [rgb[y : y + tall, x : x + wide] for y, x in corners]
        with self._model().track(film) as session:
            session.add(1, frame=0, box=[0.25 * wide, 0.25 * tall, 0.75 * wide, 0.75 * tall])
            return [Answer(frame.scores, frame.masks) for frame in session.propagate()]


@contextmanager
def asking(source: Source, invoke: Invoke) -> Iterator[Asked]:
    """A scope with an :class:`Asked`; its tokenizer is in a temporary file meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_text(source.tokenizer_json(), encoding="utf-8")
        length = source.sizes.text_tokens
        yield Asked(source, invoke, Tokenizer(file, length, source.pad_id, source.mask_by_id))


def difference(got: Sequence[Answer], wanted: Sequence[Answer]) -> Difference:
    """Answers beside those of the reference to the same prompts."""
    score, ious = 0.0, []
    for ours, theirs in zip(got, wanted, strict=True):
        score = max(score, float(np.abs(ours.scores - theirs.scores).max(initial=0.0)))
        for mask, reference in zip(ours.masks, theirs.masks, strict=True):
            union = int(np.count_nonzero(mask | reference))
            both = int(np.count_nonzero(mask & reference))
            ious.append(both / union if union else 1.0)
    return Difference(score, ious)


def _manifest(source: Source) -> Manifest:
    """What the runtime has to know of a source's functions, were they an artifact's."""
    components = abi(source.sizes)
    return Manifest(
        sam3_tvm="",
        source=ManifestSource(source.kind, source.checkpoint, source.reference),
        target=Target("torch", "PyTorch", "", "", ()),
        versions={},
        sizes=source.sizes,
        components=components,
        arithmetic=dict.fromkeys(components, "float32"),
        stages={},
        preprocessing=source.preprocessing,
        tokenizer=TokenizerRules("tokenizer.json", source.pad_id, source.mask_by_id),
        licence=Licence(None, None),
        runtime_libraries=(),
        files={},
        clicks=source.clicks,
        video=source.video,
        video_concepts=source.video_concepts,
    )
