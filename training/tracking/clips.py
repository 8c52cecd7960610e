"""Clips of moving shapes, drawn from a seed: they cross, hide behind bars, leave and come back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.colours import COLOURS, difference, draw_colour
from training.scenes import (
    DIAMETERS,
    MIN_CONTRAST,
    OUTLINE_WIDTH,
    SIZES,
    Scene,
    Thing,
    draw_ground,
    draw_kind,
    hollowable,
)
from training.shapes import MAX_TURN, draw_stencil_at
from training.tracking.motion import SPAN, Motion, draw_motion

__all__ = ["HIDDEN", "SEEN", "Bar", "Clip", "Look", "Track", "draw_clip", "paint_clip"]

SEEN = 0.1
"""A thing counts as seen on a frame where at least this part of it is visible."""

HIDDEN = 0.01
"""And as hidden, or gone, where no more than this is."""

_COUNTS = (0.15, 0.25, 0.25, 0.2, 0.15)  # how often a clip is meant to have 1, 2 ... things
_BARS = (0.3, 0.6, 0.1)  # how often none, one, two
_TRIES = 8  # motions per thing
_SUPERSAMPLING = 4
_PLAIN = 0.75  # a thing is plain to see where so much of it is visible,
_PLAIN_FRAMES = 0.3  # and must be so on this part of the frames


@dataclass(frozen=True)
class Look:
    """A thing of a clip: what it is and how it moves.

    Attributes:
        shape, colour, size, filled: as of :class:`~training.scenes.Thing`.
        rgb: float64 [3] in 0..255.
        motion: its way.
    """

    shape: str
    colour: str
    size: str
    filled: bool
    rgb: NDArray[np.float64]
    motion: Motion


@dataclass(frozen=True)
class Bar:
    """A bar from edge to edge, before all things, which no phrase means.

    Attributes:
        rgb: float64 [3] in 0..255.
        place: x and y of a point in its middle, in parts of the picture's side.
        angle: of its length from the x axis, radians.
        width: in parts of the picture's side.
    """

    rgb: NDArray[np.float64]
    place: tuple[float, float]
    angle: float
    width: float


@dataclass(frozen=True)
class Track:
    """A thing through a clip of T frames.

    Attributes:
        thing: the thing, with mask and box of the frame on which most of it is seen.
        masks: its visible part, bool [T, H, W].
        visible: what part of it that is, float32 [T], 0 to 1.
    """

    thing: Thing
    masks: NDArray[np.bool_]
    visible: NDArray[np.float32]


@dataclass(frozen=True)
class Clip:
    """A film and what is in it.

    Attributes:
        frames: uint8 [T, H, W, 3].
        tracks: all things that are seen at all, the foremost first.
    """

    frames: NDArray[np.uint8]
    tracks: tuple[Track, ...]

    @property
    def cast(self) -> Scene:
        """All things, wherever in the film they are, as of one scene: for drawing phrases."""
        return Scene(self.frames[0], tuple(track.thing for track in self.tracks))


def _draw_look(
    rng: np.random.Generator,
    there: Sequence[Look],
    ground: NDArray[np.float64],
    kind: tuple[str, str],
    size: int,
) -> Look | None:
    """The next thing, behind the others; None if it found no way that keeps it apart."""
    colour, shape = kind
    rgb = draw_colour(rng, colour)
    if difference(rgb, ground).min() < MIN_CONTRAST:
        return None
    name = SIZES[rng.choice(3, p=[0.4, 0.45, 0.15])]
    least = DIAMETERS[name][0] / 2
    hollow = hollowable(shape, size * least, size * OUTLINE_WIDTH[name]) and rng.random() < 0.3
    for _ in range(_TRIES):
        motion = draw_motion(rng, DIAMETERS[name], MAX_TURN[shape])
        look = Look(shape, colour, name, not hollow, rgb, motion)
        if all(_apart(look, other) for other in there):
            return look
    return None


def _apart(one: Look, other: Look) -> bool:
    """Whether two things differ where they cross: in colour, or else they never touch."""
    discs = one.shape == other.shape == "circle"
    if difference(one.rgb, other.rgb) >= MIN_CONTRAST and not discs:
        return True
    for time in range(SPAN):
        (x, y), (u, v) = one.motion.place(time), other.motion.place(time)
        reach = 1.15 * (one.motion.size(time) + other.motion.size(time)) + 0.02
        if math.hypot(x - u, y - v) < reach:
            return False
    return True


def _draw_bars(
    rng: np.random.Generator, looks: Sequence[Look], ground: NDArray[np.float64]
) -> list[Bar]:
    bars = []
    own = {look.colour for look in looks}
    others = np.concatenate([ground, [look.rgb for look in looks]])
    for _ in range(rng.choice(len(_BARS), p=_BARS)):
        for colour in rng.permutation([c for c in COLOURS if c not in own]):
            rgb = draw_colour(rng, str(colour))
            if difference(rgb, others).min() >= MIN_CONTRAST:
                angle = rng.choice([0.0, math.pi / 2]) + rng.uniform(-0.3, 0.3)
                place = rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75)
                bars.append(Bar(rgb, place, angle, rng.uniform(0.12, 0.36)))
                break
    return bars


def _stencil(bar: Bar, size: int) -> NDArray[np.uint8]:
    """How much of each pixel a bar covers, uint8 [size, size] in 0..255."""
    large = size * _SUPERSAMPLING
    along = np.array([math.cos(bar.angle), math.sin(bar.angle)])
    across = np.array([-along[1], along[0]]) * bar.width / 2
    corners = [
        np.array(bar.place) + 2 * a * along + b * across
        for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    image = Image.new("L", (large, large))
    ImageDraw.Draw(image).polygon([(x * large, y * large) for x, y in corners], fill=255)
    return np.asarray(image.reduce(_SUPERSAMPLING))


def _cover(look: Look, time: float, size: int) -> tuple[NDArray[np.uint8], int]:
    """How much of each pixel a thing covers, uint8 [size, size], and how many it fills in all,
    those beyond the picture's edges, too."""
    centre, radius = size * np.array(look.motion.place(time)), size * look.motion.size(time)
    width = None if look.filled else size * OUTLINE_WIDTH[look.size]
    whole = np.floor(centre)
    shift = centre - whole
    turn = look.motion.angle(time)
    stencil, corner = draw_stencil_at(look.shape, radius, turn, width, (shift[0], shift[1]))
    left, top = (int(w + c) for w, c in zip(whole, corner, strict=True))
    full = np.zeros((size, size), np.uint8)
    height, across = stencil.shape
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + across, size), min(top + height, size)
    if x0 < x1 and y0 < y1:
        full[y0:y1, x0:x1] = stencil[y0 - top : y1 - top, x0 - left : x1 - left]
    return full, int((stencil >= 128).sum())


