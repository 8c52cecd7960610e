"""The contract between sources, compiler and runtime: what each compiled function is.

A SAM 3 artifact is a handful of functions ("components"). Sources hand them out as
torch modules, the compiler lowers them, the runtime calls them and ``verify`` compares
both sides. This module says, for given model sizes, each function's name, its inputs
and outputs in order, their dtypes, and which dimensions may vary and how far.

Nothing here needs more than the standard library: every other part stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sam3_tvm.errors import Sam3Error

__all__ = [
    "BATCH",
    "BOXES",
    "CLICKS",
    "FOR_CLICKS",
    "FOR_VIDEO",
    "HEIGHT",
    "MASKS",
    "MEMORIES",
    "POINTERS",
    "POINTS",
    "PROMPT",
    "QUERIES",
    "TASKS",
    "TOKENS",
    "WIDTH",
    "AbiError",
    "ClickSizes",
    "Component",
    "Dim",
    "Sizes",
    "TensorSpec",
    "VideoSizes",
    "abi",
    "abi_from_json",
    "abi_to_json",
    "bind",
    "spec_from_json",
    "spec_to_json",
]


class AbiError(Sam3Error, ValueError):
    """A call that breaks the contract; the message names the function, the input and the bound."""


@dataclass(frozen=True)
class Dim:
    """A dimension that varies from call to call, with its inclusive bounds."""

    name: str
    min: int
    max: int

    def __str__(self) -> str:
        return f"{self.name} in {self.min}..{self.max}"


# Bounds are part of the contract: memory is planned with the upper ones, and the
# runtime refuses what lies outside. An exemplar prompt with more than 64 boxes or a
# picture side above 32768 px has no use that we know of. Points fill what 32 tokens of text, the
# boxes and the CLS token leave of the prompt. Clicks are points, and two more for a box.
BATCH = Dim("batch", 1, 64)
BOXES = Dim("boxes", 0, 64)
POINTS = Dim("points", 0, 31)
PROMPT = Dim("prompt", 1, 128)
CLICKS = Dim("clicks", 1, 64)
TOKENS = Dim("tokens", 2, CLICKS.max + 1)
MASKS = Dim("masks", 1, 1024)
HEIGHT = Dim("height", 1, 32768)
WIDTH = Dim("width", 1, 32768)

# A pointer comes from each of the last 15 frames, and from every frame where an object was shown.
POINTERS = Dim("pointers", 0, 128)

TASKS = ("concepts", "clicks", "video")
"""What a model may be for: all objects of a kind, the object that is clicked, and following that
through a video. Each takes those before it."""

FOR_CLICKS = ("tracker_neck", "prompt_encoder", "click_decoder", "resize_click_masks")
"""The functions that the second task has for itself."""

FOR_VIDEO = (
    "without_memory",
    "memory_attention",
    "enlarge_masks",
    "shown_mask",
    "memory_encoder",
)
"""The functions that the third task has for itself."""


def QUERIES(sizes: Sizes) -> Dim:  # noqa: N802 - reads like the other dimensions
    """Queries for which masks are decoded: only those that were kept, so 1 to all of them."""
    return Dim("queries", 1, sizes.queries)


def MEMORIES(sizes: VideoSizes) -> Dim:  # noqa: N802 - reads like the other dimensions
    """Frames that an object is remembered from: 1 to all that are looked at together."""
    return Dim("memories", 1, sizes.memories)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, its dtype, and its shape of integers and dimensions.

    The dtype ``"shape"`` marks an argument that is no tensor but a list of integers
    (an output size), whose entries are dimensions of the function.
    """

    name: str
    dtype: str
    shape: tuple[int | Dim, ...]

    @property
    def per_image(self) -> bool:
        """Whether it comes from the picture alone, so that all prompts share it.

        So do the features of the vision encoder and of the tracker's neck, wherever they are an
        input of a function that also takes a prompt.
        """
        return self.name.startswith(("fpn_", "tracker_"))

    def __str__(self) -> str:
        dims = ", ".join(d.name if isinstance(d, Dim) else str(d) for d in self.shape)
        return f"{self.name}: {self.dtype}[{dims}]"


