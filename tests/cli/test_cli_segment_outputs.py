"""``segment``: what each form of ``-o`` writes, and going on after an interruption."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from sam3_tvm.batch.journal import Journal
from sam3_tvm.files import PlaceError

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools

ALL = ("--text", "dog", "--text", "cat", "--threshold", "0")
EVERY = ("-o", "found", "-o", "masks/", "-o", "found.jsonl", "-o", "sheet.png")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def photos(folder, picture) -> Path:
    for number in range(5):
        picture(folder / "photos" / f"{number}.png", (24 + number, 16), seed=number)
    return Path("photos")


@pytest.fixture
def out(folder, monkeypatch) -> Path:
    """A working directory of its own for outputs, beside the pictures."""
    path = folder / "out"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def interrupt_at(model, count: int, number: int = signal.SIGINT) -> None:
    """Ask for an end while the n-th picture is looked at, once."""
    segment, seen = model.segment, []

    def watched(*arguments, **options):
        seen.append(1)
        if len(seen) == count:
            os.kill(os.getpid(), number)
        return segment(*arguments, **options)

    model.segment = watched


def test_a_folder_that_ends_in_masks_gets_a_picture_of_each(cli, folder, photos, model):
    for place in ("masks/", "dog-Masks"):
        result = cli("segment", "artifact", photos, "--text", "dog", "--threshold=0", "-o", place)
        assert result.exit_code == 0, result.output
        for path in photos.iterdir():
            masks = model.segment(path, "dog", threshold=0).masks
            written = sorted((folder / place).glob(f"{path.stem}-*.png"))
            assert len(written) == len(masks) > 1
            for number, mask in enumerate(masks, 1):
                with Image.open(folder / place / f"{path.stem}-{number}.png") as drawn:
                    np.testing.assert_array_equal(np.asarray(drawn), mask * np.uint8(255))
    assert not (folder / "sam3-out").exists()


def test_lines_of_json_have_a_picture_each_as_called_in_the_folder(cli, folder, photos, model):
    assert cli("segment", "artifact", photos, *ALL, "-o", "found.jsonl").exit_code == 0
    found = lines(folder / "found.jsonl")
    assert [line["file_name"] for line in found] == [f"{n}.png" for n in range(5)]
    for line in found:
        assert [*line] == ["file_name", "width", "height", "objects"]
        for text in ("dog", "cat"):
            wanted = model.segment(photos / line["file_name"], text, threshold=0)
            assert wanted.size == (line["height"], line["width"])
            objects = [dict(one) for one in line["objects"] if one["text"] == text]
            for one in objects:
                del one["text"]
            assert objects == wanted.to_coco()
            masks = [coco.decode(one["segmentation"]) for one in objects]
            np.testing.assert_array_equal(masks, wanted.masks)


def test_pictures_of_several_arguments_are_called_by_their_paths(
    cli, folder, photos, model, picture
):
    other = picture(folder / "other" / "1.png").parent
    assert cli("segment", "artifact", photos, other, *ALL, "-o", "x.jsonl").exit_code == 0
    names = [line["file_name"] for line in lines(folder / "x.jsonl")]
    assert names == [*(f"photos/{n}.png" for n in range(5)), f"{other}/1.png"]


def test_one_picture_and_phrase_give_the_overlay_itself(cli, folder, photos, model):
    path = photos / "3.png"
    one = ("--text", "dog", "--threshold", "0", "-o", "out.png")
    result = cli("segment", "artifact", path, *one)
    assert result.exit_code == 0, result.output
    assert "wrote out.png" in result.stdout
    drawn = np.asarray(model.segment(path, "dog", threshold=0).overlay())
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "out.png")), drawn)
    assert sorted(p.name for p in folder.iterdir()) == ["out.png", "photos"]


def test_several_give_a_contact_sheet(cli, folder, photos, model):
    assert cli("segment", "artifact", photos, *ALL, "-o", "out.png").exit_code == 0
    with Image.open(folder / "out.png") as sheet:
        assert sheet.size == (4 * 368 + 8, 3 * (270 + 8 + 40) + 8)  # ten cells
        cell = np.asarray(sheet)[8 : 8 + 270, 8 : 8 + 360]
    small = np.asarray(model.segment(photos / "0.png", "dog", threshold=0).overlay())
    np.testing.assert_array_equal(cell[127 : 127 + 16, 168 : 168 + 24], small)


def test_what_is_marked_twice_goes_with_nms(cli, folder, photos, model):
    options = ("--text", "dog", "--threshold", "0", "--json", "--no-overlay")
    plain = json.loads(cli("segment", "artifact", photos, *options).stdout)
    cut = json.loads(cli("segment", "artifact", photos, *options, "--nms", "0.1").stdout)
    assert (plain["info"]["nms"], cut["info"]["nms"]) == (None, 0.1)
    assert len(cut["annotations"]) < len(plain["annotations"])
    scores = [
        score
        for path in sorted(photos.iterdir())
        for score in model.segment(path, "dog", threshold=0, nms=0.1).scores
    ]
    np.testing.assert_allclose([one["score"] for one in cut["annotations"]], scores)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("json_too", [False, True])
def test_an_interrupted_run_loses_nothing_and_goes_on(
    cli, folder, photos, out, model, monkeypatch, number, json_too
):
    command = ("segment", "artifact", "../photos", *ALL, *EVERY, *(["--json"] if json_too else []))
    whole = cli(*command)
    assert whole.exit_code == 0, whole.output
    expected = contents(out)
    assert len(expected) > 10 + 10
    again = folder / "again"
    again.mkdir()
    monkeypatch.chdir(again)
    for count, resume in ((2, []), (1, ["--resume"])):
        with monkeypatch.context() as patch:
            patch.setattr(model, "segment", model.segment, raising=False)
            interrupt_at(model, count, number)
            result = cli(*command, *resume)
        assert result.exit_code == 128 + number
        passed = 2 if not resume else 3
        assert f"interrupted after {passed} of 5 pictures" in result.stderr
        assert "--resume goes on (found.resume is kept for it)" in result.stderr
        assert [n["file_name"] for n in lines(again / "found.jsonl")] == [
            f"{n}.png" for n in range(passed)
        ]
        assert (again / "sheet.png").is_file()
        if json_too:
            document = json.loads(result.stdout)
            assert len(document["images"]) == passed
            assert not document["info"]["complete"]
    before = model.functions.calls["vision_encoder"]
    result = cli(*command, "--resume")
    assert result.exit_code == 0, result.output
    assert model.functions.calls["vision_encoder"] == before + 2
    assert contents(again) == expected
    if json_too:
        assert json.loads(result.stdout) == json.loads(whole.stdout)


def test_a_run_that_is_cut_short_at_once_leaves_older_files(cli, folder, photos, model):
    (folder / "found.jsonl").write_text("an older one")
    before = model.loaded_with  # what loading appends to

    class Interrupting(list):
        def append(self, _):
            os.kill(os.getpid(), signal.SIGINT)

    model.loaded_with = Interrupting(before)
    result = cli("segment", "artifact", photos, *ALL, "-o", "found.jsonl", "-o", "found")
    assert result.exit_code == 130
    assert "interrupted after 0 of 5 pictures" in result.stderr
    assert (folder / "found.jsonl").read_text() == "an older one"
    assert sorted(p.name for p in folder.iterdir()) == ["found.jsonl", "photos"]


def test_a_run_that_was_killed_goes_on_from_whole_pictures(
    cli, folder, photos, out, model, monkeypatch
):
    command = ("segment", "artifact", "../photos", *ALL, *EVERY)
    assert cli(*command).exit_code == 0
    expected = contents(out)
    again = folder / "again"
    again.mkdir()
    monkeypatch.chdir(again)
    with monkeypatch.context() as patch:
        patch.setattr(model, "segment", model.segment, raising=False)
        interrupt_at(model, 3)
        assert cli(*command).exit_code == 130
    # As a kill leaves it: lines that were cut, and a picture that is half written.
    journal = again / "found.resume" / "pictures.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    with (again / "found.jsonl").open("ab") as file:
        file.write(b'{"file_name": "3.png", "wid')
    result = cli(*command, "--resume")
    assert result.exit_code == 0, result.output
    assert contents(again) == expected


@pytest.fixture
def stopped(cli, folder, photos, model, monkeypatch):
    """A command that was interrupted after two pictures."""
    command = ("segment", "artifact", photos, *ALL, "-o", "found.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(model, "segment", model.segment, raising=False)
        interrupt_at(model, 2)
        assert cli(*command).exit_code == 130
    return command


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("--text", "ball"), "the interrupted run differs in the phrases"),
        (("--nms", "0.5"), "the interrupted run differs in what is suppressed"),
        (("--threshold", "0.1"), "the interrupted run differs in the threshold"),
        (("--box", "1,1,9,9"), "differs in the boxes and what the boxes stand for"),
        (("-o", "masks"), "the interrupted run differs in the outputs"),
    ],
)
def test_what_differs_from_the_interrupted_run_is_named(cli, folder, stopped, change, says):
    before = contents(folder)
    result = cli(*stopped, *change, "--resume")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert says in line
    assert "run the command without --resume to begin anew" in line
    assert contents(folder) == before


def test_pictures_that_are_others_by_now_are_named(cli, folder, stopped, picture):
    picture(folder / "photos" / "0.png", (30, 16), seed=9)
    result = cli(*stopped, "--resume")
    assert result.exit_code == 2
    assert "photos/0.png: has changed since it was done" in result.stderr
    (folder / "photos" / "4.png").unlink()
    result = cli(*stopped, "--resume")
    assert result.exit_code == 2
    assert "the interrupted run differs in the pictures that were given" in result.stderr


def test_there_is_nothing_to_resume_after_the_end(cli, folder, photos, model):
    command = ("segment", "artifact", photos, *ALL, "-o", "found.jsonl")
    for rest in ([], ["--resume"]):
        result = cli(*command, *rest)
        assert not (folder / "found.jsonl.resume").exists()
    assert result.exit_code == 2
    assert "nothing to resume: there is no found.jsonl.resume" in result.stderr
    result = cli("segment", "artifact", photos / "1.png", *ALL, "--resume")
    assert result.exit_code == 2
    assert "--resume: a run of one picture" in result.stderr


def test_a_damaged_journal_is_one_line(cli, folder, stopped):
    (folder / "found.jsonl.resume" / "pictures.jsonl").write_bytes(b'{"form": 1}\n[]\n')
    result = cli(*stopped, "--resume")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "is damaged, or no journal" in line


def test_a_full_disk_is_one_line_and_the_run_goes_on(cli, folder, photos, model, monkeypatch):
    from sam3_tvm.film.outputs import json_lines

    command = ("segment", "artifact", photos, *ALL, "-o", "found.jsonl")
    write, seen = json_lines._write_all, []

    def full(file, data):
        seen.append(1)
        if len(seen) == 3:
            raise OSError(28, "No space left on device")
        write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(json_lines, "_write_all", full)
        result = cli(*command)
    assert result.exit_code == 2
    *_, line = result.stderr.splitlines()
    assert line == (
        "error: found.jsonl: cannot be written (No space left on device); when that is mended, "
        "the same command with --resume goes on"
    )
    assert cli(*command, "--resume").exit_code == 0
    assert [one["file_name"] for one in lines(folder / "found.jsonl")] == [
        f"{n}.png" for n in range(5)
    ]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (["-o", "found.json"], "-o found.json: not a form that is written; give NAME.jsonl"),
        (["-o", "x.mp4"], "-o x.mp4: not a form that is written"),
        (["-o", "photos/1.png"], "photos/1.png: would write over a picture that is read"),
        (["-o", "a.jsonl", "-o", "./a.jsonl"], "-o a.jsonl: is named twice"),
        (["-o", "absent/a.jsonl"], "its folder does not exist"),
        (["-o", "a.png", "--no-overlay"], "-o a.png and --no-overlay: give one of them"),
        (["-o", "old-masks"], "old-masks: holds 1-dog-1.png, which would get mixed up"),
        (
            ["-o", "found", "-o", "found.resume"],
            "found.resume: found.resume is for unfinished work",
        ),
        (["-o", "found", "-o", "found.resume/x.jsonl"], "found.resume is for unfinished work"),
        (["-o", "ov", "-o", "ov/h.png"], "-o ov/h.png: lies in ov, which is written, too"),
        (["-o", "ov/h.jsonl", "-o", "ov"], "-o ov/h.jsonl: lies in ov, which is written, too"),
        (["-o", "old-masks", "-o", "old-masks/x.PNG/"], "-o old-masks/x.PNG: lies in old-masks"),
        (["--nms", "1.5"], "--nms 1.5: an intersection over union lies between 0 and 1"),
    ],
)
def test_outputs_that_cannot_be_are_refused_first(cli, folder, photos, model, outputs, says):
    (folder / "old-masks").mkdir()
    (folder / "old-masks" / "1-dog-1.png").write_bytes(b"")
    (folder / "old-masks" / "x.PNG").mkdir()
    before = contents(folder)
    result = cli("segment", "artifact", photos, *ALL, *outputs)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert says in line
    assert not model.loaded_with
    assert contents(folder) == before


def test_a_place_for_the_journal_that_is_taken_is_left_alone(cli, folder, photos, model):
    (folder / "found.jsonl.resume").mkdir()
    (folder / "found.jsonl.resume" / "mine.txt").write_text("mine")
    result = cli("segment", "artifact", photos, *ALL, "-o", "found.jsonl")
    assert result.exit_code == 2
    assert (
        "found.jsonl.resume: is needed for unfinished work, and holds something else"
        in result.stderr
    )
    assert (folder / "found.jsonl.resume" / "mine.txt").read_text() == "mine"


def test_suffixes_that_name_no_form_are_parts_of_a_folders_name(cli, folder, photos, model):
    assert cli("segment", "artifact", photos, *ALL, "-o", "run.2").exit_code == 0
    assert len(list((folder / "run.2").iterdir())) == 10


def test_a_picture_where_the_journal_would_be_is_left_alone(cli, folder, photos, model, picture):
    path = picture(folder / "found.resume" / "x.png")
    (folder / "link").symlink_to("found.resume")
    content = path.read_bytes()
    for given in ("found.resume/x.png", "link/x.png"):
        result = cli("segment", "artifact", photos, given, *ALL, "-o", "found")
        assert result.exit_code == 2
        (line,) = result.stderr.splitlines()
        assert (
            f"found.resume is for unfinished work, and goes when all is done, and {given}" in line
        )
    assert path.read_bytes() == content
    # A run of one picture has no journal.
    assert cli("segment", "artifact", path, *ALL, "-o", "found").exit_code == 0


def test_folders_in_each_other_that_cannot_collide_are_written(cli, folder, photos, model):
    result = cli("segment", "artifact", photos, *ALL, "-o", "ov", "-o", "ov/masks")
    assert result.exit_code == 0, result.output
    assert len(list((folder / "ov").glob("*.png"))) == 10


def test_masks_never_lie_over_the_pictures_that_are_read(cli, folder, picture, model):
    for number, name in enumerate(("photo.png", "photo-2-1.png", "photo-3-7.PNG", "b-1.png")):
        picture(folder / "masks" / name, seed=number)
    picture(folder / "b.jpg")
    before = contents(folder)
    command = ("segment", "artifact", "masks", "b.jpg", "--text", "dog", "--threshold", "0")
    result = cli(*command, "-o", "masks")
    assert result.exit_code == 0, result.output
    after = contents(folder)
    assert {name: after[name] for name in before} == before
    assert {"masks/photo-4-1.png", "masks/b-2-1.png"} <= {*after} - {*before}


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_one_process_at_a_time_works_on_an_output(cli, folder, photos, model, resume):
    command = ("segment", "artifact", photos, *ALL, "-o", "found.jsonl")
    segment, others, before = model.segment, [], []

    def meanwhile(*arguments, **options):
        model.segment = meanwhile if not before else segment
        if (folder / "found.jsonl.resume").exists() and not others:
            before.append(contents(folder))
            model.segment = segment
            others.append(cli(*command, *resume))
            assert contents(folder) == before[0]
        return segment(*arguments, **options)

    model.segment = meanwhile
    result = cli(*command)
    assert result.exit_code == 0, result.output
    assert len(lines(folder / "found.jsonl")) == 5
    assert sorted(p.name for p in folder.iterdir()) == ["found.jsonl", "photos"]
    (other,) = others
    assert other.exit_code == 2
    (line,) = other.stderr.splitlines()
    assert line == (
        "error: found.jsonl.resume: another process is at work on it; wait for its end, or choose "
        "another name with -o"
    )


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_of_two_that_begin_at_once_one_is_refused_before_it_writes(tmp_path):
    (tmp_path / "out.resume").mkdir()
    first, second = Journal(tmp_path / "out"), Journal(tmp_path / "out")
    for journal in (first, second):
        journal.check()
    first.begin({}, again=False)
    before = contents(tmp_path)
    with pytest.raises(PlaceError, match="another process is at work on it"):
        second.begin({}, again=False)
    second.close()
    assert contents(tmp_path) == before
    first.close()
    second.begin({}, again=False)  # what the first has left is nobody's now
    second.remove()
    assert not list(tmp_path.iterdir())