@dataclass(frozen=True)
class _Layers:
    """Where the things and the bars of a clip lie; T frames, K things.

    Attributes:
        bars: how much of each pixel each bar covers; uint8 [size, size] each.
        covers: what each thing would cover if it were alone; uint8 [T, K, size, size].
        masks: what is visible of it; bool [T, K, size, size].
        visible: what part of it that is; float32 [T, K].
    """

    bars: list[NDArray[np.uint8]]
    covers: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    visible: NDArray[np.float32]


def _lay(looks: Sequence[Look], bars: Sequence[Bar], times: Sequence[float], size: int) -> _Layers:
    strips = [_stencil(bar, size) for bar in bars]
    shape = len(times), len(looks)
    covers, masks = np.zeros((*shape, size, size), np.uint8), np.zeros((*shape, size, size), bool)
    visible = np.zeros(shape, np.float32)
    for row, time in enumerate(times):
        free = np.ones((size, size), bool)
        for strip in strips:
            free &= strip < 128
        for column, look in enumerate(looks):
            covers[row, column], whole = _cover(look, time, size)
            solid = covers[row, column] >= 128
            masks[row, column] = solid & free
            visible[row, column] = masks[row, column].sum() / max(1, whole)
            free &= ~solid
    return _Layers(strips, covers, masks, visible)