@dataclass(frozen=True)
class Component:
    """One compiled function: name, inputs and outputs in calling order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def dims(self) -> dict[str, Dim]:
        """The function's dynamic dimensions by name, in order of first use."""
        found: dict[str, Dim] = {}
        for spec in self.inputs:
            for d in spec.shape:
                if isinstance(d, Dim):
                    found.setdefault(d.name, d)
        return found

    @property
    def image_inputs(self) -> tuple[int, ...]:
        """Positions of the inputs that come from the picture alone."""
        return tuple(i for i, spec in enumerate(self.inputs) if spec.per_image)

    def __str__(self) -> str:
        ins = ", ".join(map(str, self.inputs))
        outs = ", ".join(map(str, self.outputs))
        return f"{self.name}({ins}) -> {outs}"


@dataclass(frozen=True)
class ClickSizes:
    """The static sizes of the part that segments what is clicked, SAM 3's tracker.

    Attributes:
        backbone: width of the vision backbone, whose last features the tracker's neck takes (1024).
        masks: masks that are proposed for a click: one, and those among which an ambiguous click
            chooses (1 + 3).
    """

    backbone: int
    masks: int


@dataclass(frozen=True)
class VideoSizes:
    """The static sizes of the part that follows objects through a video.

    Attributes:
        channels: width of what is remembered of a frame (64).
        memories: frames that are looked at together, at most: those where the object was shown
            (4), and the last ones (6).
    """

    channels: int
    memories: int


@dataclass(frozen=True)
class Sizes:
    """The static sizes of one SAM 3 model.

    Attributes:
        image: side of the square input picture, pixels (1008).
        grid: side of the coarsest feature map, in patches; S in the docs (72).
        hidden: width of prompts, memory and queries; D in the docs (256).
        text_tokens: length to which phrases are padded (32).
        queries: object queries of the detector; Q in the docs (200).
        heads: attention heads of the detector's layers (8).
        points: whether the geometry encoder takes points, beside boxes; not every source's does.
        clicks: of the part that segments what is clicked; None where there is none.
        video: of the part that follows it through a video; None where there is none.
    """

    image: int
    grid: int
    hidden: int
    text_tokens: int
    queries: int
    heads: int
    points: bool = False
    clicks: ClickSizes | None = None
    video: VideoSizes | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """What a model of these sizes is for, of :data:`TASKS`."""
        return TASKS[: 1 + (self.clicks is not None) + (self.video is not None)]


def abi(sizes: Sizes) -> dict[str, Component]:
    """Every component of a SAM 3 of these sizes, in calling order.

    Those that segment what is clicked come last, and only where ``sizes.clicks`` is there; behind
    them, where ``sizes.video`` is, those that follow it.
    """
    s, d, b = sizes.grid, sizes.hidden, BATCH
    fpn_0 = TensorSpec("fpn_0", "float32", (b, d, 4 * s, 4 * s))
    fpn_1 = TensorSpec("fpn_1", "float32", (b, d, 2 * s, 2 * s))
    fpn_2 = TensorSpec("fpn_2", "float32", (b, d, s, s))
    prompt = TensorSpec("prompt", "float32", (b, PROMPT, d))
    prompt_mask = TensorSpec("prompt_mask", "bool", (b, PROMPT))
    memory = TensorSpec("memory", "float32", (b, s * s, d))
    queries = TensorSpec("queries", "float32", (b, sizes.queries, d))
    kept = QUERIES(sizes)
    tokens = (b, sizes.text_tokens)
    points: tuple[TensorSpec, ...] = ()
    # One more than the boxes and points: the CLS token.
    geometry = Dim("boxes + 1", 1, BOXES.max + 1)
    if sizes.points:
        geometry = Dim("boxes + points + 1", 1, BOXES.max + POINTS.max + 1)
        points = (
            TensorSpec("points", "float32", (b, POINTS, 2)),
            TensorSpec("point_labels", "int64", (b, POINTS)),
            TensorSpec("point_mask", "bool", (b, POINTS)),
        )
    listed: tuple[Component, ...] = (
        Component(
            "vision_encoder",
            (TensorSpec("pixel_values", "float32", (b, 3, sizes.image, sizes.image)),),
            (fpn_0, fpn_1, fpn_2, *(spec for spec in (_backbone(sizes),) if spec)),
        ),
        Component(
            "text_encoder",
            (
                TensorSpec("input_ids", "int64", tokens),
                TensorSpec("attention_mask", "int64", tokens),
            ),
            (TensorSpec("text_features", "float32", (*tokens, d)),),
        ),
        Component(
            "geometry_encoder",
            (
                TensorSpec("boxes", "float32", (b, BOXES, 4)),
                TensorSpec("box_labels", "int64", (b, BOXES)),
                TensorSpec("box_mask", "bool", (b, BOXES)),
                *points,
                fpn_2,
            ),
            (
                TensorSpec("features", "float32", (b, geometry, d)),
                TensorSpec("mask", "bool", (b, geometry)),
            ),
        ),
        Component("detr_encoder", (fpn_2, prompt, prompt_mask), (memory,)),
        Component(
            "detr_decoder",
            (memory, prompt, prompt_mask),
            (
                queries,
                TensorSpec("boxes", "float32", (b, sizes.queries, 4)),
                TensorSpec("presence_logits", "float32", (b, 1)),
            ),
        ),
        Component(
            "scoring",
            (queries, prompt, prompt_mask),
            (TensorSpec("logits", "float32", (b, sizes.queries)),),
        ),
        Component(
            "mask_decoder",
            (
                TensorSpec("queries", "float32", (b, kept, d)),
                fpn_0,
                fpn_1,
                fpn_2,
                memory,
                prompt,
                prompt_mask,
            ),
            (
                TensorSpec("masks", "float32", (b, kept, 4 * s, 4 * s)),
                TensorSpec("semantic", "float32", (b, 1, 4 * s, 4 * s)),
            ),
        ),
        Component(
            "resize_masks",
            (
                TensorSpec("masks", "float32", (MASKS, 4 * s, 4 * s)),
                TensorSpec("size", "shape", (HEIGHT, WIDTH)),
            ),
            (TensorSpec("resized", "bool", (MASKS, HEIGHT, WIDTH)),),
        ),
        *_click_components(sizes),
        *_video_components(sizes),
    )
    return {c.name: c for c in listed}


