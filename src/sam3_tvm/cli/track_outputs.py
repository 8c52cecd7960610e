"""What ``track`` writes, frame by frame: run-length encoded lines, masks, a contact sheet."""

from __future__ import annotations

import errno
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.cli.files import OutputFile
from sam3_tvm.cli.pictures import OutputFolder
from sam3_tvm.cli.prompts import UsageError
from sam3_tvm.cli.track_frame import TrackedFrame

__all__ = [
    "ContactSheet",
    "JsonLines",
    "MaskFolder",
    "Output",
    "State",
    "open_outputs",
    "parse_output",
]

#: What an output needs to go on, as arrays by name; kept in checkpoints.
State = dict[str, NDArray[Any]]


class Output(ABC):
    """One of the things that are written. Frames come in ascending order.

    Made before anything is loaded, so that a path that cannot be written is refused early; files
    appear from :meth:`start` on.
    """

    path: Path

    @abstractmethod
    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        """Begin, or go on.

        Args:
            fps: frames per second of the film, where it is known.
            parts: a folder for what isn't finished, which the caller removes.
            state: empty to begin anew, else what :meth:`state` gave in an earlier process.
        """

    @abstractmethod
    def write(self, frame: TrackedFrame) -> None:
        """Take the next frame."""

    def state(self) -> State:
        """Bring what was taken to the disk, and give what is needed to go on from here."""
        return {}

    def finish(self) -> None:
        """Make it whole with what was taken; called once, also when the command is cut short."""
        return  # for what is whole after every frame

    def abandon(self) -> None:
        """Close files after a failure, without writing more."""
        return  # for what holds none


def open_outputs(
    paths: Sequence[Path], video: Path, fps: float | None, resume: bool
) -> list[Output]:
    """The outputs, none of which may be the film or lie in it, nor in what is removed at the end.

    Args:
        paths: as :func:`parse_output` takes them.
        video: the film.
        fps: of the video that is written, where it isn't to be the film's.
        resume: whether what is there is to be gone on with.

    Raises:
        UsageError: one that cannot be written, or frames per second that no film has.
    """
    from sam3_tvm.cli.track_checkpoint import WorkFolder
    from sam3_tvm.cli.track_video import SLOWEST_FPS

    if fps is not None and not (math.isfinite(fps) and SLOWEST_FPS <= fps <= 1000):
        raise UsageError(f"--fps {fps:g}: frames per second lie between {SLOWEST_FPS} and 1000")
    source = video.resolve()
    resolved = [path.resolve() for path in paths]
    for path, place in zip(paths, resolved, strict=True):
        if place == source or (os.path.isdir(source) and place.parent == source):
            raise UsageError(f"-o {path}: would write over or into {video}; choose another place")
        if not place.name:
            raise UsageError(f"-o {path}: is the root of the file system; name a folder in it")
        if resolved.count(place) > 1:
            raise UsageError(f"-o {path}: is named twice")
        unfinished = WorkFolder(resolved[0], {}).path
        if unfinished in (place, *place.parents):
            raise UsageError(
                f"-o {path}: {unfinished.name} is for unfinished work, and goes when all is done; "
                "choose another place"
            )
    return [parse_output(path, fps, resume) for path in paths]


def parse_output(path: Path, fps: float | None = None, resume: bool = False) -> Output:
    """The output that a path asks for by its form.

    Args:
        path: ``NAME.mp4``, ``NAME.jsonl``, ``NAME.png`` or a folder.
        fps: of the video that is written, where it isn't to be the film's.
        resume: whether what is there is to be gone on with.

    Raises:
        UsageError: another suffix, a place that may not be written to, or a folder with masks
            of another run.
    """
    from sam3_tvm.cli.track_video import OverlayVideo

    suffix = path.suffix.lower()
    try:
        if path.is_dir() or not suffix:
            return MaskFolder(path, resume)
        if suffix == ".mp4":
            return OverlayVideo(path, fps)
        if suffix == ".jsonl":
            return JsonLines(path)
        if suffix == ".png":
            return ContactSheet(path)
    except OSError as error:  # a name that is too long, or a folder that may not be looked into
        raise UsageError(f"-o {path}: cannot be written ({error.strerror or error})") from error
    raise UsageError(
        f"-o {path}: not a form that is written; give NAME.mp4 for a video, NAME.jsonl for "
        "run-length encoded masks, NAME.png for a contact sheet, or a folder for masks as PNG"
    )


