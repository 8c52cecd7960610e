"""Which pictures are meant, what they are called, and what is looked for."""

from __future__ import annotations

import json
import os

import pytest

from sam3_tvm.annotate import Phrase, Refused, collect, parse_phrase, read_classes
from sam3_tvm.annotate.classes import categories, phrases_of
from sam3_tvm.annotate.collect import IdWarning

NAMES = ("b.jpg", "a b.png", "sub/ä.jpg", "sub/deep/x.webp", "z/1.png")


@pytest.fixture
def shots(tmp_path):
    folder = tmp_path / "shots"
    for name in (*NAMES, ".hidden.jpg", ".git/y.png", "notes.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(listed):
    return [one.name for one in listed]


def test_folders_with_their_folders_by_name(shots):
    found = collect([shots])
    assert names(found) == ["a b.png", "b.jpg", "sub/deep/x.webp", "sub/ä.jpg", "z/1.png"]
    assert all(one.path == shots / one.name for one in found)


def test_names_are_seen_from_the_deepest_folder_of_all(shots):
    assert names(collect([shots / "sub", shots / "z"])) == [
        "sub/deep/x.webp",
        "sub/ä.jpg",
        "z/1.png",
    ]
    assert names(collect([shots / "sub/ä.jpg"])) == ["ä.jpg"]
    assert names(collect([shots / "z"])) == ["1.png"]


def test_patterns(shots, monkeypatch):
    monkeypatch.chdir(shots)
    assert names(collect(["*.jpg"])) == ["b.jpg"]
    assert names(collect(["**/*.jpg"])) == ["b.jpg", "sub/ä.jpg"]
    assert names(collect([f"{shots}/sub/*"])) == ["ä.jpg"]
    with pytest.raises(Refused, match=r"\*\.tif: no picture matches"):
        collect(["*.tif"])


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path):
    (tmp_path / "[a].png").touch()
    assert names(collect([tmp_path / "[a].png"])) == ["[a].png"]


def test_a_picture_comes_once_however_it_is_reached(shots, monkeypatch):
    monkeypatch.chdir(shots)
    os.symlink("b.jpg", "link.jpg")
    found = collect(["b.jpg", shots, "./b.jpg", "sub/../b.jpg", "*.jpg"])
    assert names(found).count("b.jpg") == 1
    assert "link.jpg" not in names(found)
    assert len(found) == len(NAMES)


def test_lists(shots):
    listed = shots / "list.txt"
    listed.write_text("\ufeffz/1.png\n\n  \na b.png\r\nmissing.jpg\n", encoding="utf-8")
    assert names(collect([listed])) == ["z/1.png", "a b.png", "missing.jpg"]
    listed.write_text("\n")
    with pytest.raises(Refused, match="names no pictures"):
        collect([listed])
    listed.write_bytes(b"\xff\xfe")
    with pytest.raises(Refused, match="byte 0 is no UTF-8"):
        collect([listed])
    with pytest.raises(Refused, match=r"none\.txt: cannot be read"):
        collect([shots / "none.txt"])


def test_coco_lists(shots, tmp_path):
    path = tmp_path / "instances.json"
    path.write_text(
        json.dumps({"images": [{"id": 9, "file_name": "z/1.png"}, {"id": 4, "file_name": "b.jpg"}]})
    )
    found = collect([path], shots)
    assert [(one.name, one.coco_id) for one in found] == [("z/1.png", 9), ("b.jpg", 4)]
    # Numbers that don't tell all pictures apart are none.
    with pytest.warns(IdWarning, match="don't tell all pictures apart: none are kept"):
        assert {one.coco_id for one in collect([path, shots], shots)} == {None}


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ([(9, "z/1.png"), (9, "b.jpg")], "has the id 9 twice, of z/1.png and of b.jpg"),
        ([(9, "z/1.png"), ("4", "b.jpg")], "image 2 of its list has the id '4'; an id is a whole"),
        ([(-1, "z/1.png")], "image 1 of its list has the id -1; an id is a whole"),
        ([(1, "a\0b.png")], "image 1 of its list, 'a\\x00b.png': no path holds a NUL"),
        ([(1, "\ud800.png")], "no path holds half a character"),
    ],
)
def test_coco_lists_that_lose_something_are_refused(shots, images, says):
    path = shots / "list.json"
    path.write_text(json.dumps({"images": [{"id": n, "file_name": name} for n, name in images]}))
    with pytest.raises(Refused) as caught:
        collect([path])
    assert says in str(caught.value)


def test_an_id_that_is_lost_is_named(shots):
    path = shots / "list.json"
    images = [{"id": 9, "file_name": "b.jpg"}, {"id": 4, "file_name": "z/../b.jpg"}]
    path.write_text(json.dumps({"images": images}))
    with pytest.warns(IdWarning, match="is listed as .*b.jpg, too; its id 4 is dropped"):
        assert [one.coco_id for one in collect([path])] == [9]