def _backbone(sizes: Sizes) -> TensorSpec | None:
    """The vision backbone's last features, which the detector's neck and the tracker's share."""
    if sizes.clicks is None:
        return None
    shape = (BATCH, sizes.grid * sizes.grid, sizes.clicks.backbone)
    return TensorSpec("backbone", "float32", shape)


def _click_components(sizes: Sizes) -> tuple[Component, ...]:
    """From the backbone's features and clicks to masks.

    A click is a point as fractions of the picture and a label: 1 on the object, 0 beside it, 2 and
    3 for the upper left and lower right corner of a box around it, -1 for no point.
    """
    backbone, clicks = _backbone(sizes), sizes.clicks
    if backbone is None or clicks is None:
        return ()
    s, d, b = sizes.grid, sizes.hidden, BATCH
    # The finer levels are as wide as the decoder's own features of that resolution.
    features = (
        TensorSpec("tracker_0", "float32", (b, d // 8, 4 * s, 4 * s)),
        TensorSpec("tracker_1", "float32", (b, d // 4, 2 * s, 2 * s)),
        TensorSpec("tracker_2", "float32", (b, d, s, s)),
    )
    dense = TensorSpec("dense", "float32", (b, d, s, s))
    one_more = Dim("clicks + 1", CLICKS.min + 1, CLICKS.max + 1)
    pointers: tuple[TensorSpec, ...] = ()
    if sizes.video is not None:
        pointers = (TensorSpec("pointers", "float32", (b, clicks.masks, d)),)
    return (
        Component("tracker_neck", (backbone,), features),
        Component(
            "prompt_encoder",
            (
                TensorSpec("clicks", "float32", (b, CLICKS, 2)),
                TensorSpec("click_labels", "int64", (b, CLICKS)),
                TensorSpec("mask_logits", "float32", (b, 1, 4 * s, 4 * s)),
                TensorSpec("mask_given", "bool", (b,)),
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
        Component(
            "resize_click_masks",
            (
                TensorSpec("masks", "float32", (MASKS, 4 * s, 4 * s)),
                TensorSpec("size", "shape", (HEIGHT, WIDTH)),
            ),
            (TensorSpec("resized", "bool", (MASKS, HEIGHT, WIDTH)),),
        ),
    )


def _video_components(sizes: Sizes) -> tuple[Component, ...]:
    """From a frame's features and what is remembered of an object to features to decode, and from
    a mask to what will be remembered.

    A row of the batch is an object. ``memories`` come first from the frames where the object was
    shown, then from the last frames; their ages, int64, count frames back, with 0 for the former.
    A pointer's age is a fraction of the oldest's.
    """
    video = sizes.video
    if video is None:
        return ()
    s, d, b, side = sizes.grid, sizes.hidden, BATCH, sizes.image
    features = TensorSpec("tracker_2", "float32", (b, d, s, s))
    conditioned = TensorSpec("conditioned", "float32", (b, d, s, s))
    logits = TensorSpec("mask_logits", "float32", (b, 1, 4 * s, 4 * s))
    memories = MEMORIES(video)
    return (
        Component("without_memory", (features,), (conditioned,)),
        Component(
            "memory_attention",
            (
                features,
                TensorSpec("memories", "float32", (b, memories, s * s, video.channels)),
                TensorSpec("memory_ages", "int64", (b, memories)),
                TensorSpec("pointers", "float32", (b, POINTERS, d)),
                TensorSpec("pointer_ages", "float32", (b, POINTERS)),
            ),
            (conditioned,),
        ),
        Component(
            "enlarge_masks",
            (logits,),
            (TensorSpec("enlarged", "float32", (b, 1, side, side)),),
        ),
        Component(
            "shown_mask",
            (TensorSpec("shown", "float32", (b, 1, side, side)),),
            (TensorSpec("mask_prior", "float32", (b, 1, 4 * s, 4 * s)), logits),
        ),
        Component(
            "memory_encoder",
            (
                features,
                TensorSpec("enlarged", "float32", (b, 1, side, side)),
                TensorSpec("object_logits", "float32", (b, 1)),
                TensorSpec("shown_here", "bool", (b,)),
            ),
            (TensorSpec("memory", "float32", (b, s * s, video.channels)),),
        ),
    )


def bind(component: Component, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
    """Match actual input shapes against a component's specs.

    Args:
        component: the function that is to be called.
        shapes: one shape per input, in order; for a ``"shape"`` input the values themselves.

    Returns:
        The value of each dynamic dimension by name.

    Raises:
        AbiError: a wrong number of inputs, a wrong rank or static size, two inputs that
            disagree on a dimension, or a dimension outside its bounds.
    """
    if len(shapes) != len(component.inputs):
        raise AbiError(
            f"{component.name} takes {len(component.inputs)} inputs "
            f"({', '.join(s.name for s in component.inputs)}), got {len(shapes)}"
        )
    values: dict[str, int] = {}
    for spec, shape in zip(component.inputs, shapes, strict=True):
        if len(shape) != len(spec.shape):
            raise AbiError(
                f"{component.name}: {spec} takes {len(spec.shape)} axes, got shape {tuple(shape)}"
            )
        for axis, (want, got) in enumerate(zip(spec.shape, shape, strict=True)):
            where = f"{component.name}: {spec}, axis {axis}"
            if not isinstance(want, Dim):
                if got != want:
                    raise AbiError(f"{where} must be {want}, got {got}")
            elif not want.min <= got <= want.max:
                raise AbiError(f"{where} is {got}, outside {want}")
            elif values.setdefault(want.name, got) != got:
                raise AbiError(
                    f"{where} is {got}, but {want.name} is {values[want.name]} in an earlier input"
                )
    return values


def spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    """An input or output as plain data."""
    dims = [asdict(d) if isinstance(d, Dim) else d for d in spec.shape]
    return {"name": spec.name, "dtype": spec.dtype, "shape": dims}


def spec_from_json(data: Mapping[str, Any]) -> TensorSpec:
    """The inverse of :func:`spec_to_json`."""
    dims = tuple(Dim(**d) if isinstance(d, dict) else int(d) for d in data["shape"])
    return TensorSpec(data["name"], data["dtype"], dims)


def abi_to_json(components: Mapping[str, Component]) -> list[dict[str, Any]]:
    """The ABI as plain data for a manifest."""
    return [
        {
            "name": c.name,
            "inputs": [spec_to_json(s) for s in c.inputs],
            "outputs": [spec_to_json(s) for s in c.outputs],
        }
        for c in components.values()
    ]


def abi_from_json(data: Sequence[Mapping[str, Any]]) -> dict[str, Component]:
    """The inverse of :func:`abi_to_json`."""
    return {
        c["name"]: Component(
            c["name"],
            tuple(map(spec_from_json, c["inputs"])),
            tuple(map(spec_from_json, c["outputs"])),
        )
        for c in data
    }
