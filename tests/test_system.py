"""Systems differ in one module; what the others lack, the package does without."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sam3_tvm import system

sys.path.insert(0, str(Path(__file__).parent / "runtime"))
import toy

PACKAGE = Path(__file__).parents[1] / "src" / "sam3_tvm"

# What only some systems have.
MODULES = {"resource", "fcntl", "msvcrt", "winreg", "pwd", "grp"}
NAMES = {
    *(
        "os.fork",
        "os.killpg",
        "os.waitid",
        "os.register_at_fork",
        "os.add_dll_directory",
        "os.name",
    ),
    *("os.O_DIRECTORY", "os.O_NOFOLLOW", "os.setsid", "os.geteuid", "os.getuid", "os.mkfifo"),
    *("signal.SIGKILL", "signal.SIGHUP", "signal.SIGTERM", "mmap.MAP_ANONYMOUS", "platform.system"),
    *("mmap.MADV_HUGEPAGE", "sys.platform"),
}
# Facts of the machine are read by one module, too; targets and libraries are named by system.
FACTS = {
    "host": {"os.sched_getaffinity", "os.sysconf", "sys.platform", "/proc", "/sys"},
    "compiler/targets/cpu": {"platform.system", "sys.platform"},
    "bench/process": {"signal.SIGTERM"},
}


def named(text: str) -> set[str]:
    """What a file names of what only some systems have: modules, attributes, places."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & MODULES
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            found |= {name} & {*NAMES, "os.sched_getaffinity", "os.sysconf"}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # A place, and no sentence about one.
            place = re.fullmatch(r"(/proc|/sys)(/[\w./{}-]*)?", node.value)
            found |= {place[1]} if place else set()
    return found


def test_only_one_module_names_what_only_some_systems_have():
    broken = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).with_suffix("").as_posix()
        if file == "system":
            continue
        if odd := named(path.read_text(encoding="utf-8")) - FACTS.get(file, set()):
            broken[file] = sorted(odd)
    assert broken == {}


def test_what_is_allowed_is_named():
    for file, facts in FACTS.items():
        assert facts <= named((PACKAGE / f"{file}.py").read_text(encoding="utf-8")), file


def test_the_walk_sees_modules_attributes_and_places():
    text = (
        "import fcntl\nfrom resource import getrusage\nfrom signal import SIGKILL\n"
        "def f():\n    os.fork()\n    open('/proc/self/statm')\n    say('of /proc on Linux')\n"
    )
    assert named(text) == {"fcntl", "resource", "signal.SIGKILL", "os.fork", "/proc"}


# This process, as one of another system would be: after the libraries are there, which know theirs.
ELSEWHERE = """
import asyncio, multiprocessing, pathlib, platform, shutil, subprocess, tempfile, zipfile
import numpy, PIL.Image, tokenizers, safetensors.numpy, pycocotools.mask, tvm_ffi
import typer, rich.table, rich.progress, rich.console, concurrent.futures
import ctypes, mmap, os, signal, sys, sysconfig, zoneinfo

sysconfig.get_config_vars()
platform.platform()
sys.platform = {platform!r}
for name in ("resource", "fcntl", "pwd", "grp"):
    sys.modules[name] = None
for module, names in (
    (os, ("fork", "killpg", "waitid", "register_at_fork", "sched_getaffinity", "sysconf",
          "O_DIRECTORY", "geteuid", "getuid", "mkfifo")),
    (signal, ("SIGKILL", "SIGHUP")),
    (mmap, ("MADV_HUGEPAGE", "MAP_PRIVATE", "MAP_ANONYMOUS")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
if {platform!r} == "win32":
    whole = os.open
    def open_(path, *rest, **named):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path, *rest, **named)
    os.open = open_
    # As it is there, where folders aren't opened; Python 3.14 has asked already.
    shutil._use_fd_functions, shutil._rmtree_impl = False, shutil._rmtree_unsafe
"""