def paint_clip(
    rng: np.random.Generator,
    ground: NDArray[np.float32],
    looks: Sequence[Look],
    bars: Sequence[Bar],
    times: Sequence[float],
) -> Clip:
    """Paint a clip whose things are known.

    Args:
        rng: of blur and noise.
        ground: the background, float32 [size, size, 3] in 0..255.
        looks: the things, the foremost first.
        bars: before all of them.
        times: of the frames.
    """
    size = len(ground)
    return _paint(rng, ground, looks, bars, _lay(looks, bars, times, size))


def _paint(
    rng: np.random.Generator,
    ground: NDArray[np.float32],
    looks: Sequence[Look],
    bars: Sequence[Bar],
    layers: _Layers,
) -> Clip:
    # A camera's: the same on all frames.
    blur = rng.uniform(0, 0.005) * len(ground) if rng.random() < 0.5 else 0.0
    grain = rng.uniform(0, 7) if rng.random() < 0.7 else 0.0
    frames = []
    for covers in layers.covers:
        canvas = ground.copy()
        things = [(cover, look.rgb) for cover, look in zip(covers, looks, strict=True)]
        strips = [(strip, bar.rgb) for strip, bar in zip(layers.bars, bars, strict=True)]
        for cover, rgb in [*reversed(things), *strips]:
            part = (cover / np.float32(255))[..., None]
            canvas += part * (rgb.astype(np.float32) - canvas)
        if blur:
            sharp = Image.fromarray(canvas.round().astype(np.uint8))
            canvas = np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur)), np.float32)
        if grain:
            canvas = canvas + np.float32(grain) * rng.standard_normal(canvas.shape, np.float32)
        frames.append(np.clip(canvas.round(), 0, 255).astype(np.uint8))
    tracks = [
        Track(_thing(look, masks[int(visible.argmax())]), masks, visible)
        for look, masks, visible in zip(
            looks, layers.masks.swapaxes(0, 1), layers.visible.T, strict=True
        )
    ]
    return Clip(np.stack(frames), tuple(tracks))


def _thing(look: Look, mask: NDArray[np.bool_]) -> Thing:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    return Thing(look.shape, look.colour, look.size, look.filled, mask, box)


def draw_clip(
    rng: np.random.Generator, size: int, times: Sequence[float], held_out: bool = False
) -> Clip:
    """Draw a clip of one to five things.

    Every thing differs clearly in colour from the background and the bars, and from other things
    that it crosses; of two the same is in front on every frame. Most of a thing is visible on
    three frames in ten at least; what would not be is left out.

    Args:
        rng: where chance comes from; equal states give equal clips.
        size: the side of the frames in pixels, 64 at least.
        times: of the frames, from 0 to ``SPAN``.
        held_out: whether about a tenth of the things are of kinds in ``HELD_OUT``; otherwise none.

    Raises:
        ValueError: frames too small for the small things to have a shape.
    """
    if size < 64:
        raise ValueError(f"a clip is 64 pixels wide at least, not {size}")
    while True:
        kind = draw_kind(rng, [], COLOURS, held_out)
        ground, ground_colours, colours = draw_ground(rng, size, kind[0])
        looks: list[Look] = []
        for _ in range(1 + rng.choice(len(_COUNTS), p=_COUNTS)):
            if looks:
                kind = draw_kind(rng, [(k.colour, k.shape) for k in looks], colours, held_out)
            look = _draw_look(rng, looks, ground_colours, kind, size)
            if look is not None:
                looks.append(look)
        bars = _draw_bars(rng, looks, ground_colours) if looks else []
        while looks:
            layers = _lay(looks, bars, times, size)
            plain = (layers.visible >= _PLAIN).mean(axis=0)
            if plain.min() >= _PLAIN_FRAMES:
                return _paint(rng, ground, looks, bars, layers)
            # What is hardly ever seen whole nobody could name. What it hides is seen better then.
            del looks[int(plain.argmin())]