class JsonLines(Output):
    """A line of JSON for each frame, on the disk as soon as the frame is done."""

    def __init__(self, path: Path) -> None:
        self.path = path
        OutputFile(path, "-o")
        if path.exists() and not os.access(path, os.W_OK):
            raise UsageError(f"-o {path}: may not be written to; choose another file")
        self._file: Any = None
        self._fps: float | None = None
        self._length = 0

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._fps = fps
        try:
            # Unbuffered, so that nothing is left to be written when a line couldn't be.
            self._file = open(self.path, "r+b" if state else "wb", buffering=0)  # noqa: SIM115
            if state:
                # Lines after the checkpoint are of frames that are done again.
                self._length = int(state["length"])
                if self._file.seek(0, os.SEEK_END) < self._length:
                    raise UsageError(
                        f"{self.path}: is shorter than the interrupted run left it; run the "
                        "command without --resume"
                    )
                self._file.truncate(self._length)
                self._file.seek(0, os.SEEK_END)
        except FileNotFoundError as error:
            if not state:
                raise _unwritable(self.path, error) from error
            raise UsageError(f"{self.path}: is gone; run the command without --resume") from error
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write(self, frame: TrackedFrame) -> None:
        line = frame.line(self._fps).encode() + b"\n"
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._length)  # half a line would spoil the others
            raise _unwritable(self.path, error) from error
        self._length += len(line)

    def state(self) -> State:
        return {"length": np.array(self._length)}

    def finish(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def abandon(self) -> None:
        if self._file is not None:
            self._file.close()


class MaskFolder(Output):
    """A PNG for each object on each frame, ``000012-1.png``: white where the object is."""

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self._folder: OutputFolder | None = None
        if path.exists() and not path.is_dir():
            raise UsageError(f"-o {path}: is a file; name a new folder, or NAME.mp4, NAME.jsonl")
        pattern = re.compile(r"[0-9]{6,}-[0-9]+\.png")
        place = path.absolute()
        while not place.exists():
            place = place.parent
        if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
            raise UsageError(f"-o {path}: may not be written to; choose another folder")
        try:
            before = [p.name for p in path.iterdir()] if path.is_dir() else []
        except OSError as error:
            raise UsageError(f"-o {path}: cannot be read ({error.strerror})") from error
        if not resume and any(pattern.fullmatch(name) for name in before):
            raise UsageError(
                f"-o {path}: holds masks of another run, which would get mixed up with new "
                "ones; choose another folder"
            )

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._folder = OutputFolder(self.path, [])

    def write(self, frame: TrackedFrame) -> None:
        from PIL import Image

        assert self._folder is not None, "started"
        for name, mask in zip(frame.objects, frame.masks, strict=True):
            picture = Image.fromarray(mask.astype(np.uint8) * 255)
            self._folder.write(picture, self.path / f"{frame.index:06d}-{name}.png")

    def state(self) -> State:
        return {"started": np.array(True)}


class ContactSheet(Output):
    """Up to twelve frames with overlays on one picture, evenly spaced over what was passed.

    How many frames will come isn't known before, so every n-th is kept small, and n doubles when
    there are too many.
    """

    _COLUMNS, _CELLS = 4, 12
    _MOST = 4 * _CELLS
    _WIDTH = 360

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = OutputFile(path, "-o")
        self._seen = 0
        self._every = 1
        self._kept: list[tuple[int, NDArray[np.uint8]]] = []
        # The latest frame, made small when that is asked for.
        self._latest: TrackedFrame | tuple[int, NDArray[np.uint8]] | None = None

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        if not state:
            return
        self._seen, self._every = int(state["seen"]), int(state["every"])
        self._kept = list(zip(state["frames"].tolist(), state["thumbnails"], strict=True))
        *self._kept, self._latest = self._kept

    def write(self, frame: TrackedFrame) -> None:
        if self._seen % self._every == 0:
            self._kept.append(self._small(frame))
        if len(self._kept) > self._MOST:
            self._kept = self._kept[::2]
            self._every *= 2
        self._seen += 1
        self._latest = frame

    def state(self) -> State:
        kept = [*self._kept, *self._last()]
        return {
            "seen": np.array(self._seen),
            "every": np.array(self._every),
            "frames": np.array([index for index, _ in kept]),
            "thumbnails": np.stack([picture for _, picture in kept]),
        }

    def finish(self) -> None:
        kept = dict([*self._kept, *self._last()])
        frames = list(kept)
        if not frames:
            return
        chosen = np.unique(np.linspace(0, len(frames) - 1, self._CELLS).round().astype(int))
        sheet = _grid([(frames[i], kept[frames[i]]) for i in chosen], self._COLUMNS)
        self._file.write(lambda path: sheet.save(path, format="PNG"))

    def _last(self) -> list[tuple[int, NDArray[np.uint8]]]:
        if isinstance(self._latest, TrackedFrame):
            self._latest = self._small(self._latest)
        return [] if self._latest is None else [self._latest]

    def _small(self, frame: TrackedFrame) -> tuple[int, NDArray[np.uint8]]:
        image = frame.overlay.copy()
        image.thumbnail((self._WIDTH, 2 * self._WIDTH))
        return frame.index, np.asarray(image)


def _grid(cells: Sequence[tuple[int, NDArray[np.uint8]]], columns: int) -> Any:
    """Pictures of one size in rows, their frames' numbers below."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = cells[0][1].shape[:2]
    gap = 8
    text = max(11, width // 22)
    columns = min(columns, len(cells))
    rows = -(-len(cells) // columns)
    step_x, step_y = width + gap, height + gap + 2 * text
    sheet = Image.new("RGB", (columns * step_x + gap, rows * step_y + gap), (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(text)
    for place, (index, picture) in enumerate(cells):
        x, y = gap + place % columns * step_x, gap + place // columns * step_y
        sheet.paste(Image.fromarray(picture), (x, y))
        draw.text((x, y + height + text // 4), f"frame {index}", fill=(40, 40, 40), font=font)
    return sheet


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"{path}: cannot be written ({error.strerror or error})")
