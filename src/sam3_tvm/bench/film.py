"""How much memory a long film takes: ``python -m sam3_tvm.bench.film DIR``.

Objects are followed through a made film of any length, and the process's resident memory is read
after every frame. With ``--text`` they are those of phrases, in a film of shapes that come, cross
and leave. Writes the figures as JSON, and a plot.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.drawn_film import drawn_film
from sam3_tvm.errors import Sam3Error
from sam3_tvm.host import resident_bytes
from sam3_tvm.runtime import load
from sam3_tvm.runtime.model import Model
from sam3_tvm.runtime.video.session import TrackSession

__all__ = ["FilmMemory", "draw", "made_film", "main", "measure", "measure_phrases"]

_HEIGHT, _WIDTH = 180, 240
_COLOURS = ((250, 40, 30), (30, 60, 240), (240, 220, 20))

# By then a frame looks back on as many others as ever; at the least 16 frames are needed for that.
_WARM, _NEEDED, _LEAST = 50, 16, 20
# Of fewer frames a slope is noise.
_FOR_SLOPE = 100
# Frames of which the resident memory is printed.
_MARKS = 100, 500, 1000, 2000
# Frames in which a shape crosses the picture of a film by phrase.
_CROSSING = 40


@dataclass(frozen=True)
class FilmMemory:
    """Resident memory of a process that follows objects.

    Attributes:
        checkpoint: the model.
        frames: of the film.
        objects: that were shown; of phrases the most that were remembered at a time.
        seconds: that following them took.
        resident: after each frame, bytes.
        warm: frames before which memory may still grow by design.
        phrases: that objects were found by; empty where they were shown.
        followed: how many objects were remembered after each frame; empty where they were shown.
    """

    checkpoint: str
    frames: int
    objects: int
    seconds: float
    resident: list[int]
    warm: int
    phrases: list[str] = field(default_factory=list)
    followed: list[int] = field(default_factory=list)

    @property
    def slope(self) -> float:
        """Bytes that a frame adds, by least squares over the frames after the warm ones."""
        settled = np.array(self.resident[self.warm :], np.float64)
        return float(np.polyfit(np.arange(len(settled)), settled, 1)[0])

    @property
    def growth(self) -> int:
        """Bytes that were added after the first warm frame, up to the last frame."""
        return self.resident[-1] - self.resident[self.warm]

    def __str__(self) -> str:
        """How memory grew, in words."""
        if self.frames - self.warm < _FOR_SLOPE:
            return f"{self.growth / 2**20:+.1f} MiB after frame {self.warm}"
        return f"{self.slope * 1000 / 1024:+.1f} KiB per 1000 frames"

    @property
    def what(self) -> str:
        """What was followed, in words."""
        if not self.phrases:
            return f"{self.objects} objects"
        phrases = "one phrase" if len(self.phrases) == 1 else f"{len(self.phrases)} phrases"
        return f"up to {self.objects} objects of {phrases}"

    @property
    def marks(self) -> str:
        """Resident memory after some of the frames, in words."""
        marks = [frame for frame in _MARKS if frame <= self.frames]
        return ", ".join(f"{self.resident[m - 1] / 2**20:.1f} MiB after {m} frames" for m in marks)

    def to_json(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {**asdict(self), "slope": self.slope, "growth": self.growth}


def made_film(frames: int) -> Iterator[NDArray[np.uint8]]:
    """Discs that wander over a gradient, uint8 [180, 240, 3] each, made as they are asked for."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    ground = np.stack([y, x, (x + y) // 2], -1).astype(np.uint8)
    for index in range(frames):
        frame = ground.copy()
        for disc, colour in enumerate(_COLOURS):
            across, down = _centre(disc, index)
            frame[np.hypot(y - down, x - across) < 24] = colour
        yield frame


def _centre(disc: int, frame: int) -> tuple[float, float]:
    """Where a disc is on a frame, x and y in pixels."""
    across = (0.5 + 0.35 * math.sin(frame / (23 + 7 * disc) + disc)) * _WIDTH
    return across, (0.5 + 0.3 * math.cos(frame / (31 - 5 * disc))) * _HEIGHT


def measure(artifact: Path, frames: int, objects: int, threads: int | None = None) -> FilmMemory:
    """Follow objects through a made film.

    Args:
        artifact: the folder.
        frames: of the film, 20 or more.
        objects: that are shown on its first frame, 1 to 3.
        threads: that the model computes with.

    Raises:
        Sam3Error: more objects than discs, no artifact for video, or a system that doesn't say
            what memory is resident.
    """
    if not 1 <= objects <= len(_COLOURS):
        raise Sam3Error(f"the film has {len(_COLOURS)} discs to follow, not {objects}")
    _check_readable()
    model = load(artifact, threads=threads)
    with model.track(made_film(frames)) as session:
        for name in range(objects):
            session.add(name, 0, points=[list(_centre(name, 0))])
        sizes, _, seconds = _watch(session)
    return FilmMemory(_checkpoint(model), len(sizes), objects, seconds, sizes, _warm(sizes))


