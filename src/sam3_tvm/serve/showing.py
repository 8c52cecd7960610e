"""Films as one looks at them: single frames, and the film with what was found drawn on it."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.film.frame import from_record
from sam3_tvm.film.outputs.video import OverlayVideo
from sam3_tvm.runtime.video.frames import Frames, beyond
from sam3_tvm.runtime.video.open import open_frames
from sam3_tvm.serve.films import Film, Films, unplaced
from sam3_tvm.serve.forms.asked import TrackLine
from sam3_tvm.serve.problems import ClientLeft, Problem

__all__ = ["drawn_film", "frame_jpeg"]

_QUALITY = 90


def frame_jpeg(film: Film, index: int) -> bytes:
    """A frame as a JPEG.

    Raises:
        Problem: the film has no such frame (404), or it cannot be read (422).
    """
    with unplaced(film.path), open_frames(film.path) as frames:
        rgb = _read(frames, index, 404)
    made = io.BytesIO()
    Image.fromarray(rgb).save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()


def drawn_film(
    film: Film, lines: Iterable[bytes], films: Films, stopped: Callable[[], bool]
) -> BinaryIO:
    """The frames that lines tell of, as an MP4 with masks drawn on them.

    Args:
        film: that they were found in.
        lines: as following the film gave them, by ascending frames.
        films: where it is kept.
        stopped: whether nobody waits for it any more; asked between frames.

    Returns:
        The file, open at its beginning; it is gone when it is closed.

    Raises:
        Problem: lines that are none of this film's (422), or nobody waits.
        MissingExtraError: PyAV isn't installed.
    """
    with (
        films.work_folder() as folder,
        unplaced(film.path),
        open_frames(film.path) as frames,
    ):
        output = OverlayVideo(Path(folder) / "film.mp4", None)
        output.start(frames.fps, Path(folder), {})
        try:
            for line in _checked(lines, film.size):
                if stopped():
                    raise ClientLeft
                output.write(from_record(line.model_dump(), _read(frames, line.frame, 422)))
            output.finish()
        except BaseException:  # whatever it is, it goes on when files are closed
            output.abandon()
            raise
        if not output.path.exists():
            raise Problem(422, "no lines were sent: give those that following the film gave")
        made = tempfile.TemporaryFile()  # noqa: SIM115 - whoever gets it closes it
        with output.path.open("rb") as file:
            shutil.copyfileobj(file, made)
    made.seek(0)
    return made


def _read(frames: Frames, index: int, status: int) -> NDArray[np.uint8]:
    try:
        return frames.read(index)
    except IndexError:
        raise Problem(status, beyond(index, frames)) from None


def _checked(lines: Iterable[bytes], size: tuple[int, int]) -> Iterator[TrackLine]:
    last = -1
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        with suppress(ValueError):  # pydantic's are such
            read = TrackLine.model_validate_json(line)
            if read.frame > last and all(one.segmentation.cover(size) for one in read.objects):
                last = read.frame
                yield read
                continue
        raise Problem(
            422, f"line {number}: is none that following this film gave, or not in the film's order"
        )
