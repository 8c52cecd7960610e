"""Reading a video frame by frame, whatever it comes in."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3_tvm import MissingExtraError
from sam3_tvm.runtime.pictures import image
from sam3_tvm.runtime.video.frames import FramesError
from sam3_tvm.runtime.video.open import open_frames
from tests import video_scenes

COUNT = 50


@pytest.fixture(scope="module")
def truth() -> list[np.ndarray]:
    return [made.rgb for made in video_scenes.frames(COUNT)]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Films without loss, with and without time stamps to seek by, and one with B-frames."""
    folder = tmp_path_factory.mktemp("films")
    return {
        "lossless.mkv": video_scenes.write_video(folder / "lossless.mkv", COUNT, codec="ffv1"),
        "key.mp4": video_scenes.write_video(
            folder / "key.mp4", COUNT, codec="mpeg4", options={"g": "8", "bf": "2"}
        ),
        "raw.m2v": video_scenes.write_video(folder / "raw.m2v", COUNT, codec="mpeg2video"),
    }


def read_all(frames) -> list[np.ndarray]:
    found = []
    try:
        while True:
            found.append(frames.read(len(found)))
    except IndexError:
        return found


def test_a_file_without_loss_gives_each_frame_exactly(films, truth):
    with open_frames(films["lossless.mkv"]) as frames:
        assert frames.size == (96, 128)
        assert frames.fps == 25
        found = read_all(frames)
        assert frames.count == COUNT
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("name", ["lossless.mkv", "key.mp4", "raw.m2v"])
def test_any_frame_is_the_same_in_any_order(films, name):
    with open_frames(films[name]) as frames:
        forward = read_all(frames)
        assert len(forward) == COUNT
        for index in [*range(COUNT - 1, -1, -1), 3, 41, 40, 42, 0, 49, 9]:
            assert np.array_equal(frames.read(index), forward[index]), index


def test_frames_ahead_can_be_jumped_to(films):
    with open_frames(films["key.mp4"]) as frames:
        forward = read_all(frames)
    with open_frames(films["key.mp4"]) as frames:
        for index in (30, 12, 45):
            assert np.array_equal(frames.read(index), forward[index])


def test_an_interrupted_reader_loses_no_frame(films, truth):
    class Interrupted:
        def __init__(self, future):
            self._future = future
            self._interrupts = 1

        def result(self):
            self._interrupts -= 1
            if self._interrupts == 0:
                raise KeyboardInterrupt
            return self._future.result()

    with open_frames(films["lossless.mkv"]) as frames:
        frames.read(3)
        frames._ahead = Interrupted(frames._ahead)
        with pytest.raises(KeyboardInterrupt):
            frames.read(4)
        for index in (4, 5):
            assert np.array_equal(frames.read(index), truth[index])


