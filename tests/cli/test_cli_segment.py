"""``segment``: which pictures, what is printed, what is written and what never is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import toy
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

import sam3_tvm
from sam3_tvm.cli.pictures import find_pictures
from sam3_tvm.cli.terminal import OutputError, say
from sam3_tvm.errors import UsageError
from sam3_tvm.files import OutputFolder

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools

ALL = ("--threshold", "0")


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_a_picture_gets_a_table_and_an_overlay(cli, folder, picture, model):
    path = picture(folder / "beach.jpg", (40, 30))
    result = cli("segment", "artifact", path, "--text", "dog", *ALL)
    assert result.exit_code == 0, result.output
    assert model.loaded_with == [(Path("artifact"), None)]
    assert "beach.jpg (40 x 30)" in result.stdout
    wanted = model.segment(path, text="dog", threshold=0)
    rows = [line for line in result.stdout.splitlines() if line.strip().startswith("dog")]
    assert [row.split()[1] for row in rows] == [f"{score:.3f}" for score in wanted.scores]
    assert [row.split()[-1] for row in rows] == [f"{mask.sum()}" for mask in wanted.masks]
    assert names(folder / "sam3-out") == ["beach.png"]
    drawn = np.asarray(Image.open(folder / "sam3-out" / "beach.png"))
    np.testing.assert_array_equal(drawn, np.asarray(wanted.overlay()))


def test_several_phrases_get_a_picture_each(cli, folder, picture, model):
    path = picture(folder / "beach.jpg")
    result = cli("segment", "artifact", path, "--text", "dog", "--text", "red ball!", "-o", "found")
    assert result.exit_code == 0, result.output
    assert names(folder / "found") == ["beach-dog.png", "beach-red-ball.png"]
    assert model.functions.calls["vision_encoder"] == 1


def test_points_reach_a_model_that_takes_them(cli, folder, picture, toy_artifact, monkeypatch):
    manifest = toy.with_points(toy_artifact.manifest)
    model = toy.make_model(toy_artifact, toy.ToyPointFunctions(), manifest)
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: model, raising=False)
    path = picture(folder / "x.png")
    points = ["--point", "2,3", "--negative-point", "20,15"]
    result = cli("segment", "artifact", path, *points, *ALL, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    wanted = model.segment(path, points=[[2, 3], [20, 15]], point_labels=[1, 0], threshold=0)
    np.testing.assert_allclose([a["score"] for a in document["annotations"]], wanted.scores)
    assert document["info"]["points"] == [[2, 3], [20, 15]]
    assert document["info"]["point_labels"] == [1, 0]


def test_points_are_refused_in_one_line_where_the_artifact_takes_none(cli, folder, picture, model):
    path = picture(folder / "x.png")
    result = cli("segment", "artifact", path, "--point", "2,3")
    assert result.exit_code == 2
    assert "--point: artifact was made from random:toy (transformers)" in result.output
    assert "Traceback" not in result.output
    assert not model.functions.calls


def test_boxes_and_threads_reach_the_model(cli, folder, picture, model):
    path = picture(folder / "x.png")
    boxes = ["--box", "2,2,12,9", "--negative-box", "1,1,5,5"]
    result = cli("segment", "artifact", path, *boxes, *ALL, "--threads", "3", "--json")
    assert result.exit_code == 0, result.output
    assert model.loaded_with == [(Path("artifact"), 3)]
    document = json.loads(result.stdout)
    wanted = model.segment(
        path, boxes=[[2, 2, 12, 9], [1, 1, 5, 5]], box_labels=[1, 0], threshold=0
    )
    np.testing.assert_allclose([a["score"] for a in document["annotations"]], wanted.scores)
    assert document["info"]["box_labels"] == [1, 0]
    assert document["categories"] == [{"id": 1, "name": "visual"}]


def test_json_is_one_coco_document_and_nothing_else(cli, folder, picture, model):
    paths = [picture(folder / f"{i}.png", (24 + i, 16), seed=i) for i in range(2)]
    result = cli("segment", "artifact", *paths, "--text", "dog", "--text", "cat", *ALL, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [i["file_name"] for i in document["images"]] == [str(p) for p in paths]
    assert [i["width"] for i in document["images"]] == [24, 25]
    assert [len(i["overlays"]) for i in document["images"]] == [2, 2]
    assert all(Path(p).is_file() for i in document["images"] for p in i["overlays"])
    assert document["failed"] == []
    # COCO's own reader understands it.
    reader = COCO()
    reader.dataset = document
    reader.createIndex()
    for image, path in zip(document["images"], paths, strict=True):
        for category, text in ((1, "dog"), (2, "cat")):
            ids = reader.getAnnIds(imgIds=image["id"], catIds=category)
            wanted = model.segment(path, text=text, threshold=0)
            assert len(ids) == len(wanted) > 0
            for annotation, mask in zip(reader.loadAnns(ids), wanted.masks, strict=True):
                decoded = coco.decode(annotation["segmentation"])
                np.testing.assert_array_equal(decoded, mask)
                assert annotation["area"] == mask.sum()


def test_nothing_found_is_said_and_is_no_failure(cli, folder, picture, model):
    result = cli("segment", "artifact", picture(folder / "x.png"), "--text", "dog", "--threshold=1")
    assert result.exit_code == 0, result.output
    assert "nothing above 1" in result.stdout
    assert names(folder / "sam3-out") == ["x.png"]


def test_no_overlay_writes_nothing(cli, folder, picture, model):
    result = cli("segment", "artifact", picture(folder / "x.png"), "--text", "dog", "--no-overlay")
    assert result.exit_code == 0, result.output
    assert names(folder) == ["x.png"]


def test_a_phrase_with_brackets_is_printed_as_it_is(cli, folder, picture, model):
    path = picture(folder / "x.png")
    result = cli("segment", "artifact", path, "--text", "[bold]dog[/bold] :cat:", *ALL)
    assert result.exit_code == 0, result.output
    assert "[bold]dog[/bold] :cat:" in result.stdout


def test_unreadable_pictures_are_passed_over_and_named(cli, folder, picture, model):
    good, last = picture(folder / "a.png"), picture(folder / "z.png")
    cut, text = folder / "cut.png", folder / "notes.jpg"
    cut.write_bytes(good.read_bytes()[:80])
    text.write_text("no picture")
    order = [good, cut, folder / "absent.png", text, last]
    result = cli("segment", "artifact", *order, "--text", "dog")
    assert result.exit_code == 1
    assert names(folder / "sam3-out") == ["a.png", "z.png"]
    *_, summary = result.stderr.splitlines()
    assert summary == f"3 of 5 pictures failed: {cut}, {folder / 'absent.png'}, {text}"
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 3
    assert "Traceback" not in result.output


def test_a_folder_in_which_nothing_is_written_is_not_left_behind(cli, folder, picture, model):
    (folder / "bad.png").write_text("no picture")
    result = cli("segment", "artifact", "bad.png", "--text", "dog", "-o", "new/found")
    assert result.exit_code == 1, result.output
    assert names(folder) == ["bad.png"]
    result = cli("segment", "artifact", picture(folder / "x.png"), "--point", "1,1")
    assert result.exit_code == 2, result.output
    assert names(folder) == ["bad.png", "x.png"]
    # One that was there stays.
    (folder / "new").mkdir()
    assert cli("segment", "artifact", "bad.png", "--text", "dog", "-o", "new/found").exit_code == 1
    assert names(folder) == ["bad.png", "new", "x.png"]
    assert names(folder / "new") == []


def test_json_lists_the_pictures_that_failed(cli, folder, picture, model):
    result = cli(
        "segment", "artifact", "absent.png", picture(folder / "a.png"), "--text=dog", "--json"
    )
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert [i["file_name"] for i in document["images"]] == [str(folder / "a.png")]
    (failed,) = document["failed"]
    assert failed["file_name"] == "absent.png"
    assert "no such file" in failed["error"]


def test_a_box_outside_one_of_the_pictures_fails_that_one(cli, folder, picture, model):
    small, large = (
        picture(folder / "small.png", (20, 20)),
        picture(folder / "large.png", (200, 200)),
    )
    result = cli("segment", "artifact", small, large, "--box", "100,100,150,150")
    assert result.exit_code == 1
    assert "outside the picture" in result.stderr
    assert names(folder / "sam3-out") == ["large.png"]


def test_progress_lines_say_how_far_it_is(cli, folder, picture, model):
    paths = [picture(folder / f"{name}.png") for name in "ab"]
    result = cli("segment", "artifact", *paths, "--text", "dog")
    assert result.stderr.splitlines() == [f"[1/2] {paths[0]}", f"[2/2] {paths[1]}"]


def test_an_input_is_never_overwritten(cli, folder, picture, model):
    paths = [picture(folder / "x.jpg"), picture(folder / "X.png", seed=1)]
    before = [p.read_bytes() for p in paths]
    for _ in range(2):
        result = cli("segment", "artifact", *paths, "--text", "dog", "-o", ".")
        assert result.exit_code == 0, result.output
        assert [p.read_bytes() for p in paths] == before
        assert names(folder) == ["X-3.png", "X.png", "x-2.png", "x.jpg"]


def test_an_unusable_output_folder_stops_before_the_model_is_loaded(cli, folder, picture, model):
    path = picture(folder / "x.png")
    result = cli("segment", "artifact", path, "--text", "dog", "-o", path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: -o {path}: would write over a picture that is read")
    (folder / "notes").write_text("")
    result = cli("segment", "artifact", path, "--text", "dog", "-o", "notes")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: notes: cannot be made a folder")
    assert not model.loaded_with


def test_folders_give_their_pictures_sorted(folder, picture):
    for name in ("b.PNG", "a.jpg", "c.webp", "sub/d.png"):
        picture(folder / "shots" / name)
    (folder / "shots" / "notes.txt").write_text("")
    (folder / "shots" / "paper.pdf").write_text("")
    (folder / "shots" / "dir.png").mkdir()
    single = folder / "z.png"
    found = find_pictures([single, folder / "shots", single])
    assert found == [single, *(folder / "shots" / n for n in ("a.jpg", "b.PNG", "c.webp"))]


def test_a_folder_without_pictures_is_an_error(cli, folder, model):
    result = cli("segment", "artifact", folder, "--text", "dog")
    assert result.exit_code == 2
    assert "no pictures in this folder" in result.stderr


def test_pictures_of_one_name_get_overlays_of_their_own(tmp_path):
    output = OutputFolder(tmp_path, [])
    paths = [Path("a/cat.jpg"), Path("b/cat.jpg"), Path("b/CAT.png")]
    assert [output.name(p).name for p in paths] == ["cat.png", "cat-2.png", "CAT-3.png"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Red  Ball", "x-red-ball.png"),
        ("../../etc", "x-etc.png"),
        ("собака", "x-собака.png"),
        ("?!", "x-prompt.png"),
        ("word " * 50, "x-" + ("word-" * 8)[:40] + ".png"),
    ],
)
def test_phrases_become_file_names(tmp_path, text, name):
    assert OutputFolder(tmp_path, []).name(Path("x.jpg"), text).name == name


def test_long_names_fit_the_file_system(tmp_path):
    output = OutputFolder(tmp_path, [])
    path = output.name(Path("я" * 120 + ".jpg"), "цвет " * 20)
    output.write(Image.new("RGB", (2, 2)), path)
    assert path.is_file()


def test_an_overlay_is_written_whole_or_not_at_all(tmp_path):
    output = OutputFolder(tmp_path, [])
    path = output.name(Path("x.jpg"))
    output.write(Image.new("RGB", (2, 2)), path)
    before = path.read_bytes()

    class Broken(Image.Image):
        def save(self, target, format=None, **options):
            Path(target).write_bytes(b"half")
            raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="No space left on device"):
        output.write(Broken(), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["x.png"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="may not be written to"):
        OutputFolder(tmp_path, [])


def test_a_phrase_that_is_cut_is_told_once_and_in_the_document(cli, folder, picture, model):
    paths = [picture(folder / f"{i}.png") for i in range(2)]
    phrase = "dog cat ball red dog cat"
    result = cli("segment", "artifact", *paths, "--text", phrase, "--text", "dog", "--json")
    assert result.stderr.count("is longer than the model reads") == 1
    assert "searched was 'dog cat ball red' alone" in result.stderr
    assert json.loads(result.stdout)["categories"] == [
        {"id": 1, "name": phrase, "searched": "dog cat ball red"},
        {"id": 2, "name": "dog"},
    ]


@pytest.mark.skipif(os.name != "posix", reason="such names cannot be made")
def test_names_of_any_bytes_are_read_printed_and_written(cli, folder, picture, model):
    odd = ["-x.png", "[bold]y.png", "a\nb.png", "c\x1b[31m.png", os.fsdecode(b"\xff.png")]
    for name in odd:
        picture(folder / "in" / name)
    result = cli("segment", "artifact", "in", "--text", "[/red]", *ALL, "-o", "out")
    assert result.exit_code == 0, result.output
    assert names(folder / "out") == sorted(odd)
    assert "\x1b" not in result.output
    assert r"wrote out/a\nb.png" in result.stdout
    document = json.loads(cli("segment", "artifact", "in", "--text", "x", *ALL, "--json").stdout)
    assert [i["file_name"] for i in document["images"]] == sorted(odd)


def test_what_is_damaged_or_hidden_does_not_end_a_folder(cli, folder, picture, model):
    for name in ("a.png", "z.png"):
        picture(folder / "in" / name)
    (folder / "in" / "m.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    (folder / "in" / "._a.png").write_bytes(b"\0\5\26\7")
    result = cli("segment", "artifact", "in", "--text", "dog")
    assert result.exit_code == 1
    assert names(folder / "sam3-out") == ["a.png", "z.png"]
    assert "1 of 3 pictures failed: in/m.jp2" in result.stderr


def test_a_stdout_that_takes_nothing_is_one_line(monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sam3_tvm.cli.terminal.print", full, raising=False)
    with pytest.raises(OutputError, match=r"stdout cannot be written to \(No space left on device"):
        say("anything")