def elsewhere(code: str, *arguments: object, platform: str = "win32") -> str:
    """What a process prints that takes itself for another system's."""
    set_up = ELSEWHERE.format(platform=platform)
    done = subprocess.run(
        [sys.executable, "-c", set_up + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_an_artifact_is_written_replaced_and_opened_elsewhere(tmp_path, platform):
    code = """
import toy
from pathlib import Path
for _ in range(2):
    made = toy.write_artifact(Path(sys.argv[1]) / "toy")
print([p.name for p in Path(sys.argv[1]).iterdir()], len(made.weights().keys_of("scoring")) >= 0)
from sam3_tvm import host
print(host.peak_bytes() is None, host.cores() >= 1, host.physical_cores() >= 1)
"""
    first, second = elsewhere(code, tmp_path, platform=platform).splitlines()
    assert first == "['toy'] True"
    assert second.endswith("True True")


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_command_line_runs_elsewhere(tmp_path, platform):
    made = toy.write_artifact(tmp_path / "toy")
    code = """
import sam3_tvm.cli, sam3_tvm.annotate, sam3_tvm.film.run, sam3_tvm.batch.run, sam3_tvm.tiles
import sam3_tvm.bench.process, sam3_tvm.bench.worker, sam3_tvm.runtime.video.session
from sam3_tvm.cli import main
sys.argv[:] = ["sam3-tvm", "info", sys.argv[1], "--json"]
main()
"""
    assert '"random:toy"' in elsewhere(code, made.path, platform=platform)


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_pictures_are_segmented_elsewhere(tiny_artifact, tmp_path, platform):
    code = """
import sam3_tvm
from sam3_tvm.assets import photographs
model = sam3_tvm.load(sys.argv[1])
result = model.segment(photographs()[1], text="cat", threshold=0.0)
result.save(sys.argv[2])
print(len(result.scores))
"""
    assert int(elsewhere(code, tiny_artifact, tmp_path / "found.png", platform=platform)) > 0


def test_a_group_ends_with_its_process_by_each_of_the_ways(monkeypatch):
    sleep = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; "
    sleep += "time.sleep(60)'], stdout=1); print('there', flush=True); sys.exit(3)"
    for lacking in ((), ("waitid",), ("waitid", "killpg")):
        for name in lacking:
            monkeypatch.delattr(os, name, raising=False)
        process = subprocess.Popen(
            [sys.executable, "-c", sleep], stdout=subprocess.PIPE, **system.own_group()
        )
        assert system.end_group(process, 30) == 3
        assert process.stdout.readline() == b"there\n"
        if "killpg" not in lacking:
            # The end of the pipe, which the child of the process held, too.
            assert process.stdout.read() == b""
        else:
            break
        process.stdout.close()


def test_a_process_that_does_not_end_is_ended(monkeypatch):
    for lacking in ((), ("waitid",), ("waitid", "killpg")):
        for name in lacking:
            monkeypatch.delattr(os, name, raising=False)
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], **system.own_group()
        )
        code = system.end_group(process, 0.1)
        assert system.was_killed(code)
        assert system.what_ended(code) == "SIGKILL"
    assert system.what_ended(3) is None
    assert system.what_ended(-1_000_000) is None


def test_an_artifact_in_use_elsewhere_stays_and_is_said_to_be(tmp_path, monkeypatch):
    """Where files are mapped, Windows refuses to rename the folder that they are in."""
    made = toy.write_artifact(tmp_path / "toy")
    before = made.fingerprint
    rename = Path.rename

    def refuse(self, target):
        if self == made.path:
            raise PermissionError(13, "Access is denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    from sam3_tvm import artifact

    with pytest.raises(artifact.ArtifactError, match=r"cannot be replaced .*is it in use\?"):
        toy.write_artifact(made.path)
    monkeypatch.undo()
    assert artifact.open(made.path).fingerprint == before
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_libraries_are_looked_for_in_folders_where_a_system_asks_for_them(tmp_path, monkeypatch):
    asked = []

    class Added:
        def close(self):
            asked.append("closed")

    def add(folder):
        asked.append(folder)
        return Added()

    monkeypatch.setattr(os, "add_dll_directory", add, raising=False)
    with system.finding_libraries(tmp_path, tmp_path / "none"):
        assert asked == [str(tmp_path.resolve())]
    assert asked[1:] == ["closed"]
