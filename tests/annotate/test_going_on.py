"""A dataset's folder: interrupted, killed, gone on with, added to."""

from __future__ import annotations

import json
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.annotate import (
    AnnotatedPicture,
    Dataset,
    PictureFailure,
    Unfinished,
    chosen_formats,
)
from sam3_tvm.annotate import dataset as dataset_module
from sam3_tvm.annotate.faults import OtherRun
from tests.annotate.conftest import installed
from tests.annotate.datasets import everything, make
from tests.annotate.hard_masks import NAMES

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning"),  # pycocotools
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def killed(act) -> None:
    """Let a child process act until it kills itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"it ended by itself: {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_picture(number):
    """Killed while this picture is looked at."""

    def arrange(find, patch):
        look = type(find).__call__

        def dying(self, rgb):
            if int(rgb[0, 0, 0]) == number:
                die()
            return look(self, rgb)

        patch.setattr(type(find), "__call__", dying)

    return arrange


def within_line(number):
    """Killed when half of this picture's line is on the disk."""

    def arrange(find, patch):
        write = AnnotatedPicture.to_line
        lines = []

        def dying(self):
            line = write(self)
            lines.append(line)
            if len(lines) == number:
                with next(find.folder.glob("journal.jsonl")).open("ab") as file:
                    file.write(line[: len(line) // 2].encode())
                die()
            return line

        patch.setattr(AnnotatedPicture, "to_line", dying)

    return arrange


def at_header(find, patch):
    """Killed before the journal has its name."""
    patch.setattr(os, "link", die)


def in_format(name):
    """Killed when a format is half written."""

    def arrange(find, patch):
        from sam3_tvm.annotate.formats import base

        rest = {"coco": "json_text", "labelme": "json_text", "yolo": "place"}[name]
        module = __import__(f"sam3_tvm.annotate.formats.{name}", fromlist=[rest])
        calls = []

        def dying(*given, **named):
            calls.append(given)
            return die() if len(calls) == 4 else getattr(base, rest)(*given, **named)

        patch.setattr(module, rest, dying)

    return arrange


def between_folders(find, patch):
    """Killed when an older format is removed, and the new one isn't in its place."""
    patch.setattr(Path, "rename", _die_of_part(Path.rename))


def _die_of_part(rename):
    def dying(self, target):
        return die() if self.name.endswith(".part") else rename(self, target)

    return dying


def at_sheet(find, patch):
    """Killed before the sheet is drawn."""
    patch.setattr(dataset_module, "score_sheet", die)


@forks
@pytest.mark.parametrize(
    "arrange",
    [
        at_header,
        *(at_picture(number) for number in (1, 3, 6)),
        *(within_line(number) for number in (1, 2, 6)),
        *(in_format(name) for name in ("coco", "yolo", "labelme")),
        between_folders,
        at_sheet,
    ],
    ids=[
        *("header", "picture 1", "picture 3", "picture 6", "line 1", "line 2", "line 6"),
        *("coco", "yolo", "labelme", "between folders", "sheet"),
    ],
)
def test_killed_at_any_moment_and_run_again_it_has_the_same_bytes(
    tmp_path, find, pictures, arrange
):
    formats = [one.name for one in installed()]
    make(tmp_path / "whole", find, pictures, formats)
    wanted = everything(tmp_path / "whole")
    folder = tmp_path / "killed"
    find.folder = folder

    def begin():
        with pytest.MonkeyPatch.context() as patch:
            arrange(find, patch)
            make(folder, find, pictures, formats)

    killed(begin)
    make(folder, find, pictures, formats)
    found = everything(folder)
    # labelme's files lead to the pictures from where they lie, which is as deep.
    assert {*found} == {*wanted}
    assert {name for name in wanted if found[name] != wanted[name]} == set()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_no_picture_is_looked_at_twice(tmp_path, find, pictures):
    with Dataset(tmp_path / "set", find, pictures) as dataset:
        for count, _ in enumerate(dataset.run(at_once=1), 1):
            if count == 2:
                break
        assert dataset.done == 2
    found = make(tmp_path / "set", find, pictures)
    assert [one.name for one in found] == [one.name for one in pictures[2:]]
    # The third was at hand when the first run was left, and may have been computed for nobody.
    again = find.seen[2:]
    assert not {*find.seen[:2]} & {*again}
    assert len({*again}) == 4
    assert make(tmp_path / "set", find, pictures) == []
    lines = (tmp_path / "set" / "journal.jsonl").read_bytes().splitlines()
    assert len(lines) == 1 + len(NAMES)


def test_another_format_is_added_without_looking_again(tmp_path, find, pictures):
    make(tmp_path / "set", find, pictures)
    before = everything(tmp_path / "set")
    find.seen.clear()
    make(tmp_path / "set", find, pictures, ["geojson"])
    after = everything(tmp_path / "set")
    assert not find.seen
    assert before.items() < after.items()
    assert any(name.startswith("geojson/") for name in after)


def test_interrupted_it_finishes_what_it_began(tmp_path, find, pictures):
    asked = []

    def interrupted():
        asked.append(None)
        return len(asked) > 3

    with Dataset(tmp_path / "set", find, pictures) as dataset:
        assert len(list(dataset.run(interrupted=interrupted))) == 3
        assert dataset.done == 3
        assert len(dataset.left) == 3


def test_what_cannot_be_read_is_listed_passed_over_and_tried_again(tmp_path, find, pictures):
    broken = pictures[1].path
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    found = make(tmp_path / "set", find, pictures)
    assert [type(one) for one in found].count(PictureFailure) == 1
    summary = json.loads((tmp_path / "set" / "summary.json").read_text())
    assert summary["pictures"] == 5
    (failed,) = summary["failed"]
    assert failed["file_name"] == pictures[1].name
    assert f"{broken}: cannot be read" in failed["error"]
    broken.write_bytes(whole)
    assert [one.name for one in make(tmp_path / "set", find, pictures)] == [pictures[1].name]
    make(tmp_path / "other", find, pictures)
    assert everything(tmp_path / "set") == everything(tmp_path / "other")


def test_a_picture_that_has_changed_is_looked_at_again(tmp_path, find, pictures):
    make(tmp_path / "set", find, pictures)
    Image.fromarray(np.full((24, 31, 3), 5, np.uint8)).save(pictures[0].path, compress_level=0)
    (again,) = make(tmp_path / "set", find, pictures)
    assert again.name == pictures[0].name
    document = json.loads((tmp_path / "set" / "coco" / "annotations.json").read_text())
    assert len(document["images"]) == len(NAMES)
    assert not [one for one in document["annotations"] if one["image_id"] == 1]
    make(tmp_path / "other", find, pictures)
    assert everything(tmp_path / "set") == everything(tmp_path / "other")


def test_where_an_open_file_cannot_be_replaced_lines_lie_as_they_came(
    tmp_path, find, pictures, monkeypatch
):
    pictures[1].path.write_bytes(b"no picture")
    make(tmp_path / "set", find, pictures)
    journal = tmp_path / "set" / "journal.jsonl"
    before = journal.read_bytes()
    Image.fromarray(np.full((24, 31, 3), 5, np.uint8)).save(pictures[1].path)

    def in_use(*_):
        raise PermissionError(13, "The process cannot access the file")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", in_use)
        with Dataset(tmp_path / "set", find, pictures) as dataset:
            assert len([*dataset.run()]) == 1
            dataset._journal.put_in_order(one.name for one in pictures)
            assert len([*dataset]) == len(pictures)
    assert journal.read_bytes().startswith(before)
    assert {path.name for path in journal.parent.glob(".*")} == set()


def test_a_journal_that_was_put_in_order_is_still_one_processs(tmp_path, find, pictures):
    with Dataset(tmp_path / "set", find, pictures) as dataset:
        found = [*dataset.run()]
        dataset._journal.put_in_order(one.name for one in reversed(pictures))
        lines = (tmp_path / "set" / "journal.jsonl").read_bytes().splitlines()[1:]
        assert [json.loads(line)["name"] for line in lines] == [one.name for one in found][::-1]
        with pytest.raises(OtherRun, match="another process is at work"):
            Dataset(tmp_path / "set", find, pictures)
        assert [one for _, one in dataset] == found


def test_what_follows_a_damaged_line_is_found_anew(tmp_path, find, pictures):
    make(tmp_path / "set", find, pictures)
    journal = tmp_path / "set" / "journal.jsonl"
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"\0" * 40 + b"\n", *lines[4:]]))
    assert len(make(tmp_path / "set", find, pictures)) == 4
    assert journal.read_bytes() == whole


def test_what_a_killed_writer_left_is_removed_at_the_start(tmp_path, find, pictures):
    left = tmp_path / "set" / ".cvat.0123abcd.part"
    make(tmp_path / "set", find, pictures)
    left.mkdir()
    (left / "annotations.xml").touch()
    Dataset(tmp_path / "set", find, pictures).__exit__(None, None, None)
    assert not left.exists()


def test_a_full_disk_leaves_what_was_found(tmp_path, find, pictures, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with Dataset(tmp_path / "set", find, pictures) as dataset:
        list(dataset.run())
        monkeypatch.setattr(os, "symlink", full)
        with pytest.raises(Unfinished, match=r"No space left on device\); when that is mended"):
            dataset.write(chosen_formats(["coco", "yolo-detect"]))
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "set").iterdir()} == {"coco", "journal.jsonl"}
    assert make(tmp_path / "set", find, pictures, ["coco", "yolo-detect"]) == []
