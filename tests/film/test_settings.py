"""What an interrupted run is known by, and what is said where the next one differs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.errors import UsageError
from sam3_tvm.film.passage import Passage, ShownPrompt
from sam3_tvm.film.settings import differences, settings

SEEN = ShownPrompt(1, 4, mask=Path("seen.png"))
SHOWN = [ShownPrompt(1, 1, points=[(3.0, 4.0)], point_labels=[1]), SEEN]
PASSAGE = Passage(SHOWN, first=1, most=9, forward=True, backward=False)


@pytest.fixture
def asked(folder):
    """The settings of a run through a folder of pictures, but for what is given otherwise."""
    Path("frames").mkdir()
    for index in range(3):
        Image.new("RGB", (9, 7), (index, 0, 0)).save(f"frames/{index}.png")
    Image.new("L", (9, 7), 255).save("seen.png")

    def ask(
        artifact="a",
        video="frames",
        passage=PASSAGE,
        outputs=("x.jsonl", "x.png"),
        fps=None,
        **rest,
    ):
        passed = replace(passage, **rest)
        made = settings(artifact, Path(video), passed, [Path(name) for name in outputs], fps)
        return json.loads(json.dumps(made))  # as a checkpoint keeps it

    return ask


def one_moved(**otherwise) -> list[ShownPrompt]:
    return [replace(SHOWN[0], **otherwise), SEEN]


@pytest.mark.parametrize(
    ("otherwise", "said"),
    [
        ({"artifact": "b"}, "the artifact, which is another or compiled anew"),
        ({"video": "seen.png"}, "the film ({folder}/frames then)"),
        ({"outputs": ["x.jsonl"]}, "the outputs ({folder}/x.jsonl, {folder}/x.png then)"),
        ({"outputs": ["x.png", "x.jsonl"]}, "the outputs ({folder}/x.jsonl, {folder}/x.png then)"),
        ({"fps": 12.5}, "the frames per second (not given then)"),
        ({"most": 3}, "the number of frames (9 then)"),
        ({"most": None}, "the number of frames (9 then)"),
        ({"first": 0}, "the first frame (1 then)"),
        ({"backward": True}, "the direction (forward then)"),
        ({"phrases": ["dog", "a, b"]}, "the phrases (none then)"),
        ({"live": True}, "when results come (late then)"),
        ({"shown": one_moved(points=[(3.0, 5.0)])}, "what is shown of object 1 on frame 1"),
        ({"shown": one_moved(point_labels=[0])}, "what is shown of object 1 on frame 1"),
        ({"shown": one_moved(box=(1, 2, 3, 4))}, "what is shown of object 1 on frame 1"),
        ({"shown": [SEEN]}, "what is shown of object 1 on frame 1 (nothing now)"),
        (
            {"shown": [*SHOWN, ShownPrompt(2, 4, box=(1, 2, 3, 4))]},
            "what is shown of object 4 on frame 2 (nothing then)",
        ),
        (
            {"shown": one_moved(frame=2)},
            "what is shown of object 1 on frame 1 (nothing now) and 1 more",
        ),
        (
            {"shown": [SHOWN[0], ShownPrompt(1, 4, mask=Path("frames/0.png"))]},
            "what is shown of object 4 on frame 1 (the mask: {folder}/seen.png then)",
        ),
    ],
)
def test_what_was_asked_otherwise_is_named(asked, folder, otherwise, said):
    assert differences(asked(), asked()) == []
    assert differences(asked(), asked(**otherwise)) == [said.format(folder=folder)]


def test_what_was_otherwise_before_is_named_in_its_words(asked):
    before = asked(fps=12.5, most=None, backward=True, phrases=["dog", "a, b"], live=True)
    assert differences(before, asked(phrases=["a, b", "dog"])) == [
        "the phrases ('dog', 'a, b' then)",
        "when results come (at once then)",
        "the direction (both ways then)",
        "the number of frames (not given then)",
        "the frames per second (12.5 then)",
    ]


def in_place_of_another(path: Path) -> None:
    """The folder's own time doesn't tell of it."""
    path.write_bytes(path.read_bytes() + b" ")


def of_the_same_size(path: Path) -> None:
    later = path.stat().st_mtime + 1
    os.utime(path, (later, later))


def with_another_name(path: Path) -> None:
    path.rename(path.with_name("01.png"))


@pytest.mark.parametrize("change", [in_place_of_another, of_the_same_size, with_another_name])
def test_a_picture_that_has_changed_makes_another_film(asked, change):
    before, about = asked(), os.stat("frames")
    change(Path("frames/1.png"))
    os.utime("frames", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert differences(before, asked()) == ["the film (its pictures have changed since)"]


def test_pictures_that_come_or_go_make_another_film_and_other_files_do_not(asked):
    before = asked()
    Path("frames/notes.txt").write_text("mine")
    Path("frames/masks").mkdir()
    assert differences(before, asked()) == []
    Path("frames/2.png").unlink()
    assert differences(before, asked()) == ["the film (3 pictures then)"]


def test_files_that_have_changed_are_named(asked):
    Image.fromarray(np.zeros((2, 2), np.uint8)).save("film.png")
    before = asked(video="film.png")
    for name in ("film.png", "seen.png"):
        in_place_of_another(Path(name))
    assert differences(before, asked(video="film.png")) == [
        "the film (film.png has changed since)",
        "what is shown of object 4 on frame 1 (the mask: seen.png has changed since)",
    ]


def test_a_film_that_is_gone_is_one_line(asked):
    with pytest.raises(UsageError, match=r"gone\.mp4: cannot be read \(No such file"):
        asked(video="gone.mp4")
