"""``evaluate``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from rectangles import document, prompt, write_folder

from sam3_tvm.evaluate.metrics import Figures


@pytest.fixture
def data(folder):
    """A folder ``data`` with four prompts in two pictures."""
    made = document()
    made["prompts"] = [
        prompt(1),
        prompt(2, kind="absent", text="cat", annotation_ids=[]),
        prompt(3, kind="exemplar", text=None, boxes=[[1, 1, 5, 5]], box_labels=[1]),
        prompt(4, image=3, annotation_ids=[4], held_out=True),
    ]
    return write_folder(folder / "data", made)


def test_figures_by_kind_are_tabled(cli, folder, data, model):
    result = cli("evaluate", "artifact", "data", "--threshold", "0", "--threads", "1")
    assert result.exit_code == 0, result.output
    assert [threads for _, threads in model.loaded_with] == [1]
    rows = {line[:20].strip(): line.split() for line in result.stdout.splitlines()}
    assert {"text", "absent", "exemplar", "exemplar, others", "held out", "all"} <= set(rows)
    # The toy finds something for everything.
    assert rows["absent"][-3:] == ["0.0%", "of", "1"]
    assert rows["all"][1:4] == ["4", "5", "12"]
    assert "2 pictures, 4 prompts, threshold 0" in result.stdout
    assert "pictures/s" in result.stdout
    assert "[1/2] a.png" in result.stderr
    assert {p.name for p in folder.iterdir()} == {"data"}


def test_json_is_all_that_goes_to_stdout(cli, data, model, folder):
    result = cli("evaluate", "artifact", "data", "--json", "-o", "r.json", "--sheet", "s.png")
    assert result.exit_code == 0, result.output
    printed, written = json.loads(result.stdout), json.loads((folder / "r.json").read_text())
    assert printed["pictures"] == 2
    assert set(printed["figures"]["all"]) == set(Figures.__dataclass_fields__)
    assert printed["ap"] is None
    assert printed["against"] is None
    outcomes = written.pop("outcomes")
    assert written == printed
    assert [one["prompt"] for one in outcomes] == [1, 2, 3, 4]
    with Image.open(folder / "s.png") as sheet:
        assert sheet.format == "PNG"


def test_a_limit_takes_the_first_pictures(cli, data, model):
    result = cli("evaluate", "artifact", "data", "--limit", "1", "--json")
    assert json.loads(result.stdout)["figures"]["all"]["prompts"] == 3


def test_cocos_own_layout_has_mask_ap(cli, folder, model):
    write_folder(folder / "val", document())
    (folder / "val" / "annotations.json").rename(folder / "instances.json")
    result = cli("evaluate", "a", "--annotations", "instances.json", "--images", "val", "--limit=1")
    assert result.exit_code == 0, result.output
    assert "mask AP 0." in result.stdout
    assert "category" in result.stdout


def test_the_reference_stands_beside_it(cli, data, model, monkeypatch, folder):
    reference = pytest.importorskip("sam3_tvm.evaluate.reference")
    from sam3_tvm.evaluate import ModelDetector

    asked = []

    def same(checkpoint, image_size):
        asked.append((checkpoint, image_size))
        return ModelDetector(model)

    monkeypatch.setattr(reference, "ReferenceDetector", same)
    result = cli("evaluate", "a", "data", "--against", "random:toy", "--threshold", "0")
    assert result.exit_code == 0, result.output
    assert asked == [("random:toy", model.manifest.sizes.image)]
    assert "largest difference 0.0000" in result.stdout
    assert "beside random:toy" in result.stdout
    assert "the same objects in 4 of 4 prompts (100.0%)" in result.stdout
    report = json.loads(cli("evaluate", "a", "data", "--against", "x", "--json").stdout)
    assert report["against"]["checkpoint"] == "x"
    assert report["against"]["figures"] == report["figures"]


def test_a_perfect_answer_leaves_no_sheet(cli, folder, model):
    made = document()
    made["prompts"] = [prompt(1, annotation_ids=[])]
    write_folder(folder / "data", made)
    result = cli("evaluate", "a", "data", "--threshold", "1", "--sheet", "s.png")
    assert result.exit_code == 0, result.output
    assert "every prompt was answered exactly" in result.stdout
    assert not (folder / "s.png").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which pictures: give a folder DATA"),
        (["data", "--images", "data"], "which pictures: give a folder DATA"),
        (["--annotations", "data/annotations.json"], "which pictures: give a folder DATA"),
        (["nowhere"], "nowhere/annotations.json: no such file"),
        (["data", "--threshold", "2"], "--threshold 2: scores lie between 0 and 1"),
        (["data", "-o", "nowhere/r.json"], "its folder does not exist; make it, or choose"),
        (["data", "-o", "data"], "data: is a folder; -o takes a file"),
        (["data", "--sheet", "nowhere/s.png"], "or choose another with --sheet"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_anything_is_loaded(
    cli, data, folder, model, arguments, says
):
    result = cli("evaluate", "artifact", *arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert not model.loaded_with
    assert {p.name for p in folder.iterdir()} == {"data"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("annotations.json", b"{", "annotations.json: is no JSON"),
        ("b.png", b"", "b.png: cannot be read"),
        ("b.png", None, "b.png: no such picture"),
    ],
)
def test_broken_data_is_one_line_and_nothing_is_written(
    cli, data, folder, model, name, content, says
):
    if content is None:
        (data / name).unlink()
    else:
        (data / name).write_bytes(content)
    result = cli("evaluate", "artifact", "data", "--json", "-o", "r.json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert says in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert not (folder / "r.json").exists()


def test_a_picture_that_fails_late_is_named_and_the_rest_is_reported(cli, data, folder, model):
    """Its header is whole, its pixels aren't."""
    whole = (data / "b.png").read_bytes()
    (data / "b.png").write_bytes(whole[: len(whole) // 2])
    result = cli("evaluate", "artifact", "data", "--json", "-o", "r.json")
    assert result.exit_code == 1
    printed, written = json.loads(result.stdout), json.loads((folder / "r.json").read_text())
    assert printed["pictures"] == 1
    assert [one["picture"] for one in printed["failed"]] == ["b.png"]
    assert [one["prompt"] for one in written["outcomes"]] == [1, 2, 3]
    *_, reason, last = result.stderr.splitlines()
    assert "b.png: " in reason
    assert last == "1 of 2 pictures were not measured"
