"""Names of files that look like options, like markup, or move the cursor, in every command."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from rectangles import document, prompt, write_folder

from tests.cli.track_helpers import SHOW, lines

# In a folder "[", for what looks like the end of markup: "[/red].png".
NAMES = ("-x", "[bold]a[/]", "[/red]", "a\nb", "c\x1b[31m", "%s{}%d", "{0}", ":smile:", "a  b")


def as_shown(name: str) -> str:
    return name.replace("\n", r"\n").replace("\x1b", r"\x1b")


@pytest.fixture(params=NAMES)
def name(request, folder) -> str:
    """A name, whose folder is there."""
    Path(request.param).parent.mkdir(exist_ok=True)
    return request.param


def check(result, *said: str) -> None:
    """The command did its work, and said these."""
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
    for text in said:
        assert as_shown(text) in result.stdout


def test_a_picture_and_its_output(cli, folder, picture, model, name):
    picture(folder / f"{name}.png")
    out = f"{name}-out"
    result = cli("segment", "-o", out, "--text", "dog", "--", "artifact", f"{name}.png")
    check(result, f"{name}.png (", f"wrote {out}/{Path(name).name}.png")
    assert Path(out, f"{Path(name).name}.png").is_file()


def test_a_collection_and_its_dataset(cli, folder, picture, model, name):
    picture(folder / f"{name}.png")
    out, formats = f"{name}-set", "coco,yolo,geojson,labelme,cvat"
    options = ("-o", out, "--text", "dog", "--threshold", "0", "--format", formats)
    result = cli("annotate", *options, "--", "artifact", f"{name}.png")
    check(result, f"{out}: 1 pictures", f"wrote {out}/cvat")
    labels = [*Path(out, "yolo-segment", "labels").iterdir()]
    assert [path.name for path in labels] == [f"{Path(name).name}.txt"]
    assert labels[0].read_text()


def test_a_film_and_its_outputs(cli, folder, tracker, film, name):
    shutil.copy(film, f"{name}.mp4")
    result = cli("track", *SHOW, "-o", f"{name}.jsonl", "artifact", "--", f"{name}.mp4")
    check(result, f"{name}.mp4 (", f"wrote {name}.jsonl")
    assert lines(Path(f"{name}.jsonl"))


def test_annotations_and_a_report(cli, folder, model, name):
    made = document()
    made["prompts"] = [prompt(1)]
    Path(name).mkdir()
    write_folder(Path(name), made)
    result = cli("evaluate", "-o", f"{name}.json", "artifact", "--", name)
    check(result, f"{name}/annotations.json: ", f"wrote {name}.json")
    assert json.loads(Path(f"{name}.json").read_text())["annotations"] == f"{name}/annotations.json"


@pytest.mark.parametrize(
    "command",
    [
        ["info", "--", "NAME"],
        ["verify", "--integrity", "--", "NAME"],
        ["segment", "--text", "dog", "--", "artifact", "NAME"],
        ["click", "--point", "1,1", "--", "artifact", "NAME"],
        ["track", "--point", "1,1", "--", "artifact", "NAME"],
        ["track", "--mask", "NAME", "artifact", "film"],
        ["track", "--point", "1,1", "-o", "none/NAME.jsonl", "artifact", "film"],
        ["evaluate", "--", "artifact", "NAME"],
        ["evaluate", "--sheet", "none/NAME", "artifact", "data"],
    ],
)
def test_what_is_missing_is_named(cli, folder, picture, model, name, command):
    picture(Path("film") / "1.png")
    result = cli(*[part.replace("NAME", name) for part in command])
    assert result.exit_code in (1, 2)
    assert isinstance(result.exception, SystemExit)
    first = result.stderr.splitlines()[0]
    assert first.startswith("error: ")
    assert as_shown(name) in first
    assert first.isprintable()
    assert not os.path.exists("none")
