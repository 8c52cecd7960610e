"""The contract between sources, compiler and runtime: what each compiled function is.

A SAM 3 artifact is a handful of functions. Sources hand them out as torch modules, the compiler
lowers them, the runtime calls them and ``verify`` compares both sides. This module says, for given
model sizes, each function's name, its inputs and outputs in order, their dtypes, and which
dimensions may vary and how far, in the words of :mod:`sam3_tvm.components`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from sam3_tvm.components import Component, Dim, TensorSpec
from sam3_tvm.sizes import TASKS, ClickSizes, Sizes, VideoSizes
from sam3_tvm.values import (
    Alternating,
    Binary,
    Boxes,
    Choice,
    Integers,
    Padding,
    TokenIds,
    Uniform,
)

__all__ = [
    "BATCH",
    "BOXES",
    "CLICKS",
    "CLICK_LABELS",
    "HEIGHT",
    "MASKS",
    "POINTERS",
    "POINTS",
    "PROMPT",
    "TOKENS",
    "WIDTH",
    "abi",
    "function_names",
    "task_of",
]

# Bounds are part of the contract: memory is planned with the upper ones, and the
# runtime refuses what lies outside. An exemplar prompt with more than 64 boxes or a
# picture side above 32768 px has no use that we know of. Points fill what 32 tokens of text, the
# boxes and the CLS token leave of the prompt. Clicks are points, and two more for a box.
# The largest batch, and the most masks, are for servers with the memory; a few rows show as well
# that rows don't mix. Measured is one picture with one phrase or one click, in full HD.
BATCH = Dim("batch", 1, 64, example=2, odd=3, usual=1, largest=2)
"""Pictures, prompts or objects of one call. Rows don't see each other."""
BOXES = Dim("boxes", 0, 64, example=3, odd=5, usual=3)
"""Example boxes of a prompt."""
POINTS = Dim("points", 0, 31, example=4, odd=4, usual=0)
"""Example points of a prompt, where the source takes them."""
PROMPT = Dim("prompt", 1, 128, example=5, odd=37, usual=32)
"""Tokens of a prompt: of its phrase, its examples, or both."""
CLICKS = Dim("clicks", 1, 64, example=9, odd=9, usual=1)
"""Clicks on one object, a box counting as two."""
TOKENS = Dim("tokens", 2, CLICKS.max + 1, example=10, odd=10, usual=2)
"""Tokens that the decoder of clicks takes: one more than the clicks."""
MASKS = Dim("masks", 1, 1024, example=6, odd=3, usual=20, largest=7)
"""Masks that are resized together."""
HEIGHT = Dim("height", 1, 32768, example=11, odd=481, usual=1080, largest=1200)
"""Height of a picture, pixels."""
WIDTH = Dim("width", 1, 32768, example=13, odd=639, usual=1920, largest=1600)
"""Width of a picture, pixels."""

POINTERS = Dim("pointers", 0, 128, example=5, odd=5, usual=16)
"""Object pointers: one from each of the last 15 frames, and one from every frame where the object
was shown."""

CLICK_LABELS = (-10, -1, 0, 1, 2, 3)
"""Of a click: 1 on the object, 0 beside it, 2 and 3 for the upper left and lower right corner of a
box around it, -1 for no point, and -10 for padding. No point has a learnt embedding and padding one
of zeros (transformers' ``Sam3TrackerPromptEncoder._embed_points``); attention masks neither."""

# Ages of memories that SAM 3 tells apart: shown, and one to six frames back.
_AGES = 7


