"""``sam3-tvm track --text``: a session on random weights, whose phrases find and lose objects."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from concept_harness import ConceptStudio
from track_harness import moving_shapes

import sam3_tvm
from sam3_tvm.film.outputs.json_lines import JsonLines
from sam3_tvm.runtime.video.session import TrackSession
from tests.cli.track_helpers import contents, files, frame_count, lines, masks

# By these objects come and go: what isn't found anew in its place is hidden, and removed later.
RULES = {
    "score_threshold_detection": 0.468,
    "new_det_thresh": 0.47,
    "det_nms_thresh": 0.93,
    "assoc_iou_thresh": 0.95,
    "trk_assoc_iou_thresh": 0.95,
    "init_trk_keep_alive": 1,
    "suppress_unmatched_only_within_hotstart": False,
    "hotstart_delay": 3,
    "hotstart_unmatch_thresh": 3,
    "hotstart_dup_thresh": 3,
    "fill_hole_area": 4,
}
COUNT = 5
TEXTS = ["--text", "dog", "--text", "a cat"]
OUTPUTS = ["-o", "x.jsonl", "-o", "x.mp4", "-o", "masks", "-o", "sheet.png"]
PHRASES = {"dog", "a cat"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> ConceptStudio:
    return ConceptStudio("random:tiny:4", tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def model(studio, monkeypatch):
    """What ``sam3_tvm.load`` gives."""
    made = studio.with_rules(**RULES)[0]
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: made, raising=False)
    return made


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Pictures, so that what is read is what was written."""
    folder = tmp_path_factory.mktemp("film") / "frames"
    folder.mkdir()
    for index, frame in enumerate(moving_shapes(COUNT)):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def written(frames) -> list[dict[int, tuple[str | None, np.ndarray]]]:
    """Of each frame its objects' phrases and masks, by id."""
    return [dict(zip(f.objects, zip(f.phrases, f.masks, strict=True), strict=True)) for f in frames]


def assert_same(found: list[dict], wanted: list[dict]) -> None:
    """Lines of JSON beside :func:`written`."""
    assert len(found) == len(wanted)
    for line, frame in zip(found, wanted, strict=True):
        assert {one["id"]: one.get("phrase") for one in line["objects"]} == {
            name: phrase for name, (phrase, _) in frame.items()
        }
        for name, mask in masks(line).items():
            np.testing.assert_array_equal(mask, frame[name][1])


def stop_at(monkeypatch, index: int) -> None:
    """Ctrl-C while a frame is written, once."""
    write, done = JsonLines.write, []

    def interrupted(self, frame):
        if frame.index == index and not done:
            done.append(index)
            os.kill(os.getpid(), signal.SIGINT)
        write(self, frame)

    monkeypatch.setattr(JsonLines, "write", interrupted)


@pytest.mark.parametrize("live", [False, True])
def test_what_phrases_find_is_what_a_session_gives(cli, folder, model, film, live):
    with model.track(film, live=live) as session:
        for phrase in ("dog", "a cat"):
            session.add_text(phrase)
        wanted = written(session.propagate())
    result = cli("track", "artifact", film, *TEXTS, *OUTPUTS, *(["--live"] if live else []))
    assert result.exit_code == 0, result.output
    found = lines(folder / "x.jsonl")
    assert_same(found, wanted)
    assert {one["phrase"] for line in found for one in line["objects"]} == PHRASES
    first, last = masks(found[0]), masks(found[-1])
    assert set(last) - set(first), "none has come"
    assert live or set(first) - set(last), "none has gone"
    assert {p.name for p in Path("masks").iterdir()} == {
        f"{line['frame']:06d}-{one['id']}.png" for line in found for one in line["objects"]
    }
    assert frame_count(folder / "x.mp4") == COUNT
    names = {one["id"]: one["phrase"] for line in found for one in line["objects"]}
    for phrase in PHRASES:
        count = list(names.values()).count(phrase)
        assert f"{phrase}: {count} object{'' if count == 1 else 's'}\n" in result.stdout