def test_datasets_among_the_pictures_are_passed_over(shots, monkeypatch):
    dataset = shots / "sub" / "set"
    (dataset / "images").mkdir(parents=True)
    (dataset / "lowest-scores.png").touch()
    (dataset / "images" / "x.png").touch()
    assert len(collect([shots])) == len(NAMES) + 2
    (dataset / "journal.jsonl").write_text('{"form":1,')
    assert len(collect([shots])) == len(NAMES)
    monkeypatch.chdir(shots)
    assert names(collect(["**/*.png"])) == ["a b.png", "z/1.png"]
    # Named, it is meant.
    assert names(collect(["sub/set/**/*.png"])) == ["images/x.png", "lowest-scores.png"]
    (dataset / "journal.jsonl").write_text("somebody else's\n")
    assert len(collect([shots])) == len(NAMES) + 2


def test_what_is_no_path_is_refused(shots):
    for given in (3, None, ["a"]):
        with pytest.raises(Refused, match="is no path; give files, folders or lists"):
            collect([given])
    with pytest.raises(Refused, match=r"^'': is empty; give a path$"):
        collect([""])
    with pytest.raises(Refused, match=r"^'a\\x00b': no path holds a NUL character$"):
        collect(["a\0b"])
    (shots / "list.txt").write_bytes(b"b.jpg\na\0b.png\n")
    with pytest.raises(Refused, match=r"list.txt: names 'a\\x00b.png': no path holds a NUL"):
        collect([shots / "list.txt"])
    with pytest.raises(Refused, match="is where a COCO image list's names are seen from"):
        collect([shots], shots)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "is no COCO image list"),
        ('{"images": []}', "is no COCO image list"),
        ('{"images": [{"id": 1}]}', "image 1 of its list has no file_name"),
    ],
)
def test_other_json_is_no_list(tmp_path, text, says):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(Refused, match=says):
        collect([path])


def test_nothing_is_refused(tmp_path):
    with pytest.raises(Refused, match="no pictures in this folder"):
        collect([tmp_path])
    with pytest.raises(Refused, match="no pictures: give"):
        collect([])


def test_phrases_and_categories():
    assert parse_phrase("forklift truck=vehicle") == Phrase("forklift truck", "vehicle")
    assert parse_phrase("a=b=c") == Phrase("a=b", "c")
    assert parse_phrase("cat") == Phrase("cat", "cat")
    found = phrases_of(["car=vehicle", "cat", "truck=vehicle", "cat"])
    assert [one.text for one in found] == ["car", "cat", "truck"]
    assert categories(found) == ("vehicle", "cat")
    assert phrases_of(["cat", " cat ", Phrase(" cat", "cat ")]) == (Phrase("cat", "cat"),)
    with pytest.raises(Refused, match="has no phrase, or no category"):
        phrases_of([Phrase(" ", "cat")])


@pytest.mark.parametrize("text", ["", " ", "=vehicle", "car=", " = "])
def test_half_a_phrase_is_refused(text):
    with pytest.raises(Refused, match="a phrase, or phrase=category"):
        parse_phrase(text)


def test_a_phrase_has_one_category():
    with pytest.raises(Refused, match="'car': is of two categories, 'vehicle' and 'car'"):
        phrases_of(["car=vehicle", "car"])
    with pytest.raises(Refused, match="nothing to look for"):
        phrases_of([])


def test_classes_from_files(tmp_path):
    wanted = [
        Phrase("forklift truck", "vehicle"),
        Phrase("car", "vehicle"),
        Phrase("cat", "cat"),
        Phrase("person", "human"),
    ]
    path = tmp_path / "classes.json"
    path.write_text('{"vehicle": ["forklift truck", "car"], "cat": null, "human": "person"}')
    assert read_classes(path) == wanted
    path.write_text('["cat", "dog"]')
    assert read_classes(path) == [Phrase("cat", "cat"), Phrase("dog", "dog")]


def test_classes_in_yaml(tmp_path):
    pytest.importorskip("yaml", reason="PyYAML isn't installed")
    path = tmp_path / "classes.yaml"
    path.write_text("vehicle: [forklift truck, car]\ncat:\nhuman: person\n")
    assert len(read_classes(path)) == 4
    path.write_text("- cat\n- dog\n")
    assert read_classes(path) == [Phrase("cat", "cat"), Phrase("dog", "dog")]
    path.write_text("- no\n")
    with pytest.raises(Refused, match="False is no phrase; a word that YAML reads"):
        read_classes(path)
    path.write_text("a: [b\nc: d")
    with pytest.raises(Refused, match="cannot be read: while parsing"):
        read_classes(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 3000, "its lists or mappings are nested too deeply"),
        ('- !!bool "abc"', "a value isn't what its tag says"),
        ('- !!timestamp "abc"', "a value isn't what its tag says"),
        ('- !!int ""', "a value isn't what its tag says"),
        ("cat: dog\n'cat': cow\n", "it has 'cat' twice"),
        ("cat: []", "'cat' has no phrases"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "is no phrase"),
    ],
)
def test_other_yaml_is_one_line(tmp_path, text, says):
    pytest.importorskip("yaml", reason="PyYAML isn't installed")
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(Refused, match=r"classes\.yaml: ") as caught:
        read_classes(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["3", "[]", '{"a": []}', "{}", '""', '{"a": [1]}', '{"a": ""}', "{"]
)
def test_other_files_are_no_classes(tmp_path, text):
    path = tmp_path / "classes.json"
    path.write_text(text)
    with pytest.raises(Refused, match=r"classes\.json: "):
        read_classes(path)
    with pytest.raises(Refused, match="cannot be read"):
        read_classes(tmp_path / "none.json")
