"""What is released: one version, a wheel that is whole, and what it says of its licences."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def project() -> dict:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_citation_is_of_this_version_and_licence():
    said = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", said, re.MULTILINE) == [project()["version"]]
    assert metadata.version("sam3-tvm") == project()["version"]
    assert re.findall(r"^license: (.+)$", said, re.MULTILINE) == ["Apache-2.0"]


def test_what_make_installs_lies_within_what_may_be_installed():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    chosen = [Requirement(line) for line in lines if not line.startswith("#")]
    ranges = [Requirement(line) for line in project()["optional-dependencies"]["compile"]]
    assert {one.name for one in ranges} == {one.name for one in chosen}
    for exact in chosen:
        (version,) = exact.specifier
        assert version.operator == "=="
        for one in [*ranges, *map(Requirement, project()["dependencies"])]:
            assert one.name != exact.name or one.specifier.contains(version.version), one


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel that pip builds of this tree, by the setuptools that is here."""
    pytest.importorskip("setuptools", minversion="77", reason="no setuptools to build with")
    folder = tmp_path_factory.mktemp("wheel")
    # Of a copy, since a build leaves folders in the tree that it is of.
    tree = folder / "tree"
    for name in ("src", "checkpoints", "examples"):
        _copy(ROOT / name, tree / name)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        (tree / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", folder]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, tree], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


def _copy(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in f"{path}":
            to = target / path.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package_and_the_demonstration(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {*archive.namelist()}
        package = ROOT / "src" / "sam3_tvm"
        ours = {p.relative_to(package.parent).as_posix() for p in package.rglob("*.py")}
        assert ours <= names
        assert {n for n in names if n.startswith("sam3_tvm/") and n.endswith(".py")} == ours
        shapes = {p.name: p for p in (ROOT / "checkpoints" / "shapes").iterdir()}
        stem = "sam3_tvm/assets/demo"
        for name, path in shapes.items():
            assert archive.read(f"{stem}/shapes/{name}") == path.read_bytes()
        shown = {p.name for p in (ROOT / "examples").iterdir() if p.suffix in (".jpg", ".mp4")}
        assert {n.rpartition("/")[2] for n in names if f"{stem}/examples/" in n} == shown
        assert "sam3_tvm/py.typed" in names
        assert "sam3_tvm/serve/page/index.html" in names


@pytest.mark.slow
def test_the_wheel_says_its_version_and_its_licences_as_spdx_has_them(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(archive.read(name).decode("utf-8"))
        folder = name.rpartition("/")[0]
        assert said["Version"] == project()["version"]
        assert said["License-Expression"] == "Apache-2.0 AND CC0-1.0"
        files = said.get_all("License-File")
        assert {"LICENSE", "src/sam3_tvm/assets/photos/LICENSES.txt"} <= {*files}
        for file in files:
            assert archive.read(f"{folder}/licenses/{file}")


@pytest.mark.slow
def test_the_demonstration_runs_from_the_wheel_in_an_empty_folder(wheel, tmp_path):
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    work = tmp_path / "work"
    work.mkdir()
    # Nothing of this process's surroundings, but where Python and a C compiler are.
    environment = {"PATH": "/usr/bin:/bin", "HOME": f"{work}", "PYTHONPATH": f"{site}"}
    environment["TVM_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"
    where = "import sam3_tvm; print(sam3_tvm.__file__)"
    run = [sys.executable, "-P"] if sys.version_info >= (3, 11) else [sys.executable]
    found = subprocess.run(
        [*run, "-c", where], cwd=work, env=environment, capture_output=True, text=True
    )
    assert found.stdout.startswith(f"{site}")
    done = subprocess.run(
        [*run, "-m", "sam3_tvm", "demo"], cwd=work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f"{site / 'sam3_tvm' / 'assets' / 'demo' / 'shapes'}" in done.stdout
    made = {path.name for path in (work / "out" / "demo").iterdir()}
    assert made >= {"hexagons.png", "stars.png", "outlines.png", "film.mp4", "film.png"}
    assert (work / "out" / "shapes" / "manifest.json").is_file()


def test_the_workflow_does_what_continuous_integration_runs():
    """On every system: by .ci/run itself, or where there is no make, by its steps."""
    yaml = pytest.importorskip("yaml")
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    assert "has not run" in text.partition("name:")[0]
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["ci"]["steps"][-1] == {"run": "bash .ci/run"}
    rows = jobs["ci"]["strategy"]["matrix"]["include"]
    runners = [row["runner"] for row in rows]
    assert {runner.partition("-")[0] for runner in runners} == {"ubuntu", "macos"}
    assert any(runner.endswith("-arm") for runner in runners)
    # In one row what needs a browser isn't skipped.
    assert [row["require"] for row in rows if "require" in row] == ["chromium"]
    assert jobs["ci"]["env"]["SAM3_TVM_REQUIRE"] == "${{ matrix.require }}"
    (install,) = (step for step in jobs["ci"]["steps"] if "playwright" in step.get("run", ""))
    assert install["if"] == "matrix.require == 'chromium'"
    ran = "\n".join(step.get("run", "") for step in jobs["windows"]["steps"])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for tool in (
        "ruff check .",
        "ruff format --check .",
        "mypy",
        "pip install --quiet --constraint constraints.txt",
        "-e '.[dev]'",
    ):
        assert tool in makefile
        assert tool in ran
    (options,) = re.findall(r"pytest (-n .+)$", makefile, re.MULTILINE)
    assert re.findall(r"pytest (.+)$", ran, re.MULTILINE) == [options, f"{options} -m slow"]
    commands = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line for line in commands if line.startswith("make")] == ["make test", "make test-slow"]
