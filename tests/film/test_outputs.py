"""The outputs of a film by themselves: what they keep, and what they refuse."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from sam3_tvm.errors import UsageError
from sam3_tvm.film.checkpoint import Spool
from sam3_tvm.film.frame import from_line, to_line
from sam3_tvm.film.outputs import sheet
from sam3_tvm.film.outputs.json_lines import JsonLines
from sam3_tvm.film.outputs.opening import parse_output
from sam3_tvm.film.outputs.sheet import ContactSheet
from sam3_tvm.runtime.pictures.masks import LazyMasks
from sam3_tvm.runtime.video.open import open_frames
from sam3_tvm.runtime.video.result import FrameResult
from tests import video_scenes


def tracked(index: int) -> FrameResult:
    rgb = np.full((6, 8, 3), index, np.uint8)
    masks = LazyMasks((6, 8), None, made=np.ones((1, 6, 8), np.bool_))
    return FrameResult(index, [1], np.array([0.5], np.float32), masks, rgb)


def test_a_contact_sheet_ends_in_the_last_frame_also_when_it_was_gone_on_with(folder, monkeypatch):
    cells = []
    grid = sheet._grid
    monkeypatch.setattr(
        sheet, "_grid", lambda of, n: [cells.append([i for i, _ in of]), grid(of, n)][1]
    )
    whole = ContactSheet(folder / "whole.png")
    whole.start(25, folder, {})
    for index in range(60):
        whole.write(tracked(index))
    # A checkpoint may come on any frame, and after the last one nothing may come.
    states = [whole.state()]
    whole.finish()
    assert cells[0][0] == 0
    assert cells[0][-1] == 59
    half = ContactSheet(folder / "half.png")
    half.start(25, folder, {})
    for index in range(36):
        half.write(tracked(index))
    states.append(half.state())
    for state in states:
        again = ContactSheet(folder / "again.png")
        again.start(25, folder, state)
        for index in range(int(state["seen"]), 60):
            again.write(tracked(index))
        again.finish()
    assert cells[1] == cells[2] == cells[0]
    assert (folder / "again.png").read_bytes() == (folder / "whole.png").read_bytes()


def test_lines_that_were_cut_are_not_gone_on_with(folder):
    path = folder / "x.jsonl"
    first = JsonLines(path)
    first.start(25, folder, {})
    first.write(tracked(0))
    state = first.state()
    first.finish()
    path.write_bytes(path.read_bytes()[:-5])
    before = path.read_bytes()
    again = JsonLines(path)
    with pytest.raises(UsageError, match="is shorter than the interrupted run left it"):
        again.start(25, folder, state)
    again.abandon()
    assert path.read_bytes() == before


def test_older_lines_stay_until_the_first_new_one(folder, monkeypatch):
    (folder / "real.jsonl").write_text("old\n")
    (folder / "x.jsonl").symlink_to("real.jsonl")
    given_up, output = JsonLines(folder / "x.jsonl"), JsonLines(folder / "x.jsonl")
    given_up.start(25, folder, {})
    given_up.abandon()
    assert (folder / "real.jsonl").read_text() == "old\n"
    output.start(25, folder, {})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(UsageError, match=r"x.jsonl: cannot be written \(full\)"):
        output.write(tracked(0))
    assert (folder / "real.jsonl").read_text() == "old\n"
    monkeypatch.undo()
    output = JsonLines(folder / "x.jsonl")
    output.start(25, folder, {})
    output.write(tracked(0))
    output.finish()
    assert (folder / "x.jsonl").is_symlink()
    assert (folder / "real.jsonl").read_text().startswith('{"frame": 0')
    assert {p.name for p in folder.iterdir()} == {"real.jsonl", "x.jsonl"}


def write_many(output: JsonLines, count: int) -> None:
    for index in range(count):
        output.write(tracked(index % 256))


@contextmanager
def small_files():
    """In the block files of this process may grow to a kilobyte: in a test's alone, as pytest's own
    output may be a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_lines_that_may_not_grow_further_stay_whole_and_say_so(folder):
    path = folder / "x.jsonl"
    path.write_text("older")
    output = JsonLines(path)
    output.start(25, folder, {})
    said = r"x.jsonl: cannot be written \(File too large\)"
    with small_files(), pytest.raises(UsageError, match=said):
        write_many(output, 100)
    output.abandon()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["frame"] for line in lines] == list(range(len(lines)))
    assert len(lines) > 1


def test_older_lines_stay_where_not_one_may_be_written(folder):
    path = folder / "x.jsonl"
    path.write_text("older")
    output = JsonLines(path)
    output.start(25, folder, {})
    many = FrameResult(
        0,
        list(range(99)),
        np.ones(99, np.float32),
        LazyMasks((6, 8), None, made=np.ones((99, 6, 8), np.bool_)),
        np.zeros((6, 8, 3), np.uint8),
    )
    said = r"x.jsonl: cannot be written \(File too large\)"
    with small_files(), pytest.raises(UsageError, match=said):
        output.write(many)
    assert path.read_text() == "older"
    assert list(folder.iterdir()) == [path]


