"""A dataset's folder: what is in it, and where none can be."""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from PIL import Image

from sam3_tvm.annotate import (
    Dataset,
    OtherRun,
    Refused,
    annotate,
    check_place,
    chosen_formats,
    collect,
    seconds_per_picture,
)
from sam3_tvm.annotate import run as run_module
from sam3_tvm.annotate.dataset import done_before
from sam3_tvm.annotate.sheet import lowest_scores
from sam3_tvm.runtime.pictures.image import read_picture
from tests.annotate.datasets import everything, make
from tests.annotate.hard_masks import NAMES

# pycocotools
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")


def test_results_come_as_they_are_found_and_in_order(find, pictures):
    stream = annotate(find, pictures, at_once=2)
    assert next(stream).name == pictures[0].name
    assert len(find.seen) <= 4
    rest = list(stream)
    assert [one.name for one in rest] == [one.name for one in pictures[1:]]


def test_what_is_found_is_the_same_however_many_are_worked_on(find, pictures):
    assert list(annotate(find, pictures, at_once=1)) == list(annotate(find, pictures, at_once=5))


def test_the_next_pictures_are_read_while_those_at_hand_are_looked_at(find, pictures, monkeypatch):
    read = []
    both = threading.Event()

    def reading(path):
        read.append(path)
        if len(read) == 3:
            both.set()
        return read_picture(path)

    class Waiting:
        categories = find.categories

        def __call__(self, rgb):
            assert both.wait(20), "nothing is read beside the first"
            return find(rgb)

    monkeypatch.setattr(run_module, "read_picture", reading)
    assert next(annotate(Waiting(), pictures, at_once=1)).name == pictures[0].name


def test_interrupted_what_was_only_read_is_left(find, pictures, monkeypatch):
    asked = []
    cancelled = threading.Event()
    cancel = Future.cancel

    def telling(self):
        done = cancel(self)
        cancelled.set()
        return done

    class Waiting:
        categories = find.categories

        def __call__(self, rgb):
            assert not find.seen or cancelled.wait(20), "nothing that was read is left"
            return find(rgb)

    def interrupted():
        asked.append(None)
        return len(asked) > 3

    monkeypatch.setattr(Future, "cancel", telling)
    # The first is found, the second is worked on, and the third is read.
    assert len([*annotate(Waiting(), pictures, 1, interrupted)]) == 2


def test_other_settings_and_other_pictures_are_refused_by_name(tmp_path, find, pictures):
    make(tmp_path / "set", find, pictures)
    before = everything(tmp_path / "set")
    find.told = {"the threshold": 0.25}
    with pytest.raises(OtherRun, match=r"other settings: the threshold \(0.5 then\)$"):
        Dataset(tmp_path / "set", find, pictures)
    find.told = {"the threshold": 0.5}
    with pytest.raises(OtherRun, match=r"the pictures \(6 then, 5 now\)$"):
        Dataset(tmp_path / "set", find, pictures[1:])
    with pytest.raises(OtherRun, match=r"the pictures \(others\)$"):
        Dataset(tmp_path / "set", find, pictures[::-1])
    assert everything(tmp_path / "set") == before


@pytest.mark.parametrize(
    "header",
    [
        *(b"", b"{}\n", b"[1]\n", b"\xff\n", b'{"form":9,"set', b"null\n", b"[" * 100_000),
        b'{"form":1,"settings":{},"pictures":5}\n',
        b'{"form":1,"settings":[],"pictures":[]}\n',
    ],
)
def test_a_damaged_journal_is_refused(tmp_path, find, pictures, header):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "journal.jsonl").write_bytes(header)
    with pytest.raises(OtherRun, match="is no journal of annotations, or a damaged one"):
        Dataset(tmp_path / "set", find, pictures)
    assert (tmp_path / "set" / "journal.jsonl").read_bytes() == header


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"name":"a b.bmp"', b'"name":["h.jpg"]'),
        (b'"category":"thing"', b'"category":"other"'),
        (b'"counts":"', b'"counts":"\xc3\xa4'),
        (b'"size":[24,', b'"size":["24",'),
    ],
)
def test_a_whole_line_that_says_something_else_is_refused(tmp_path, find, pictures, old, new):
    make(tmp_path / "set", find, pictures)
    journal = tmp_path / "set" / "journal.jsonl"
    raw = journal.read_bytes()
    header = raw.index(b"\n")
    changed = raw[:header] + raw[header:].replace(old, new, 1)
    assert changed != raw
    journal.write_bytes(changed)
    with pytest.raises(OtherRun, match=r"journal.jsonl: line \d is damaged \(.+\)$") as caught:
        Dataset(tmp_path / "set", find, pictures)
    assert caught.value.kind == "damaged"
    assert journal.read_bytes() == changed