def test_an_interrupt_at_the_first_frame_leaves_no_thread(films, monkeypatch):
    from sam3_tvm.runtime.video.video_file import VideoFile

    opened = []

    def interrupt(film, index):
        opened.append(film)
        film._ahead = film._pool.submit(next, film._frames, None)
        raise KeyboardInterrupt

    monkeypatch.setattr(VideoFile, "_read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        open_frames(films["key.mp4"])
    (film,) = opened
    assert film._closed
    assert not any(thread.is_alive() for thread in film._pool._threads)


def test_few_decoded_frames_are_kept(tmp_path):
    path = video_scenes.write_video(tmp_path / "x.mp4", 90, (32, 32))
    with open_frames(path) as frames:
        assert len(read_all(frames)) == 90
        assert len(frames._kept) == 32


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_files_rotation_is_applied(tmp_path, rotation, truth):
    try:
        path = video_scenes.write_video(tmp_path / "x.mov", 2, codec="png", rotation=rotation)
    except AttributeError:
        pytest.skip("this PyAV cannot write rotations")
    with open_frames(path) as frames:
        assert np.array_equal(frames.read(1), np.rot90(truth[1], rotation // 90))


def test_a_closed_file_and_one_that_went_away_say_so(tmp_path):
    path = video_scenes.write_video(tmp_path / "film.mp4", 45)
    with open_frames(path) as frames:
        frames.read(40)
        path.unlink()
        # Frames that are still in memory are good, others aren't there any more.
        assert frames.read(40).shape == (96, 128, 3)
        for _ in range(2):
            with pytest.raises(FramesError, match="cannot be read as a video"):
                frames.read(0)
    with pytest.raises(FramesError, match="has been closed"):
        frames.read(40)


FORKS = """
import gc, os, signal, sys
from pathlib import Path
import numpy as np
from sam3_tvm.runtime.video.open import open_frames
from tests import video_scenes

frames, untouched = open_frames(Path(sys.argv[1])), open_frames(Path(sys.argv[1]))
frames.read(3)

def right(*numbers):
    return all(np.array_equal(frames.read(i), video_scenes.frame(i).rgb) for i in numbers)

child = os.fork()
if child == 0:
    signal.alarm(60)
    good = right(3, 4, 20, 2)
    frames.close()
    del untouched  # never used here, and freed
    gc.collect()
    sys.exit(0 if good else 1)
good = right(*range(4, 50))
sys.exit(os.waitpid(child, 0)[1] if good else "the parent's frames are others")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_the_film_on_its_own_and_ends(films):
    root = Path(video_scenes.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, films["lossless.mkv"]],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_may_not_be_listed_says_so(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(FramesError, match=r"cannot be read \(Permission denied\)"):
        open_frames(tmp_path)


def test_a_path_that_may_not_be_looked_at_says_so(tmp_path, monkeypatch):
    with pytest.raises(FramesError, match=r"cannot be read \(File name too long\)"):
        open_frames(tmp_path / ("x" * 300))
    with pytest.raises(FramesError, match="cannot be read"):
        open_frames("x\0.mp4")

    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(FramesError, match=r"cannot be read \(Permission denied\)"):
        open_frames(tmp_path / "film.mp4")


def test_a_picture_that_may_not_be_read_is_told_by_its_number(tmp_path, monkeypatch, truth):
    folder = video_scenes.write_folder(tmp_path / "film", 3)

    def refuse(path, *rest):
        if Path(path).name == "1.png":
            raise PermissionError(13, "Permission denied")
        return open(path, *rest)

    monkeypatch.setattr(image, "open", refuse, raising=False)
    with open_frames(folder) as frames:
        with pytest.raises(FramesError, match=r"frame 1: .*\(Permission denied\)") as raised:
            frames.read(1)
        assert "\n" not in f"{raised.value}"
        assert np.array_equal(frames.read(2), truth[2])


def test_a_folder_comes_in_natural_order(tmp_path, truth):
    folder = video_scenes.write_folder(tmp_path / "film", 12)
    (folder / "notes.txt").write_text("no picture")
    with open_frames(folder) as frames:
        assert (frames.count, frames.size, frames.fps) == (12, (96, 128), None)
        assert np.array_equal(frames.read(10), truth[10])
        assert np.array_equal(frames.read(2), truth[2])
        with pytest.raises(IndexError):
            frames.read(12)


@pytest.mark.parametrize("form", ["list", "array", "pictures"])
def test_sequences_are_read_by_number(truth, form):
    forms = {
        "list": truth[:5],
        "array": np.stack(truth[:5]),
        "pictures": [Image.fromarray(rgb) for rgb in truth[:5]],
    }
    with open_frames(forms[form]) as frames:
        assert frames.count == 5
        for index in (4, 0, 2):
            assert np.array_equal(frames.read(index), truth[index])
        assert open_frames(frames) is frames


def test_an_iterator_is_asked_only_for_what_is_needed(truth):
    given = []

    def camera():
        for rgb in truth[:6]:
            given.append(rgb)
            yield rgb

    frames = open_frames(camera())
    assert (given, frames.count, frames.only_forwards) == ([], None, True)
    assert frames.size == (96, 128)
    assert len(given) == 1
    assert np.array_equal(frames.read(3), truth[3])
    assert np.array_equal(frames.read(3), truth[3])
    assert len(given) == 4
    with pytest.raises(FramesError, match="frame 2 is gone: the iterator is at frame 3"):
        frames.read(2)
    for _ in range(2):
        with pytest.raises(IndexError):
            frames.read(6)
    assert frames.count == 6


def cut(data: bytes) -> bytes:
    return data[: len(data) * 6 // 10]


def broken(data: bytes) -> bytes:
    middle = len(data) // 2
    noise = np.random.default_rng(1).integers(0, 256, 600, np.uint8).tobytes()
    return data[:middle] + noise + data[middle + len(noise) :]


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        ("lossless.mkv", cut, "is cut off: it ends after frame"),
        ("key.mp4", broken, "the file is damaged there"),
    ],
    ids=["cut off", "broken"],
)
def test_damage_is_found_where_it_is(films, tmp_path, name, damage, says):
    path = tmp_path / name
    path.write_bytes(damage(films[name].read_bytes()))
    with open_frames(films[name]) as whole:
        expected = read_all(whole)
    with open_frames(path) as frames:
        good = []
        with pytest.raises(FramesError, match=says) as raised:  # noqa: PT012 - until it raises
            while True:
                good.append(frames.read(len(good)))
        assert 10 < len(good) < COUNT
        assert np.array_equal(good, expected[: len(good)])
        with pytest.raises(FramesError, match=says):
            frames.read(len(good))
        assert np.array_equal(frames.read(3), expected[3])
    assert "\n" not in f"{raised.value}"


def test_frames_of_another_size_are_refused(tmp_path, truth):
    small = video_scenes.frame(0, (64, 80)).rgb
    says = "frame 1 is 80 x 64 px, those before are 128 x 96"
    with pytest.raises(FramesError, match=says):
        open_frames([truth[0], small]).read(1)
    with pytest.raises(FramesError, match=says):
        open_frames(iter([truth[0], small])).read(1)
    parts = [
        video_scenes.write_video(tmp_path / f"{size[0]}.ts", 3, size, codec="mpeg2video")
        for size in ((96, 128), (64, 80))
    ]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    with (
        open_frames(tmp_path / "both.ts") as frames,
        pytest.raises(FramesError, match="80 x 64 px, those before are 128 x 96"),
    ):
        read_all(frames)


def test_what_is_no_video_is_one_line(tmp_path, truth):
    Image.fromarray(truth[0]).save(tmp_path / "still.png")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "1.png").write_text("no picture")
    for source, says in (
        (tmp_path / "still.png", "is a still picture"),
        (tmp_path / "text.mp4", "cannot be read as a video"),
        (tmp_path / "empty.mp4", "cannot be read as a video"),
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path / "folder", "no pictures in this folder"),
        (tmp_path / "bad", "frame 0: .*cannot be read"),
        (truth[0], "a single picture is no video"),
        (Image.fromarray(truth[0]), "a single picture is no video"),
        ([], "has no frames"),
        (b"bytes", "a bytes is no video"),
        (7, "a int is no video"),
    ):
        with pytest.raises(FramesError, match=says) as raised:
            open_frames(source)
        assert "\n" not in f"{raised.value}"
    with pytest.raises(FramesError, match="the iterator: has no frames"):
        open_frames(iter([])).size  # noqa: B018


def test_without_pyav_the_extra_is_named_and_folders_work(tmp_path, monkeypatch, films):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "av":
            raise ModuleNotFoundError("No module named 'av'", name="av")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'sam3-tvm\[video\]'"):
        open_frames(films["key.mp4"])
    with open_frames(video_scenes.write_folder(tmp_path / "film", 1)) as frames:
        assert frames.count == 1


def test_in_a_folder_hidden_names_are_passed_over_and_a_bad_picture_is_named(tmp_path, truth):
    folder = video_scenes.write_folder(tmp_path / "film", 3)
    for name in ("._0.png", ".1.png"):
        (folder / name).write_bytes(b"no picture")
    with open_frames(folder) as frames:
        assert frames.count == 3
        assert np.array_equal(read_all(frames), truth[:3])
    Image.fromarray(truth[0][:40]).save(folder / "2.png")
    with open_frames(folder) as frames, pytest.raises(FramesError) as raised:
        read_all(frames)
    assert "frame 2 (2.png) is 128 x 40 px" in f"{raised.value}"


def test_a_title_in_another_encoding_is_no_fault_of_the_film(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "film.avi"
    with av.open(f"{path}", "w", metadata_encoding="latin-1") as container:
        container.metadata["title"] = "Été"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert b"\xc9t\xe9" in path.read_bytes()
    with open_frames(path) as film:
        assert film.size == (32, 32)


@pytest.mark.parametrize("name", ["list.ffconcat", "list.m3u8", "0123abcd"])
def test_a_list_that_leads_to_another_file_is_no_film(tmp_path, name):
    video_scenes.write_video(tmp_path / "film.mp4", 3)
    text = "ffconcat version 1.0\nfile film.mp4\n"
    if name.endswith("m3u8"):
        text = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfilm.mp4\n#EXT-X-ENDLIST\n"
    (tmp_path / name).write_text(text)
    with pytest.raises(FramesError, match="cannot be read as a video"):
        open_frames(tmp_path / name)