def test_lines_to_a_pipe_that_nobody_empties_are_one_line(folder):
    os.mkfifo(folder / "x.jsonl")
    reader = os.open(folder / "x.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    output = JsonLines(folder / "x.jsonl")
    output.start(25, folder, {})
    os.set_blocking(output._file.fileno(), False)
    with pytest.raises(UsageError, match=r"cannot be written \(Resource temporarily unavail"):
        write_many(output, 10_000)
    output.abandon()
    os.close(reader)


def test_lines_that_are_gone_are_not_gone_on_with(folder):
    output = JsonLines(folder / "x.jsonl")
    with pytest.raises(UsageError, match=r"is gone$"):
        output.start(25, folder, {"length": np.array(9)})
    assert list(folder.iterdir()) == []


def test_lines_are_refused_where_they_may_not_be_written(folder, monkeypatch):
    path = folder / "x.jsonl"
    path.write_text("older")
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: p != path and access(p, mode))
    with pytest.raises(UsageError, match=r"x\.jsonl: may not be written to"):
        parse_output(path)
    assert path.read_text() == "older"
    monkeypatch.setattr(os, "access", lambda p, mode: p != folder and access(p, mode))
    with pytest.raises(UsageError, match=r"x\.jsonl: its folder may not be written to"):
        parse_output(path)
    assert path.read_text() == "older"


def test_lines_that_turn_out_not_to_be_writable_are_one_line(folder):
    path = folder / "x.jsonl"
    path.symlink_to(folder / "none" / "x.jsonl")
    (folder / "none").mkdir()
    output = parse_output(path)
    (folder / "none").rmdir()
    with pytest.raises(UsageError, match=r"x.jsonl: cannot be written \(No such file"):
        output.start(25, folder, {})
    output.abandon()


def test_a_folder_below_a_file_is_refused_before_anything_is_made(folder):
    (folder / "file").write_text("mine")
    with pytest.raises(UsageError, match="may not be written to"):
        parse_output(folder / "file" / "masks")


def test_a_spool_gives_frames_back_from_the_last(folder):
    with Spool(folder / "spool") as spool:
        for index in (7, 6, 5):
            spool.add(tracked(index))
        found = [from_line(line, tracked(n).rgb) for n, line in reversed(spool)]
    assert [frame.index for frame in found] == [5, 6, 7]
    assert found[0].masks.all()
    assert not (folder / "spool").exists()


def test_a_line_names_the_phrase_of_objects_that_one_found_alone():
    rgb = np.zeros((6, 8, 3), np.uint8)
    masks = LazyMasks((6, 8), None, made=np.ones((2, 6, 8), np.bool_))
    frame = FrameResult(3, [1, 4], np.array([0.5, 0.25], np.float32), masks, rgb, [None, "dog"])
    shown, found = json.loads(to_line(frame, 25))["objects"]
    assert list(shown) == [key for key in found if key != "phrase"]
    assert found["phrase"] == "dog"
    again = from_line(to_line(frame, None), rgb)
    assert (again.objects, again.phrases) == ([1, 4], [None, "dog"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_spool_on_a_full_disk_is_one_line(folder):
    (folder / "spool").symlink_to("/dev/full")
    with (
        pytest.raises(UsageError, match=r"cannot be written \(No space left on device\)"),
        Spool(folder / "spool") as spool,
    ):
        spool.add(tracked(0))


FORKS = """
import gc, os, signal, sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from sam3_tvm.film.outputs.video import OverlayVideo
from tests import video_scenes

folder = Path(sys.argv[1])
ONES = np.ones((8, 8, 1), np.uint8)  # enough rows for the encoder to have threads
film = OverlayVideo(folder / "film.mp4", 25)
film.start(25, folder, {})

def write(*numbers):
    for number in numbers:
        film.write(SimpleNamespace(overlay=lambda: np.kron(video_scenes.frame(number).rgb, ONES)))

write(*range(30))
child = os.fork()
if child == 0:
    signal.alarm(60)
    del film
    gc.collect()
    sys.exit(0)
status = os.waitpid(child, 0)[1]
write(*range(30, 40))
film.finish()
sys.exit(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_a_film_is_written_ends_and_leaves_it_whole(tmp_path):
    root = Path(video_scenes.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, tmp_path],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with open_frames(tmp_path / "film.mp4") as frames:
        for index in range(40):
            found = frames.read(index)[::8, ::8].astype(int)
            difference = np.abs(found - video_scenes.frame(index).rgb)
            assert difference.mean() < 6
        assert frames.count == 40