def test_a_dataset_may_lie_among_its_pictures(tmp_path, find):
    source = tmp_path / "pictures"
    make(source / "set", find, collect([source]), ["yolo-detect"])
    before = everything(source / "set")
    assert make(source / "set", find, collect([source]), ["yolo-detect"]) == []
    assert everything(source / "set") == before


def test_of_two_that_begin_together_one_is_refused(tmp_path, find, pictures, monkeypatch):
    link = os.link
    first = []

    def second_comes_late(source, target):
        # Between its look and its link another has begun.
        monkeypatch.setattr(os, "link", link)
        first.append(Dataset(tmp_path / "set", find, pictures))
        link(source, target)

    monkeypatch.setattr(os, "link", second_comes_late)
    with pytest.raises(OtherRun, match="another process is at work on it"):
        Dataset(tmp_path / "set", find, pictures)
    with first[0] as dataset:
        assert len(list(dataset.run())) == len(pictures)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["journal.jsonl"]


def test_one_process_at_a_time(tmp_path, find, pictures):
    with (
        Dataset(tmp_path / "set", find, pictures),
        pytest.raises(OtherRun, match="another process is at work on it"),
    ):
        Dataset(tmp_path / "set", find, pictures)


def test_places_that_no_dataset_can_have(tmp_path, pictures):
    check_place(tmp_path / "new" / "set")
    (tmp_path / "empty").mkdir()
    check_place(tmp_path / "empty")
    with pytest.raises(Refused, match="holds something else"):
        check_place(tmp_path / "pictures")
    with pytest.raises(Refused, match="is no folder"):
        check_place(pictures[0].path)
    with pytest.raises(Refused, match="may not be written to"):
        check_place(pictures[0].path / "below")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "journal.jsonl").touch()
    (tmp_path / "set" / "x.png").write_bytes(pictures[0].path.read_bytes())
    inside = collect([tmp_path / "set" / "x.png"])
    with pytest.raises(Refused, match=r"pictures of the collection lie in it \(x.png\)"):
        check_place(tmp_path / "set", inside)
    with pytest.raises(Refused, match="no path holds a NUL character"):
        check_place(Path("a\0b"))
    assert not (tmp_path / "new").exists()


def test_pictures_can_be_copied(tmp_path, find, pictures):
    with Dataset(tmp_path / "set", find, pictures) as dataset:
        list(dataset.run())
        dataset.write(chosen_formats(["yolo-detect"]), copy=True)
    images = sorted((tmp_path / "set" / "yolo-detect" / "images").iterdir())
    assert not any(path.is_symlink() for path in images)
    # The names go with one another, but for the suffix's part in them.
    assert sorted(path.read_bytes() for path in images) == sorted(
        one.path.read_bytes() for one in pictures
    )


def test_the_sheet_has_the_lowest_scores(tmp_path, find, pictures):
    make(tmp_path / "set", find, pictures, sheet=7)
    with Dataset(tmp_path / "set", find, pictures) as dataset:
        doubtful = lowest_scores(dataset, 7)
        scores = sorted(one.score for _, picture in dataset for one in picture.objects)
    assert [one.object.score for one in doubtful] == scores[:7]
    sheet = Image.open(tmp_path / "set" / "lowest-scores.png")
    assert sheet.width == 6 * 252 + 12
    make(tmp_path / "set", find, pictures, sheet=0)
    assert not (tmp_path / "set" / "lowest-scores.png").exists()


def test_the_time_is_measured_and_nothing_written(tmp_path, find, pictures):
    assert done_before(tmp_path / "set", find, pictures) == set()
    find.seen.clear()
    assert seconds_per_picture(find, pictures) > 0
    assert len(find.seen) == 2
    assert seconds_per_picture(find, []) is None
    assert not (tmp_path / "set").exists()
    make(tmp_path / "set", find, pictures)
    journal = tmp_path / "set" / "journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"half')
    assert done_before(tmp_path / "set", find, pictures) == {one.name for one in pictures}
    assert journal.read_bytes().endswith(b'{"half')


def test_coco_numbers_of_a_list_are_kept(tmp_path, find):
    names = [{"file_name": name, "id": 70 - n} for n, name in enumerate(NAMES)]
    path = tmp_path / "pictures" / "list.json"
    path.write_text(json.dumps({"images": names}))
    make(tmp_path / "set", find, collect([path]))
    document = json.loads((tmp_path / "set" / "coco" / "annotations.json").read_text())
    assert {one["file_name"]: one["id"] for one in document["images"]} == {
        name: 70 - n for n, name in enumerate(NAMES)
    }
    assert {one["image_id"] for one in document["annotations"]} == {70, 69, 68, 67, 65}