def measure_phrases(
    artifact: Path, frames: int, phrases: Sequence[str], threads: int | None = None
) -> FilmMemory:
    """Follow what phrases name through a drawn film of shapes that come, cross and leave.

    Args:
        artifact: the folder.
        frames: of the film, 20 or more.
        phrases: what is looked for on every frame.
        threads: that the model computes with.

    Raises:
        Sam3Error: no artifact for video, a phrase that is empty, or a system that doesn't say
            what memory is resident.
    """
    _check_readable()
    model = load(artifact, threads=threads)
    with model.track(drawn_film(frames, _CROSSING)) as session:
        for phrase in phrases:
            session.add_text(phrase)
        sizes, followed, seconds = _watch(session)
    return FilmMemory(
        _checkpoint(model),
        len(sizes),
        max(followed, default=0),
        seconds,
        sizes,
        _warm(sizes),
        [*phrases],
        followed,
    )


def _watch(session: TrackSession) -> tuple[list[int], list[int], float]:
    """Pass a film: resident bytes and the number of objects after each frame, and the seconds."""
    sizes: list[int] = []
    followed: list[int] = []
    start = time.perf_counter()
    for result in session.propagate():
        # Masks are made, as for writing them down.
        result.masks.any()
        sizes.append(resident_bytes() or 0)
        followed.append(len(session.objects))
        if len(sizes) % 100 == 0:
            print(f"{len(sizes)} frames, {sizes[-1] / 2**20:.1f} MiB", file=sys.stderr)
    return sizes, followed, time.perf_counter() - start


def _check_readable() -> None:
    if resident_bytes() is None:
        raise Sam3Error(
            "this system doesn't tell how much memory a process holds: measure on Linux"
        )


def _checkpoint(model: Model) -> str:
    return model.manifest.source.checkpoint


def _warm(sizes: Sequence[int]) -> int:
    return min(_WARM, max(_NEEDED, len(sizes) // 2))


def draw(memory: FilmMemory, path: Path) -> None:
    """Resident memory over the frames, as a PNG."""
    # The object interface: no window system, no global state.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.8), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(np.array(memory.resident) / 2**20, color="#0b6e4f", linewidth=1.2)
    axes.set_ylim(0, 1.25 * max(memory.resident) / 2**20)
    if memory.followed:
        beside = axes.twinx()
        beside.plot(memory.followed, color="#c8553d", linewidth=1.0)
        beside.set_ylim(0, 4 * max(1, *memory.followed))
        beside.set_ylabel("objects remembered", color="#c8553d")
    axes.set_xlabel("frame")
    axes.set_ylabel("resident memory, MiB")
    axes.set_title(
        f"{memory.checkpoint}: {memory.what}, {memory.frames} frames, {memory}",
        fontsize=11,
    )
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m sam3_tvm.bench.film", description=__doc__)
    parser.add_argument("artifact", type=Path, help="the folder of an artifact for video")
    parser.add_argument("--frames", type=int, default=2000, help="of the film (2000)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--objects", type=int, default=3, choices=(1, 2, 3), help="followed (3)")
    what.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="PHRASE",
        help="follow what this names, in a film of shapes that come, cross and leave; repeatable",
    )
    parser.add_argument("--threads", type=int, help="that the model computes with")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("film-memory"), help="name of both files"
    )
    given = parser.parse_args(arguments)
    if given.frames < _LEAST:
        parser.error(f"--frames takes {_LEAST} or more")
    # Before the minutes that it takes.
    name = given.output.name
    if name in ("", ".."):
        parser.error(
            f"{given.output}: names a folder, not files; try {given.output / 'film-memory'}"
        )
    table, plot = (given.output.with_name(f"{name}{suffix}") for suffix in (".json", ".png"))
    if not os.path.isdir(table.absolute().parent):
        parser.error(f"{given.output}: its folder does not exist")
    if found := [path for path in (table, plot) if os.path.isdir(path)]:
        parser.error(f"{found[0]}: is a folder")
    try:
        import matplotlib  # noqa: F401 - the plot's
    except ImportError:
        parser.error("the plot takes matplotlib: pip install matplotlib")
    try:
        if given.text:
            memory = measure_phrases(given.artifact, given.frames, given.text, given.threads)
        else:
            memory = measure(given.artifact, given.frames, given.objects, given.threads)
    except Sam3Error as error:
        parser.error(str(error))
    table.write_text(json.dumps(memory.to_json()) + "\n", encoding="utf-8")
    draw(memory, plot)
    mib, rate = 2**20, memory.frames / memory.seconds
    print(
        f"{memory.frames} frames, {memory.what}: "
        f"{memory.resident[memory.warm] / mib:.1f} MiB at frame {memory.warm}, "
        f"{memory.resident[-1] / mib:.1f} at the end, at most {max(memory.resident) / mib:.1f}; "
        f"{memory}; "
        + (f"{rate:.1f} frames a second" if rate >= 1 else f"{1 / rate:.1f} seconds a frame")
        + (f"\n{memory.marks}" if memory.marks else "")
        + f"\nwrote {table} and {plot}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
