"""Made films: coloured shapes on moving paths, one behind another, one that leaves and comes back.

Deterministic, with the true masks of each shape: what can be seen of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

# Drawn larger and scaled down, so that edges are smooth.
_FINER = 4


class Frame(NamedTuple):
    """A frame and the truth about it.

    Attributes:
        rgb: uint8 [H, W, 3].
        masks: bool [3, H, W], the visible part of each shape: the disc, the square, the star.
    """

    rgb: NDArray[np.uint8]
    masks: NDArray[np.bool_]


@lru_cache(256)
def frame(index: int, size: tuple[int, int] = (96, 128)) -> Frame:
    """Frame ``index`` of the film, whose period is 48 frames.

    A blue disc (object 0) goes to and fro behind a standing orange square (1), which hides all of
    it for some frames; a green star (2) turns while it leaves at the right edge and comes back.

    Args:
        index: the frame's number.
        size: height and width, pixels.
    """
    height, width = size[0] * _FINER, size[1] * _FINER
    unit = min(height, width) / 24
    turn = 2 * math.pi * index / 48
    disc = (width / 2 - 0.36 * width * math.cos(turn), 0.36 * height)
    square = (width / 2, 0.36 * height)
    star = (0.72 * width - 0.42 * width * math.cos(turn + 2), 0.78 * height)
    shapes = (
        ((40, 90, 220), _circle(disc, 3 * unit)),
        ((240, 150, 40), _polygon(square, 5.5 * unit, 4, math.pi / 4)),
        ((40, 180, 80), _star(star, 4 * unit, turn)),
    )
    image = Image.fromarray(_background(height, width))
    layers = np.zeros((height, width), np.uint8)
    drawn = Image.fromarray(layers)
    for number, (colour, outline) in enumerate(shapes, 1):
        ImageDraw.Draw(image).polygon(outline, fill=colour)
        ImageDraw.Draw(drawn).polygon(outline, fill=number)
    rgb = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BOX))
    labels = np.asarray(drawn)[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER]
    return Frame(rgb, labels == np.arange(1, 4, dtype=np.uint8)[:, None, None])


def frames(count: int, size: tuple[int, int] = (96, 128)) -> Iterator[Frame]:
    """The first ``count`` frames."""
    return (frame(index, size) for index in range(count))


def box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """The box around a mask that isn't empty: x0, y0, x1, y1, pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def write_folder(path: Path, count: int, size: tuple[int, int] = (96, 128)) -> Path:
    """The film as a folder of PNG, ``0.png`` to ``N.png``."""
    path.mkdir(parents=True)
    for index, made in enumerate(frames(count, size)):
        Image.fromarray(made.rgb).save(path / f"{index}.png")
    return path


def write_video(
    path: Path,
    count: int,
    size: tuple[int, int] = (96, 128),
    *,
    codec: str = "mpeg4",
    rate: Fraction | int = 25,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """The film as a file, by PyAV.

    Args:
        path: its suffix says the container.
        count: of frames.
        size: height and width, pixels, even.
        codec: by FFmpeg's name; ``ffv1`` and ``png`` lose nothing.
        rate: frames per second.
        rotation: degrees by which a player is to turn the frames counterclockwise.
        options: of the codec.
    """
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size[1], size[0]
        stream.pix_fmt = {"ffv1": "bgr0", "png": "rgb24"}.get(codec, "yuv420p")
        if codec == "mpeg4":
            stream.bit_rate = 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for made in frames(count, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(made.rgb, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@lru_cache(4)
def _background(height: int, width: int) -> NDArray[np.uint8]:
    """A soft gradient with a faint grid, the same on every frame."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 150 + 60 * x // width, 160 + 50 * y // height
    grid = ((x // (width // 8) + y // (height // 6)) % 2) * 12
    return np.stack([red + grid, green + grid, 170 + grid], -1).astype(np.uint8)


def _circle(centre: tuple[float, float], radius: float) -> list[tuple[float, float]]:
    return _polygon(centre, radius, 48, 0)


def _polygon(
    centre: tuple[float, float], radius: float, corners: int, turn: float
) -> list[tuple[float, float]]:
    angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
    return [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles]


def _star(centre: tuple[float, float], radius: float, turn: float) -> list[tuple[float, float]]:
    outer, inner = _polygon(centre, radius, 5, turn), _polygon(centre, radius / 2, 5, turn + 0.628)
    return [corner for pair in zip(outer, inner, strict=True) for corner in pair]
