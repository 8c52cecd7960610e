"""Pictures of coloured shapes, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.backgrounds import draw_background
from training.colours import COLOURS, difference, draw_colour, typical
from training.shapes import MAX_TURN, OUTLINED, SHAPES, draw_stencil

__all__ = [
    "COLOURS",
    "DIAMETERS",
    "HELD_OUT",
    "MIN_CONTRAST",
    "OUTLINE_WIDTH",
    "SHAPES",
    "SIZES",
    "Scene",
    "Thing",
    "draw_ground",
    "draw_kind",
    "draw_scene",
    "hollowable",
]

DIAMETERS = {"small": (0.14, 0.18), "medium": (0.26, 0.32), "large": (0.44, 0.56)}
"""Least and largest diameter, of the picture's side. The gaps keep each size from looking like the
next."""

OUTLINE_WIDTH = {"small": 0.035, "medium": 0.045, "large": 0.055}
"""Of the picture's side."""

SIZES: tuple[str, ...] = tuple(DIAMETERS)
"""The names of the sizes."""

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "hexagon"),
        ("orange", "star"),
        ("yellow", "cross"),
        ("green", "heart"),
        ("cyan", "triangle"),
        ("blue", "ring"),
        ("purple", "square"),
        ("pink", "diamond"),
        ("brown", "circle"),
        ("black", "crescent"),
        ("white", "hexagon"),
        ("grey", "star"),
    }
)
"""Colour and shape of the kinds that no training scene contains: a tenth of them all."""

_KINDS = tuple((c, s) for c in COLOURS for s in SHAPES)
_TYPICAL = np.stack([typical(c) for c in COLOURS])
MIN_CONTRAST = 30.0
"""To the background and to what a thing touches; CIE 1976 distance."""

_MIN_VISIBLE = 0.8  # of a thing's own area
_TRIES = 12  # places per thing
# How often a scene is meant to have 1, 2 ... things; some find no place.
_COUNTS = (0.08, 0.12, 0.18, 0.18, 0.16, 0.14, 0.14)


@dataclass(frozen=True)
class Thing:
    """One thing of a scene.

    Attributes:
        shape: one of ``SHAPES``.
        colour: one of ``COLOURS``.
        size: one of ``SIZES``, by its diameter in relation to the picture's side.
        filled: False for an outline. Circles, rings and crescents are always filled.
        mask: its visible part, bool [H, W].
        box: x0, y0, x1, y1 of the visible part in pixels: the edges of its outermost pixels.
    """

    shape: str
    colour: str
    size: str
    filled: bool
    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]

    @property
    def kind(self) -> tuple[str, str]:
        """Its colour and shape."""
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """A picture and what is on it.

    Attributes:
        image: uint8 [H, W, 3].
        things: all that is on it, the foremost first.
    """

    image: NDArray[np.uint8]
    things: tuple[Thing, ...]


@dataclass(frozen=True)
class _Part:
    """A thing that has found its place."""

    kind: tuple[str, str]
    size: str
    filled: bool
    rgb: NDArray[np.float64]
    stencil: NDArray[np.uint8]
    x: int
    y: int


def draw_kind(
    rng: np.random.Generator,
    there: Sequence[tuple[str, str]],
    colours: Sequence[str],
    held_out: bool,
) -> tuple[str, str]:
    """Colour and shape of the next thing; often related to those that are there already.

    Equal kinds make concepts with several instances, half-equal ones make concepts that are
    nearly there, such as a red circle among red squares and blue circles.

    Args:
        rng: where chance comes from.
        there: the kinds of those.
        colours: to choose from.
        held_out: as of :func:`draw_scene`.
    """
    known = {(c, s) for c, s in _KINDS if c in colours and (c, s) not in HELD_OUT}
    if there:
        kind = there[rng.integers(len(there))]
        relation = rng.choice(["same", "colour", "shape", "none"], p=[0.36, 0.16, 0.16, 0.32])
        if relation == "same":
            return kind
        if relation != "none":
            place = 0 if relation == "colour" else 1
            # A background may leave a shape no colour to go with.
            known = {k for k in known if k[place] == kind[place]} or known
    if held_out and rng.random() < 0.1:
        known = {(c, s) for c, s in HELD_OUT if c in colours} or known
    choice = sorted(known)
    return choice[rng.integers(len(choice))]


def draw_ground(
    rng: np.random.Generator, size: int, colour: str
) -> tuple[NDArray[np.float32], NDArray[np.float64], list[str]]:
    """A background that a colour stands out from.

    Returns:
        The picture and the colours on it, as from ``draw_background``, and the names of all
        colours that stand out from it.
    """
    while True:
        ground, on_it = draw_background(rng, size)
        contrast = difference(_TYPICAL[:, None], on_it).min(axis=1)
        colours = [c for c, d in zip(COLOURS, contrast, strict=True) if d > MIN_CONTRAST + 5]
        if colour in colours:
            return ground, on_it, colours


def hollowable(shape: str, radius: float, width: float) -> bool:
    """Whether a shape may be drawn as an outline: a smaller hole would be lost in the mask's grid.

    Args:
        shape: one of ``SHAPES``.
        radius, width: of the shape and its outline, pixels.
    """
    return OUTLINED.get(shape, 0) * radius > 1.6 * width


def _grow(solid: NDArray[np.bool_], margin: int) -> NDArray[np.bool_]:
    """Pixels within a square of ``margin`` around those that are set: bool [h + 2m, w + 2m]."""
    window = 2 * margin + 1
    for _ in range(2):
        total = np.cumsum(np.pad(solid, ((0, 0), (window, window - 1))), axis=1)
        solid = (total[:, window:] != total[:, :-window]).T
    return solid


