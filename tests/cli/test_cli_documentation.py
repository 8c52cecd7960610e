"""What the documents say is so: their code runs, their links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from sam3_tvm.assets import photographs
from sam3_tvm.cli import app
from tests import video_scenes

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def blocks(name: str, language: str) -> list[str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run(name: str, folder: Path) -> None:
    """Run the Python blocks of a document, one after the other, in a process of their own."""
    code = "\n\n".join(blocks(name, "python"))
    assert code
    script = folder / "blocks.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_the_readmes_code_runs(tiny_artifact, tmp_path):
    (tmp_path / "sam3-cpu").symlink_to(tiny_artifact, target_is_directory=True)
    shutil.copyfile(photographs()[1], tmp_path / "photo.jpg")
    video_scenes.write_video(tmp_path / "dance.mp4", 4)
    run("README.md", tmp_path)
    assert (tmp_path / "found.png").is_file()


def test_the_page_on_collections_runs(tiny_artifact, tmp_path):
    (tmp_path / "sam3-cpu").symlink_to(tiny_artifact, target_is_directory=True)
    (tmp_path / "photos").mkdir()
    shutil.copyfile(photographs()[1], tmp_path / "photos" / "photo.jpg")
    run("docs/annotate.md", tmp_path)
    assert (tmp_path / "pets" / "coco" / "annotations.json").is_file()


@pytest.mark.slow
def test_the_page_on_clusters_runs(tiny_artifact, tmp_path):
    pytest.importorskip("ray", reason="Ray isn't installed")
    (tmp_path / "sam3-cpu").symlink_to(tiny_artifact, target_is_directory=True)
    (tmp_path / "photos").mkdir()
    shutil.copyfile(photographs()[1], tmp_path / "photos" / "photo.jpg")
    run("docs/cluster.md", tmp_path)
    assert (tmp_path / "pets-by-ray" / "coco" / "annotations.json").is_file()


def test_the_importers_page_runs(tmp_path):
    pytest.importorskip("tvm")
    run("docs/importer.md", tmp_path)


def test_the_example_of_differing_masks_is_one(tmp_path):
    run("docs/reference-implementations.md", tmp_path)


def test_json_in_the_artifacts_page_is_json():
    shown = [json.loads(block) for block in blocks("docs/artifact-format.md", "json")]
    assert {key for block in shown for key in block} >= {"name", "inputs", "tensors", "functions"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), target


def test_the_readmes_commands_exist():
    group = get_command(app)
    shown = [line.split() for b in blocks("README.md", "sh") for line in b.splitlines()]
    used = [words for words in shown if words[:1] == ["sam3-tvm"]]
    assert {words[1] for words in used} == set(group.commands)
    for words in used:
        known = {o for p in group.commands[words[1]].params for o in p.opts}
        assert {w for w in words if re.match(r"--?[a-z]", w)} <= known


@pytest.mark.parametrize("page", ["annotate", "cluster"])
def test_the_commands_on_collections_are_taken(page):
    (shown,) = blocks(f"docs/{page}.md", "sh")
    known = {o for p in get_command(app).commands["annotate"].params for o in p.opts}
    for line in shown.splitlines():
        words = line.partition("#")[0].split()
        if words[0] == "ray":
            continue
        assert words[:2] == ["sam3-tvm", "annotate"]
        assert {w for w in words if re.match(r"--?[a-z]", w)} <= known


def test_the_page_on_collections_names_every_format():
    from sam3_tvm.annotate import FORMATS

    page = (ROOT / "docs/annotate.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([a-z-]+)` \| .* \| .* \| .* \|$", page, re.MULTILINE) == [*FORMATS]


def test_the_artifacts_page_names_every_entry_of_the_manifest():
    from dataclasses import fields

    from sam3_tvm import manifest, rules

    page = (ROOT / "docs/artifact-format.md").read_text(encoding="utf-8")
    classes = (manifest.Manifest, manifest.Source, manifest.Target)
    classes += (rules.Preprocessing, rules.ClickRules, rules.VideoRules, rules.ConceptVideoRules)
    for entry in (f.name for c in classes for f in fields(c)):
        assert re.search(rf"`(\w+\.)?{entry}\b[\w.]*`", page), entry
