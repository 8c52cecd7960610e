"""Which stream of a file is its film, which way up its frames are shown, and how long it lasts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from sam3_tvm.runtime.video.frames import FramesError
from sam3_tvm.runtime.video.open import open_frames
from tests import video_scenes

av = pytest.importorskip("av")

SIZE = (32, 48)
TRUTH = [made.rgb for made in video_scenes.frames(25, SIZE)]


def write(path, *, matrix=None, sound=0.0, late=0, codec="mpeg4", cover=False):
    """A film of a second, with seconds of sound, a second ``late`` in its file, or a cover."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width, picture.height, picture.pix_fmt = 16, 16, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
        if matrix is not None:
            a, b, c, d = (value << 16 for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        heard = container.add_stream("mp2", rate=44100) if sound else None
        if picture is not None:
            small = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            container.mux(picture.encode(small.reformat(format="yuvj420p")))
            container.mux(picture.encode(None))
        for index, rgb in enumerate(TRUTH):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = index + 25 * late, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        for place in range(int(sound * 44100) // 1152 if heard else 0):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 2304), np.int16), layout="stereo")
            samples.sample_rate, samples.pts = 44100, place * 1152
            container.mux(heard.encode(samples))
        if heard:
            container.mux(heard.encode(None))
    return path


def count(path) -> int:
    with open_frames(path) as frames:
        number = 0
        try:
            while True:
                frames.read(number)
                number += 1
        except IndexError:
            return number


@pytest.mark.parametrize(
    "matrix",
    [(a, 0, 0, d) for a in (1, -1) for d in (1, -1)]
    + [(0, b, c, 0) for b in (1, -1) for c in (1, -1)],
)
def test_a_display_matrix_is_applied_whole(tmp_path, matrix):
    if not hasattr(av.video.stream.VideoStream, "set_display_matrix"):
        pytest.skip("this PyAV cannot write display matrices")
    path = write(tmp_path / "film.mov", matrix=matrix, codec="png")
    with open_frames(path) as frames:
        shown = frames.read(0)
    a, b, c, d = matrix
    height, width = SIZE
    q, p = np.mgrid[:height, :width]
    x, y = a * p + c * q, b * p + d * q
    wanted = np.zeros((np.ptp(y) + 1, np.ptp(x) + 1, 3), np.uint8)
    wanted[y - y.min(), x - x.min()] = TRUTH[0]
    np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize("suffix", ["wmv", "mkv", "avi", "mp4", "mpg", "ts", "nut"])
@pytest.mark.parametrize(("sound", "late"), [(3.0, 0), (0.0, 2)], ids=["sound", "late"])
def test_a_whole_film_is_whole_however_long_the_file_is(tmp_path, suffix, sound, late):
    codec = "wmv2" if suffix == "wmv" else "mpeg2video" if suffix in ("mpg", "ts") else "mpeg4"
    path = write(tmp_path / f"film.{suffix}", sound=sound, late=late, codec=codec)
    assert count(path) >= 25  # AVI repeats the first while it waits


@pytest.mark.parametrize(
    ("suffix", "codec"), [("wmv", "wmv2"), ("mkv", "mpeg4"), ("flv", "flv1"), ("avi", "mpeg4")]
)
@pytest.mark.parametrize("late", [0, 2])
def test_a_film_that_is_cut_off_is_told_from_a_whole_one(tmp_path, suffix, codec, late):
    path = write(tmp_path / f"film.{suffix}", late=late, codec=codec)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FramesError, match="cut off"):
        count(path)


def test_a_cover_is_no_film(tmp_path):
    path = write(tmp_path / "film.mp4", cover=True)
    with open_frames(path) as frames:
        assert frames.size == SIZE