def test_what_a_phrase_did_not_find_is_said(cli, folder, studio, film, monkeypatch):
    none = studio.with_rules(**{**RULES, "score_threshold_detection": 0.99})[0]
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: none, raising=False)
    result = cli("track", "artifact", film, "--text", "dog", "--frames", "2", "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    assert "dog: no objects\n" in result.stdout
    assert [line["objects"] for line in lines(folder / "x.jsonl")] == [[], []]


def test_the_summary_says_what_each_phrase_found(cli, folder, model, film):
    shown = ["--point", "40,80", "-o", "x.jsonl", "--json"]
    result = cli("track", "artifact", film, *TEXTS, "--text", "dog", *shown)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    of = {one["id"]: one["phrase"] for one in document["objects"]}
    assert of[1] is None
    assert [one["phrase"] for one in document["phrases"]] == ["dog", "a cat"]
    for one in document["phrases"]:
        assert one["objects"] == list(of.values()).count(one["phrase"]) > 0


def test_objects_that_are_shown_are_found_as_without_phrases(cli, folder, model, film):
    # New on the first frame and on later ones, and corrected where results still are held back.
    shown = [
        *("--point", "40,80:1", "--point", "60,90@1:1", "--point", "150,60@3:1"),
        *("--box", "20,30,90,120@1:2", "--point", "44,61@3:2", "--point", "100,100@4:3"),
    ]
    assert cli("track", "artifact", film, *shown, "-o", "alone.jsonl").exit_code == 0
    result = cli("track", "artifact", film, *shown, *TEXTS, "-o", "both.jsonl")
    assert result.exit_code == 0, result.output
    alone, both = lines(folder / "alone.jsonl"), lines(folder / "both.jsonl")
    assert [len(line["objects"]) for line in alone] == [1, 2, 2, 2, 3]
    for line, beside in zip(alone, both, strict=True):
        assert [one for one in beside["objects"] if "phrase" not in one] == line["objects"]
        assert {one["phrase"] for one in beside["objects"] if "phrase" in one} <= PHRASES
        # No object of a phrase has the id of one that is shown later.
        assert not {1, 2, 3} & {one["id"] for one in beside["objects"] if "phrase" in one}


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        (["--backward"], range(COUNT)),
        (["--backward", "--start", "3", "--frames", "3"], range(1, 4)),
        (["--start", "2"], range(2, COUNT)),
        (["--start", "2", "--both"], range(COUNT)),
        (["--both", "--point", "40,80@2"], range(COUNT)),
        (["--point", "40,80@3", "--frames", "4"], range(4)),
        (["--point", "40,80@3", "--backward"], range(COUNT)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_phrases_are_looked_for_on_the_frames_that_are_passed(
    cli, folder, model, film, options, indices
):
    result = cli("track", "artifact", film, *TEXTS, *options, "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    found = lines(folder / "x.jsonl")
    assert [line["frame"] for line in found] == list(indices)
    of = [{one.get("phrase") for one in line["objects"]} - {None} for line in found]
    assert of[0]
    assert of[-1]
    assert set().union(*of) == PHRASES


@pytest.mark.parametrize(
    ("at", "live"),
    [(0, []), (1, []), (COUNT - 2, []), (2, ["--live"])],
    ids=lambda value: f"{value}",
)
def test_a_run_with_phrases_goes_on(cli, folder, model, film, monkeypatch, at, live):
    shown = ["--point", "40,80@1:1", "--point", "60,90@3:1", "--point", "90,60@2:2"]
    command = ["track", "artifact", film, *TEXTS, *shown, *live, *OUTPUTS]
    whole = cli(*command)
    assert whole.exit_code == 0, whole.output
    expected = contents(folder)
    for name in ("x.jsonl", "x.mp4", "sheet.png"):
        Path(name).unlink()
    shutil.rmtree("masks")
    with monkeypatch.context() as patched:
        stop_at(patched, at)
        result = cli(*command)
    assert result.exit_code == 130, result.output
    assert f"interrupted after frame {at}: what was written is whole" in result.stderr
    assert [line["frame"] for line in lines(folder / "x.jsonl")] == list(range(at + 1))
    assert frame_count(folder / "x.mp4") == at + 1
    result = cli(*command, "--resume")
    assert result.exit_code == 0, result.output
    assert contents(folder) == expected
    assert frame_count(folder / "x.mp4") == COUNT
    assert result.stdout == whole.stdout


@pytest.mark.parametrize("options", [[], ["--backward"]], ids=["forward", "backward"])
def test_ctrl_c_is_heard_before_the_first_result_comes(
    cli, folder, model, film, monkeypatch, options
):
    advance, passed = TrackSession._advance, []

    def interrupted(self, frame, *rest):
        passed.append(frame.index)
        if len(passed) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return advance(self, frame, *rest)

    monkeypatch.setattr(TrackSession, "_advance", interrupted)
    Path("x.jsonl").write_text("older")
    command = ["track", "artifact", film, *TEXTS, *options, "-o", "x.jsonl", "-o", "x.mp4"]
    result = cli(*command)
    assert result.exit_code == 130, result.output
    assert len(passed) == 2
    assert "interrupted before the first frame was found: nothing is written" in result.stderr
    assert files(folder) == {"x.jsonl"}
    assert Path("x.jsonl").read_text() == "older"
    assert "nothing to resume" in cli(*command, "--resume").stderr


def test_a_broken_film_leaves_what_was_found_before_whole(cli, folder, model, film):
    shutil.copytree(film, "frames")
    broken = folder / "frames" / "3.png"
    broken.write_bytes(broken.read_bytes()[:300])
    # Results are held back when it comes, and a prompt on it is heard before them.
    for shown in ([], ["--point", "40,80@3"]):
        result = cli("track", "artifact", "frames", *TEXTS, *shown, "-o", "x.jsonl")
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert "frames: frame 3: " in line
        assert line.endswith("what was found before is written: 3 frames")
        assert [line["frame"] for line in lines(folder / "x.jsonl")] == [0, 1, 2]
        assert not (folder / "x.jsonl.resume").exists()


def test_a_run_with_other_phrases_is_not_gone_on_with(cli, folder, model, film, monkeypatch):
    command = ["track", "artifact", film, "-o", "x.jsonl", *TEXTS]
    with monkeypatch.context() as patched:
        stop_at(patched, 1)
        assert cli(*command).exit_code == 130
    before = contents(folder)
    for options, says in (
        (["--text", "cow"], "the phrases ('dog', 'a cat' then)"),
        (["--live"], "when results come (late then)"),
    ):
        result = cli(*command, *options, "--resume")
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert f"the interrupted run differs in {says}; give the same options" in line
        assert contents(folder) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--text", " "], "--text is empty: give a phrase, such as --text 'black cat'"),
        (["--text", "dog\ud800"], "is no valid Unicode"),
        (["--point", "4,4", "--live"], "--live is for --text"),
        (["--text", "dog", "--both"], "--both with --text alone: give --start FRAME"),
        (["--text", "dog", "--negative-point", "3,4"], "object 1 has negative points alone"),
        (["--text", "dog", "--start", "99"], "frame 99 is not in the film"),
        (["--text", "dog", "--point", "4,4@4", "--frames", "3"], "--frames 3 from frame 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_looked_for_is_one_line(cli, folder, model, film, options, says):
    result = cli("track", "artifact", film, *options, *OUTPUTS)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert files(folder) == set()


def test_without_scipy_the_extra_is_named(cli, folder, model, film, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    result = cli("track", "artifact", film, *TEXTS, *OUTPUTS)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert "a film by phrase needs scipy" in line
    assert "pip install 'sam3-tvm[video]'" in line
    assert files(folder) == set()


def test_an_artifact_that_is_for_pictures_alone_is_one_line(
    cli, folder, toy_artifact, film, monkeypatch
):
    pictures = sam3_tvm.Model(None, None, toy_artifact.manifest, "of pictures")
    monkeypatch.setattr(sam3_tvm, "load", lambda path, threads=None: pictures, raising=False)
    result = cli("track", "artifact", film, *TEXTS, *OUTPUTS)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert "this artifact is not for video" in line
    assert files(folder) == set()


def test_a_phrase_that_is_too_long_is_said_as_by_segment(cli, folder, model, film):
    phrase = "a dog that is " + "very " * 20 + "happy"
    result = cli("track", "artifact", film, "--text", phrase, "--frames", "1", "-o", "x.jsonl")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stderr.splitlines() if "warning" in line]
    assert line.startswith("warning: --text 'a dog that is very")
    assert "is longer than the model reads: searched was 'a dog that is very" in line