def _find_place(
    rng: np.random.Generator,
    owner: NDArray[np.int8],
    stencil: NDArray[np.uint8],
    may_touch: NDArray[np.bool_],
) -> tuple[int, int] | None:
    """A place for a thing behind those that are there.

    Args:
        rng: where chance comes from.
        owner: the thing that each pixel belongs to, -1 for none; int8 [H, W].
        stencil: of the new thing.
        may_touch: which of the things the new one may touch and be covered by; bool [n].

    Returns:
        x and y of the stencil's corner, or None if no place was found.
    """
    size = len(owner)
    height, width = stencil.shape
    solid = stencil >= 128
    margin = max(2, round(0.015 * size))
    near = _grow(solid, margin)
    for _ in range(_TRIES):
        x, y = (int(rng.integers(margin, size - side - margin)) for side in (width, height))
        around = owner[y - margin : y + height + margin, x - margin : x + width + margin]
        touched = np.bincount(around[near] + 1, minlength=len(may_touch) + 1)[1:] > 0
        if np.any(touched & ~may_touch):
            continue
        free = owner[y : y + height, x : x + width][solid] < 0
        if free.mean() >= _MIN_VISIBLE:
            return x, y
    return None


def _draw_part(
    rng: np.random.Generator,
    size: int,
    parts: list[_Part],
    owner: NDArray[np.int8],
    ground: NDArray[np.float64],
    kind: tuple[str, str],
) -> _Part | None:
    """The next thing, behind the others; None if there is no room for it."""
    colour, shape = kind
    name = SIZES[rng.choice(3, p=[0.4, 0.4, 0.2])]
    radius = size * rng.uniform(*DIAMETERS[name]) / 2
    width = size * OUTLINE_WIDTH[name]
    hollow = hollowable(shape, radius, width) and rng.random() < 0.4
    turn = rng.uniform(-1, 1) * MAX_TURN[shape]
    shift = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
    stencil = draw_stencil(shape, radius, turn, width if hollow else None, shift)
    rgb = draw_colour(rng, colour)
    if difference(rgb, ground).min() < MIN_CONTRAST:
        return None
    may_touch = np.zeros(len(parts), bool)
    if parts and rng.random() < 0.5:
        contrast = difference(rgb, np.stack([p.rgb for p in parts]))
        # A disc within a disc would look like a ring around a disc.
        discs = np.array([shape == p.kind[1] == "circle" for p in parts])
        may_touch = (contrast >= MIN_CONTRAST) & ~discs
    place = _find_place(rng, owner, stencil, may_touch)
    return place and _Part(kind, name, not hollow, rgb, stencil, *place)


def _render(
    rng: np.random.Generator, ground: NDArray[np.float32], parts: list[_Part]
) -> NDArray[np.uint8]:
    """Paint the things, the hindmost first, blur a little and add noise."""
    canvas = ground
    for part in reversed(parts):
        height, width = part.stencil.shape
        region = canvas[part.y : part.y + height, part.x : part.x + width]
        cover = (part.stencil / np.float32(255))[..., None]
        region += cover * (part.rgb.astype(np.float32) - region)
    if rng.random() < 0.5:
        radius = rng.uniform(0, 0.005) * len(canvas)
        blurred = Image.fromarray(canvas.round().astype(np.uint8))
        canvas = np.asarray(blurred.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    if rng.random() < 0.7:
        noise = rng.standard_normal(canvas.shape, np.float32)
        canvas = canvas + np.float32(rng.uniform(0, 7)) * noise
    return np.clip(canvas.round(), 0, 255).astype(np.uint8)


def draw_scene(rng: np.random.Generator, size: int, held_out: bool = False) -> Scene:
    """Draw a scene of one to seven things.

    Every thing differs clearly in colour from the background and from what it touches, and
    most of it is visible; what would not be is left out.

    Args:
        rng: where chance comes from; equal states give equal scenes.
        size: the picture's side in pixels, 64 at least.
        held_out: whether about a tenth of the things are of kinds in ``HELD_OUT``;
            otherwise none are.

    Raises:
        ValueError: a picture too small for the small things to have a shape.
    """
    if size < 64:
        raise ValueError(f"a scene is 64 pixels wide at least, not {size}")
    while True:
        # The first kind before the background: else those that few backgrounds suit were rare.
        kind = draw_kind(rng, [], COLOURS, held_out)
        ground, ground_colours, colours = draw_ground(rng, size, kind[0])
        owner = np.full((size, size), -1, np.int8)
        parts: list[_Part] = []
        for _ in range(1 + rng.choice(len(_COUNTS), p=_COUNTS)):
            if parts:
                kind = draw_kind(rng, [p.kind for p in parts], colours, held_out)
            part = _draw_part(rng, size, parts, owner, ground_colours, kind)
            if part is not None:
                height, width = part.stencil.shape
                region = owner[part.y : part.y + height, part.x : part.x + width]
                region[(part.stencil >= 128) & (region < 0)] = len(parts)
                parts.append(part)
        if parts:
            break
    things = []
    for i, part in enumerate(parts):
        mask = owner == i
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (
            float(columns[0]),
            float(rows[0]),
            float(columns[-1] + 1),
            float(rows[-1] + 1),
        )
        things.append(Thing(part.kind[1], part.kind[0], part.size, part.filled, mask, box))
    return Scene(_render(rng, ground, parts), tuple(things))