def _queries(sizes: Sizes) -> Dim:
    """Queries for which masks are decoded: only those that were kept, so 1 to all of them."""
    odd = max(1, sizes.queries // 2 - 1)
    return Dim("queries", 1, sizes.queries, example=7, odd=odd, usual=sizes.queries)


def _memories(video: VideoSizes) -> Dim:
    """Frames that an object is remembered from: 1 to all that are looked at together."""
    most = video.memories
    return Dim("memories", 1, most, example=3, odd=min(3, most), usual=min(7, most))


def abi(sizes: Sizes) -> dict[str, Component]:
    """Every component of a SAM 3 of these sizes, by name, in calling order and the order of tasks.

    Those of a task that the sizes lack (``clicks`` or ``video`` is None) aren't there.
    """
    made = {c.name: c for build in _TASK_FUNCTIONS for c in build(sizes)}
    return dict(sorted(made.items(), key=lambda item: TASKS.index(item[1].task)))


def function_names() -> tuple[str, ...]:
    """Names of all functions that a model for every task has, in calling order."""
    return tuple(abi(_FOR_ALL_TASKS))


def task_of(function: str) -> str:
    """The task that a function is for, of :data:`TASKS`.

    Raises:
        KeyError: no function of this name.
    """
    return abi(_FOR_ALL_TASKS)[function].task


def _concept_components(sizes: Sizes) -> Iterable[Component]:
    """From a picture and what is to be looked for, a phrase or examples, to objects of that kind.

    Boxes are centre x, centre y, width and height as fractions of the picture.
    """
    s, d, b = sizes.grid, sizes.hidden, BATCH
    features = (
        TensorSpec("fpn_0", "float32", (b, d, 4 * s, 4 * s), per_image=True),
        TensorSpec("fpn_1", "float32", (b, d, 2 * s, 2 * s), per_image=True),
        TensorSpec("fpn_2", "float32", (b, d, s, s), per_image=True),
    )
    coarsest = features[-1]
    backbone = _backbone(sizes)
    tokens = (b, sizes.text_tokens)
    # A phrase alone is as long as the text encoder pads it to.
    length = replace(PROMPT, usual=sizes.text_tokens)
    prompt = (
        TensorSpec("prompt", "float32", (b, length, d)),
        TensorSpec("prompt_mask", "bool", (b, length), values=Padding()),
    )
    memory = TensorSpec("memory", "float32", (b, s * s, d))
    queries = TensorSpec("queries", "float32", (b, sizes.queries, d))
    kept = _queries(sizes)
    return (
        Component(
            "vision_encoder",
            (TensorSpec("pixel_values", "float32", (b, 3, sizes.image, sizes.image)),),
            features if backbone is None else (*features, backbone),
        ),
        Component(
            "text_encoder",
            (
                TensorSpec("input_ids", "int64", tokens, values=TokenIds()),
                TensorSpec("attention_mask", "int64", tokens, values=Padding()),
            ),
            (TensorSpec("text_features", "float32", (*tokens, d)),),
        ),
        _geometry_encoder(sizes, coarsest),
        Component("detr_encoder", (coarsest, *prompt), (memory,)),
        Component(
            "detr_decoder",
            (memory, *prompt),
            (
                queries,
                TensorSpec("boxes", "float32", (b, sizes.queries, 4)),
                TensorSpec("presence_logits", "float32", (b, 1)),
            ),
        ),
        Component(
            "scoring",
            (queries, *prompt),
            (TensorSpec("logits", "float32", (b, sizes.queries)),),
        ),
        Component(
            "mask_decoder",
            (TensorSpec("queries", "float32", (b, kept, d)), *features, memory, *prompt),
            (
                TensorSpec("masks", "float32", (b, kept, 4 * s, 4 * s)),
                TensorSpec("semantic", "float32", (b, 1, 4 * s, 4 * s)),
            ),
        ),
        _resizing("resize_masks", sizes),
    )


def _geometry_encoder(sizes: Sizes, features: TensorSpec) -> Component:
    """From boxes, and points where the source takes them, to tokens of a prompt."""
    d, b = sizes.hidden, BATCH
    points: tuple[TensorSpec, ...] = ()
    # One more than the boxes and points: the CLS token.
    tokens = Dim("boxes + 1", 1, BOXES.max + 1)
    if sizes.points:
        tokens = Dim("boxes + points + 1", 1, BOXES.max + POINTS.max + 1)
        points = (
            TensorSpec("points", "float32", (b, POINTS, 2), values=Uniform()),
            TensorSpec("point_labels", "int64", (b, POINTS), values=Choice((0, 1))),
            TensorSpec("point_mask", "bool", (b, POINTS), values=Padding()),
        )
    return Component(
        "geometry_encoder",
        (
            TensorSpec("boxes", "float32", (b, BOXES, 4), values=Boxes()),
            TensorSpec("box_labels", "int64", (b, BOXES), values=Choice((0, 1))),
            TensorSpec("box_mask", "bool", (b, BOXES), values=Padding()),
            *points,
            features,
        ),
        (
            TensorSpec("features", "float32", (b, tokens, d)),
            TensorSpec("mask", "bool", (b, tokens)),
        ),
    )


def _resizing(name: str, sizes: Sizes) -> Component:
    """From masks as they are decoded to those of the picture's size."""
    side = 4 * sizes.grid
    return Component(
        name,
        (
            TensorSpec("masks", "float32", (MASKS, side, side)),
            TensorSpec("size", "shape", (HEIGHT, WIDTH)),
        ),
        (TensorSpec("resized", "bool", (MASKS, HEIGHT, WIDTH)),),
    )


def _backbone(sizes: Sizes) -> TensorSpec | None:
    """The vision backbone's last features, which the detector's neck and the tracker's share."""
    if sizes.clicks is None:
        return None
    shape = (BATCH, sizes.grid * sizes.grid, sizes.clicks.backbone)
    return TensorSpec("backbone", "float32", shape)


def _tracker_width(sizes: Sizes) -> int:
    """Of the tracker's features; also D in the docs, as it mostly is the detector's."""
    return (sizes.clicks.hidden if sizes.clicks is not None else 0) or sizes.hidden


def _click_components(sizes: Sizes) -> Iterable[Component]:
    """From the backbone's features and clicks to masks.

    A click is a point as fractions of the picture and a label, one of ``CLICK_LABELS``.
    """
    backbone, clicks = _backbone(sizes), sizes.clicks
    if backbone is None or clicks is None:
        return ()
    s, d, b = sizes.grid, _tracker_width(sizes), BATCH
    # The finer levels are as wide as the decoder's own features of that resolution.
    features = (
        TensorSpec("tracker_0", "float32", (b, d // 8, 4 * s, 4 * s), per_image=True),
        TensorSpec("tracker_1", "float32", (b, d // 4, 2 * s, 2 * s), per_image=True),
        TensorSpec("tracker_2", "float32", (b, d, s, s), per_image=True),
    )
    dense = TensorSpec("dense", "float32", (b, d, s, s))
    one_more = Dim("clicks + 1", CLICKS.min + 1, CLICKS.max + 1)
    pointers: tuple[TensorSpec, ...] = ()
    if sizes.video is not None:
        pointers = (TensorSpec("pointers", "float32", (b, clicks.masks, d)),)
    return (
        Component("tracker_neck", (backbone,), features),
        *(_without_memory(sizes) if clicks.without_memory else ()),
        Component(
            "prompt_encoder",
            (
                TensorSpec("clicks", "float32", (b, CLICKS, 2), values=Uniform()),
                TensorSpec("click_labels", "int64", (b, CLICKS), values=Choice(CLICK_LABELS)),
                TensorSpec("mask_logits", "float32", (b, 1, 4 * s, 4 * s)),
                TensorSpec("mask_given", "bool", (b,), values=Alternating()),
            ),
            (TensorSpec("sparse", "float32", (b, one_more, d)), dense),
        ),
        Component(
            "click_decoder",
            (*features, TensorSpec("sparse", "float32", (b, TOKENS, d)), dense),
            (
                TensorSpec("masks", "float32", (b, clicks.masks, 4 * s, 4 * s)),
                TensorSpec("iou", "float32", (b, clicks.masks)),
                TensorSpec("object_logits", "float32", (b, 1)),
                *pointers,
            ),
        ),
        _resizing("resize_click_masks", sizes),
    )


def _video_components(sizes: Sizes) -> Iterable[Component]:
    """From a frame's features and what is remembered of an object to features to decode, and from
    a mask to what will be remembered.

    A row of the batch is an object. ``memories`` come first from the frames where the object was
    shown, then from the last frames; their ages, int64, count frames back, with 0 for the former.
    A pointer's age is a fraction of the oldest's.
    """
    video = sizes.video
    if video is None:
        return ()
    s, d, b, side = sizes.grid, _tracker_width(sizes), BATCH, sizes.image
    features = TensorSpec("tracker_2", "float32", (b, d, s, s), per_image=True)
    conditioned = TensorSpec("conditioned", "float32", (b, d, s, s))
    among_clicks = sizes.clicks is not None and sizes.clicks.without_memory
    logits = TensorSpec("mask_logits", "float32", (b, 1, 4 * s, 4 * s))
    taken = video.shown or side
    # From what memories are made: four times the side of a mask; Meta's from the picture's.
    wide = side if video.shown else 16 * s
    enlarged = TensorSpec("enlarged", "float32", (b, 1, wide, wide))
    memories = _memories(video)
    # No older than the memories that a model takes.
    ages = Integers(0, min(_AGES, video.memories))
    return (
        *(() if among_clicks else _without_memory(sizes)),
        Component(
            "memory_attention",
            (
                features,
                TensorSpec("memories", "float32", (b, memories, s * s, video.channels)),
                TensorSpec("memory_ages", "int64", (b, memories), values=ages),
                TensorSpec("pointers", "float32", (b, POINTERS, d)),
                TensorSpec("pointer_ages", "float32", (b, POINTERS), values=Uniform()),
            ),
            (conditioned,),
        ),
        Component(
            "enlarge_masks",
            (logits,),
            (enlarged,),
        ),
        Component(
            "shown_mask",
            (TensorSpec("shown", "float32", (b, 1, taken, taken), values=Binary()),),
            (
                TensorSpec("mask_prior", "float32", (b, 1, 4 * s, 4 * s)),
                logits,
                *(() if video.shown else (enlarged,)),
            ),
        ),
        Component(
            "memory_encoder",
            (
                features,
                enlarged,
                TensorSpec("object_logits", "float32", (b, 1)),
                TensorSpec("shown_here", "bool", (b,), values=Alternating()),
            ),
            (TensorSpec("memory", "float32", (b, s * s, video.channels)),),
        ),
    )


def _without_memory(sizes: Sizes) -> Iterable[Component]:
    """From a picture's features to those to decode, where nothing is remembered."""
    shape = (BATCH, _tracker_width(sizes), sizes.grid, sizes.grid)
    features = TensorSpec("tracker_2", "float32", shape, per_image=True)
    conditioned = TensorSpec("conditioned", "float32", shape)
    return (Component("without_memory", (features,), (conditioned,)),)


def _for_task(
    task: str, build: Callable[[Sizes], Iterable[Component]]
) -> Callable[[Sizes], list[Component]]:
    return lambda sizes: [replace(component, task=task) for component in build(sizes)]


# What makes the functions of each task; none where a model's sizes lack the task.
_TASK_FUNCTIONS: list[Callable[[Sizes], list[Component]]] = [
    _for_task("concepts", _concept_components),
    _for_task("clicks", _click_components),
    _for_task("video", _video_components),
]

# Of any size: names are the same for all.
_FOR_ALL_TASKS = Sizes(16, 2, 16, 4, 2, 1, True, ClickSizes(16, 4), VideoSizes(4, 2))
