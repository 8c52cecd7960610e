"""Batches of scenes and prompts, drawn in a process of their own.

A batch depends on the seed, its number and the plan alone, so that a run that was resumed
sees what it would have seen. Nothing here needs torch.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer

from training.colours import COLOURS
from training.samples import KINDS, Prompt, draw_prompts
from training.scenes import SIZES, Scene, Thing, draw_scene
from training.shapes import SHAPES

__all__ = ["Batch", "Drawing", "Plan", "Source", "collate", "drawn", "mirror"]

PlanT = TypeVar("PlanT")
BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)
PlanT_contra = TypeVar("PlanT_contra", contravariant=True)

_LARGEST = 1.5  # scenes are drawn at up to this many times the model's size, then reduced
_WINDOW = 2500  # scenes that are shown again
_MAX_BOXES = 2


@dataclass(frozen=True)
class Plan:
    """What a batch consists of.

    Attributes:
        pictures: pictures in a batch.
        fresh: how many of them were never shown before; the others were, with other prompts
            and perhaps mirrored.
        prompts: prompts for each picture; may be 0.
        mix: how often each kind of prompt comes, see ``draw_prompts``.
    """

    pictures: int
    fresh: int
    prompts: int
    mix: Mapping[str, float]


@dataclass(frozen=True)
class Batch:
    """B pictures with N things and P prompts among them. G is the side of the mask grid.

    Attributes:
        pixels: 8-bit RGB [B, 3, H, W].
        thing_picture: the picture of each thing; int64 [N].
        thing_masks: what part of each cell a thing covers, 255 for all; uint8 [N, G, G].
        thing_boxes: cx, cy, w, h of the picture's side; float32 [N, 4].
        thing_attributes: indices of colour, shape and size, and 1 if filled; int64 [N, 4].
        prompt_picture: the picture of each prompt; int64 [P].
        prompt_kind: index into ``KINDS``; int64 [P].
        input_ids: int64 [P, T].
        attention_mask: bool [P, T].
        boxes: prompt boxes, cx, cy, w, h of the picture's side; float32 [P, 2, 4].
        box_labels: 1 positive, 0 negative, -10 none; int64 [P, 2].
        targets: indices into the things, ascending, then -1; int64 [P, M].
    """

    pixels: NDArray[np.uint8]
    thing_picture: NDArray[np.int64]
    thing_masks: NDArray[np.uint8]
    thing_boxes: NDArray[np.float32]
    thing_attributes: NDArray[np.int64]
    prompt_picture: NDArray[np.int64]
    prompt_kind: NDArray[np.int64]
    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    box_labels: NDArray[np.int64]
    targets: NDArray[np.int64]


def _cxcywh(boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Corners in pixels to centre and size, in parts of the picture's; float32 [N, 4]."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4) / np.float32(
        [width, height, width, height]
    )
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def mirror(scene: Scene) -> Scene:
    """The scene with left and right swapped."""
    width = scene.image.shape[1]

    def turned(thing: Thing) -> Thing:
        x0, y0, x1, y1 = thing.box
        return replace(thing, mask=thing.mask[:, ::-1], box=(width - x1, y0, width - x0, y1))

    return Scene(scene.image[:, ::-1], tuple(map(turned, scene.things)))


def _mask(thing: Thing, grid: int) -> NDArray[np.uint8]:
    mask = Image.fromarray(thing.mask.astype(np.uint8) * 255)
    return np.asarray(mask.resize((grid, grid), Image.Resampling.BOX))


def collate(
    scenes: Sequence[Scene],
    prompts: Sequence[Sequence[Prompt]],
    tokenizer: Tokenizer,
    image: int,
    grid: int,
    tokens: int,
) -> Batch:
    """Put scenes and their prompts into arrays.

    Args:
        scenes: of any sizes.
        prompts: those of each scene.
        tokenizer: ends text with its last id, which also pads.
        image: side of the model's picture in pixels.
        grid: side of the model's masks in cells.
        tokens: tokens of a phrase; longer ones are cut off.
    """
    pixels, masks, boxes, attributes, pictures = [], [], [], [], []
    first: list[int] = []  # a scene's first thing among all
    for i, scene in enumerate(scenes):
        height, width = scene.image.shape[:2]
        picture = Image.fromarray(scene.image)
        if (width, height) != (image, image):
            picture = picture.resize((image, image), Image.Resampling.BILINEAR)
        pixels.append(np.asarray(picture).transpose(2, 0, 1))
        first.append(len(masks))
        for thing in scene.things:
            masks.append(_mask(thing, grid))
            boxes.append(_cxcywh(np.float32(thing.box), width, height)[0])
            names = COLOURS.index(thing.colour), SHAPES.index(thing.shape)
            attributes.append([*names, SIZES.index(thing.size), int(thing.filled)])
            pictures.append(i)
    flat = [(i, prompt) for i, own in enumerate(prompts) for prompt in own]
    most = max((len(p.targets) for _, p in flat), default=0)
    end = tokenizer.get_vocab_size() - 1
    ids = np.full((len(flat), tokens), end, np.int64)
    valid = np.zeros((len(flat), tokens), np.bool_)
    prompt_boxes = np.full((len(flat), _MAX_BOXES, 4), 0.5, np.float32)
    labels = np.full((len(flat), _MAX_BOXES), -10, np.int64)
    targets = np.full((len(flat), max(most, 1)), -1, np.int64)
    for row, (i, prompt) in enumerate(flat):
        text = tokenizer.encode(prompt.text).ids
        text = [*text[: tokens - 1], end] if len(text) > tokens else text
        ids[row, : len(text)], valid[row, : len(text)] = text, True
        height, width = scenes[i].image.shape[:2]
        count = len(prompt.labels)
        prompt_boxes[row, :count] = _cxcywh(prompt.boxes, width, height)
        labels[row, :count] = prompt.labels
        targets[row, : len(prompt.targets)] = prompt.targets + first[i]
    return Batch(
        pixels=np.stack(pixels),
        thing_picture=np.array(pictures, np.int64),
        thing_masks=np.stack(masks),
        thing_boxes=np.stack(boxes),
        thing_attributes=np.array(attributes, np.int64),
        prompt_picture=np.array([i for i, _ in flat], np.int64),
        prompt_kind=np.array([KINDS.index(p.kind) for _, p in flat], np.int64),
        input_ids=ids,
        attention_mask=valid,
        boxes=prompt_boxes,
        box_labels=labels,
        targets=targets,
    )


class Drawing:
    """Draws the batches of a run.

    Args:
        tokenizer: the tokenizer as JSON text.
        image, grid, tokens: see :func:`collate`.
        seed: of the run.
    """

    def __init__(self, tokenizer: str, image: int, grid: int, tokens: int, seed: int) -> None:
        self._tokenizer = Tokenizer.from_str(tokenizer)
        self._sizes = image, grid, tokens
        self._seed = seed
        self._scenes: OrderedDict[int, Scene] = OrderedDict()

    def _scene(self, number: int) -> Scene:
        scene = self._scenes.pop(number, None)
        if scene is None:
            rng = np.random.default_rng([self._seed, 0, number])
            image = self._sizes[0]
            scene = draw_scene(rng, int(rng.integers(image, int(_LARGEST * image))))
        self._scenes[number] = scene
        if len(self._scenes) > _WINDOW:
            self._scenes.popitem(last=False)
        return scene

    def batch(self, number: int, plan: Plan) -> Batch:
        """Batch ``number`` (from 0) of the run."""
        rng = np.random.default_rng([self._seed, 1, number])
        end = (number + 1) * plan.fresh
        numbers = list(range(end - plan.fresh, end))
        numbers += rng.integers(max(0, end - _WINDOW), end, plan.pictures - plan.fresh).tolist()
        scenes = [self._scene(n) for n in numbers]
        scenes = [mirror(s) if rng.random() < 0.5 else s for s in scenes]
        prompts = [draw_prompts(s, rng, plan.prompts, plan.mix) for s in scenes]
        return collate(scenes, prompts, self._tokenizer, *self._sizes)


class Source(Protocol[PlanT_contra, BatchT_co]):
    """What draws batches, such as :class:`Drawing`."""

    def batch(self, number: int, plan: PlanT_contra, /) -> BatchT_co:
        """Batch ``number`` (from 0) of the run."""


def _draw(source: Source[Any, Any], jobs: Any, batches: Any) -> None:
    # A terminal's goes to all of its processes; it is for the one that trains to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number, plan in iter(jobs.get, None):
        batches.put(source.batch(number, plan))


@contextmanager
def drawn(
    source: Source[PlanT, BatchT], jobs: Iterator[tuple[int, PlanT]]
) -> Iterator[Iterator[BatchT]]:
    """Batches in the order of ``jobs``, drawn a few ahead by another process.

    Args:
        source: what draws them, which is copied to that process.
        jobs: the number and plan of each batch.

    Raises:
        RuntimeError: from the iterator, if the process has died.
    """
    context = multiprocessing.get_context("spawn")
    orders: Any = context.Queue()
    batches: Any = context.Queue()
    process = context.Process(
        target=_draw, args=(source, orders, batches), name="drawing", daemon=True
    )
    process.start()

    def receive() -> Iterator[BatchT]:
        ahead = 0
        ended = False
        while True:
            while not ended and ahead < 6:
                job = next(jobs, None)
                if job is None:
                    ended = True
                else:
                    orders.put(job)
                    ahead += 1
            if not ahead:
                return
            while True:
                try:
                    batch: BatchT = batches.get(timeout=1)
                    break
                except Empty:
                    if not process.is_alive():
                        raise RuntimeError("the process that draws scenes has died") from None
            ahead -= 1
            yield batch

    try:
        yield receive()
    finally:
        process.terminate()
        process.join()
