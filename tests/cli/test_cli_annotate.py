"""``annotate``: what is typed, what is said, and that nothing is written where it can't be done."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pycocotools.coco import COCO

from sam3_tvm.cli.annotate import command as cli_annotate

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools

ALL = ("--threshold", "0", "-o", "set")


@pytest.fixture
def shots(folder, picture) -> Path:
    for seed, name in enumerate(("a b.jpg", "sub/ä.png", "z.png")):
        picture(folder / "shots" / name, (24 + seed, 16), seed)
    return Path("shots")


def coco(folder="set"):
    return json.loads((Path(folder) / "coco" / "annotations.json").read_text())


def test_a_folder_becomes_a_dataset(cli, shots, model):
    text = ("--text", "dog", "--text", "red ball=toy", "--text", "ball=toy")
    result = cli("annotate", "artifact", shots, *text, *ALL)
    assert result.exit_code == 0, result.output
    document = coco()
    assert [one["name"] for one in document["categories"]] == ["dog", "toy"]
    assert [one["file_name"] for one in document["images"]] == ["a b.jpg", "sub/ä.png", "z.png"]
    reader = COCO()
    reader.dataset = document
    reader.createIndex()
    for image in document["images"]:
        found = reader.loadAnns(reader.getAnnIds(imgIds=image["id"]))
        wanted = model.segment(shots / image["file_name"], ["dog", "red ball", "ball"], threshold=0)
        masks = [mask for one in wanted for mask in one.masks if mask.any()]
        assert len(found) == len(masks) > 0
        assert all((reader.annToMask(a) == m).all() for a, m in zip(found, masks, strict=True))
    assert "set: 3 pictures, 0 of them without objects" in result.stdout
    assert "wrote set/coco" in result.stdout
    assert Path("set/lowest-scores.png").is_file()


def test_the_same_command_again_looks_at_nothing_and_says_the_same(cli, shots, model):
    first = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    before = {p: p.read_bytes() for p in Path("set").rglob("*") if p.is_file()}
    calls = model.functions.calls["vision_encoder"]
    again = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert again.exit_code == 0, again.output
    assert again.stdout == first.stdout
    assert model.functions.calls["vision_encoder"] == calls == 3
    assert {p: p.read_bytes() for p in Path("set").rglob("*") if p.is_file()} == before


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(cli, folder, shots, model):
    options = ("--text", "dog", "--format", "yolo,geojson", *ALL, "--dry-run")
    result = cli("annotate", "artifact", shots, *options, "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["seconds"] == pytest.approx(3 * plan["seconds_per_picture"])
    assert plan["formats"] == ["yolo-segment", "yolo-detect", "geojson"]
    assert (plan["pictures"], plan["left"]) == (3, 3)
    assert not (folder / "set").exists()
    result = cli("annotate", "artifact", shots, *options)
    assert "3, 3 of them left to do" in result.stdout
    assert "s a picture, measured" in result.stdout
    assert not (folder / "set").exists()


def test_a_broken_picture_is_named_and_passed_over(cli, shots, model):
    (shots / "broken.jpg").write_bytes(b"x")
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL, "--json")
    assert result.exit_code == 1
    summary = json.loads(result.stdout)
    assert [one["file_name"] for one in summary["failed"]] == ["broken.jpg"]
    assert summary["pictures"] == 3
    assert "broken.jpg: cannot be read" in result.stderr
    assert "1 of 4 pictures could not be looked at" in result.stderr
    (shots / "broken.jpg").write_bytes((shots / "a b.jpg").read_bytes())
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert result.exit_code == 0, result.output
    assert len(coco()["images"]) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["shots"], "error: nothing to look for: give --text PHRASE, --classes FILE or --like"),
        (["shots", "--text", "=x"], "--text '=x': a phrase, or phrase=category"),
        (["shots", "--text", "dog", "--format", "voc"], "--format 'voc': is no format; there are"),
        (["shots", "--text", "dog", "--threshold", "2"], "scores lie between 0 and 1"),
        (["none-*.jpg", "--text", "dog"], "none-*.jpg: no picture matches"),
        (["list.txt", "--text", "dog"], "list.txt: cannot be read"),
        (["shotz", "--text", "dog"], "error: shotz: no such file or folder; give pictures"),
        (["shots", "--classes", "none.yaml"], "--classes none.yaml: cannot be read"),
        (["https://x.org/a.jpg", "--text", "dog"], "URLs (https://) are not fetched"),
        (["shots", "--text", "dog", "-o", "shots"], "-o shots: holds something else"),
        (["", "--text", "dog"], "error: a path is empty"),
        (["shots", "--text", "dog", "-o", ""], "error: a path is empty"),
        (["shots", "--text", "dog", "--images", "shots"], "--images shots: is where a COCO"),
        (["shots", "--text", "dog", "--format", ""], "--format '': is no format"),
        (["shots", "--text", "dog", "-o", "shots/z.png"], "-o shots/z.png: is no folder"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(cli, folder, shots, model, arguments, says):
    before = sorted(folder.rglob("*"))
    output = [] if "-o" in arguments else ["-o", "set"]
    result = cli("annotate", "artifact", *arguments, *output)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not model.loaded_with
    assert sorted(folder.rglob("*")) == before


def test_other_options_for_the_same_folder_are_refused_in_one_line(cli, shots, model):
    cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    result = cli("annotate", "artifact", shots, "--text", "cat", *ALL)
    assert result.exit_code == 2
    assert "error: -o set: was begun" in result.stderr
    assert 'the phrases ([["dog", "dog"]] then); give what was given then, or another' in (
        result.stderr
    )
    assert result.stderr.count("\n") == 1


def test_a_folder_in_use_is_to_be_waited_for(cli, shots, model):
    from sam3_tvm.annotate import Dataset, PhraseFinder, collect

    with Dataset(Path("set"), PhraseFinder(model, ["dog"], 0), collect([shots])):
        result = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert result.exit_code == 2
    assert "-o set: another process is at work on it; wait for it, or give" in result.stderr
    Path("set/journal.jsonl").write_text("null\n")
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert result.stderr.endswith("or a damaged one; give another folder\n")


def test_ids_that_are_dropped_are_said(cli, shots, model):
    Path("list.json").write_text(json.dumps({"images": [{"id": 7, "file_name": "shots/z.png"}]}))
    result = cli("annotate", "artifact", "list.json", shots, "--text", "dog", *ALL)
    assert result.exit_code == 0, result.output
    assert "warning: ids of a COCO image list don't tell" in result.stderr


def test_an_interrupted_command_says_how_to_go_on(cli, shots, model, monkeypatch):
    class Once:
        signal = None
        asked = 0

        def __init__(self, at_hand):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __call__(self):
            self.asked += 1
            if self.asked > 1:
                self.signal = 15
            return self.asked > 1

    with monkeypatch.context() as patch:
        patch.setattr(cli_annotate, "Interrupts", Once)
        result = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert result.exit_code == 128 + 15
    assert "interrupted with 2 of 3 pictures left" in result.stderr
    assert sorted(path.name for path in Path("set").iterdir()) == ["journal.jsonl"]
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert result.exit_code == 0
    assert len(coco()["images"]) == 3


def test_a_long_phrase_is_said_once(cli, shots, model):
    long = "red dog and ball and cat"
    result = cli("annotate", "artifact", shots, "--text", long, *ALL)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("longer than the model reads") == 1


def test_a_format_that_cannot_be_written_is_named_and_the_exit_code_one(cli, shots, model):
    options = ("--text", "dog", "--format", "yolo-detect,geojson", "--copy", *ALL)
    Path("list.txt").write_text("shots/a b.jpg\nshots/sub/ä.png\nshots/z.png\n", "utf-8")
    assert cli("annotate", "artifact", "list.txt", *options, "-o", "two").exit_code == 0
    (shots / "z.png").unlink()
    result = cli("annotate", "artifact", "list.txt", *options, "-o", "two")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: two/yolo-detect: cannot be written (")
    assert "shots/z.png: cannot be copied (No such file" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "wrote two/geojson" in result.stdout


def test_what_was_used_is_said_beside_the_dataset(cli, shots, model):
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL)
    assert "looked at 3 pictures in " in result.stderr
    assert "the model computed 0% of the time" in result.stderr  # NumPy does
    assert "looked at" not in result.stdout
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL, "--json")
    assert json.loads(result.stdout)["run"] is None
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL[:2], "-o", "b", "--json")
    run = json.loads(result.stdout)["run"]
    assert (run["pictures"], run["computing"]) == (3, 0)
    assert run["seconds"] > 0
    assert run["cpu"] > 0
    assert "run" not in json.loads(Path("b/summary.json").read_text())


def test_a_list_with_missing_pictures_does_the_others_and_names_those(cli, shots, model):
    Path("list.txt").write_text("shots/z.png\nshots/gone.png\nshots/a b.jpg\n")
    plan = cli("annotate", "artifact", "list.txt", "--text", "dog", *ALL, "--dry-run")
    assert "not there" in plan.stdout
    assert "1, such as shots/gone.png" in plan.stdout
    result = cli("annotate", "artifact", "list.txt", "--text", "dog", *ALL)
    assert result.exit_code == 1
    assert "shots/gone.png: no such file" in result.stderr
    assert [one["file_name"] for one in coco()["images"]] == ["shots/z.png", "shots/a b.jpg"]


def test_other_sizes_than_a_coco_list_says_are_said(cli, shots, model):
    images = [
        {"id": 7, "file_name": "z.png", "width": 16, "height": 26},
        {"id": 9, "file_name": "a b.jpg", "width": 24, "height": 16},
        {"id": 8, "file_name": "sub/ä.png", "width": "?"},
    ]
    (shots / "list.json").write_text(json.dumps({"images": images}))
    result = cli("annotate", "artifact", shots / "list.json", "--text", "dog", *ALL)
    assert result.exit_code == 0, result.output
    assert (
        "warning: 1 of the pictures are of another size than their list says, such as z.png: "
        "16 x 26 there, 26 x 16 in the file, upright" in result.stderr
    )
    sizes = {one["id"]: (one["width"], one["height"]) for one in coco()["images"]}
    assert sizes == {7: (26, 16), 9: (24, 16), 8: (25, 16)}


def test_with_ray_and_without_it_the_extra_is_named_before_anything_is_loaded(
    cli, shots, model, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL, "--ray")
    assert result.exit_code == 2
    assert "annotating on a cluster needs ray" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not model.loaded_with
    assert not Path("set").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--ray"], "--ray: Ray cannot be started on this machine (no room)"),
        (
            ["--ray-address", "auto"],
            "--ray-address auto: no cluster of Ray's can be used (no room)",
        ),
    ],
)
def test_a_cluster_that_cannot_be_used_is_one_line(cli, shots, model, monkeypatch, options, says):
    def init(*_: object, **__: object) -> None:
        raise ConnectionError("no room\nand more")

    ray = ModuleType("ray")
    ray.init, ray.data = init, ModuleType("ray.data")
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    result = cli("annotate", "artifact", shots, "--text", "dog", *ALL, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {says}")
    assert result.stderr.count("\n") == 1
