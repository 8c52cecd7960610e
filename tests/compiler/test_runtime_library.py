"""TVM's runtime of the machine that an artifact is for: given, kept, or fetched by pip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib import metadata
from types import SimpleNamespace

import pytest

from sam3_tvm.binary import Binary, parse_binary
from sam3_tvm.compiler import runtime_library
from sam3_tvm.compiler.runtime_library import (
    RuntimeLibraryError,
    find_runtime,
    import_libraries,
    kept_runtimes,
)

pytest.importorskip("tvm")

HERE = Binary.here()
ARM, X86, MAC = Binary("Linux", "aarch64"), Binary("Linux", "x86_64"), Binary("Darwin", "aarch64")
OTHER = ARM if X86 == HERE else X86
VERSION = metadata.version("apache-tvm")


def library(target: Binary, more: bytes = b"") -> bytes:
    if target.system == "Darwin":
        return b"\xcf\xfa\xed\xfe\x0c\0\0\1" + bytes(24) + more
    machine = {"x86_64": 62, "aarch64": 183}[target.machine]
    return b"\x7fELF\2\1\1" + bytes(11) + bytes([machine, 0]) + bytes(44) + more


def wheel(folder, target: Binary, version: str = VERSION, name: str = "libtvm_runtime.so"):
    path = folder / f"apache_tvm-{version}-py3-none-manylinux_2_28_{target.machine}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"tvm/lib/{name}", library(target))
    return path


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sam3-tvm" / "runtime"


@pytest.fixture
def pip(monkeypatch, tmp_path):
    """Stands for pip: puts a wheel where it is told to, or fails with words."""
    calls = []
    answer = SimpleNamespace(target=OTHER, error=None, calls=calls)

    def run(command, **options):
        calls.append(command)
        if answer.error is not None:
            return SimpleNamespace(returncode=1, stdout="", stderr=answer.error)
        folder = command[command.index("--dest") + 1]
        wheel(type(tmp_path)(folder), answer.target)
        return SimpleNamespace(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(runtime_library.subprocess, "run", run)
    return answer


def test_this_machines_is_the_installed_one(pip):
    found = find_runtime(HERE)
    assert parse_binary(found.content[:4096]) == HERE
    assert len(found.content) > 1 << 20
    assert found.origin == f"apache-tvm {VERSION}, installed"
    assert not pip.calls


def test_anothers_is_fetched_once_and_kept(pip, kept):
    assert kept_runtimes() == kept
    found = find_runtime(OTHER)
    assert (found.name, found.content) == ("libtvm_runtime.so", library(OTHER))
    assert find_runtime(OTHER).content == found.content
    (command,) = pip.calls
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert command[-1] == f"apache-tvm=={VERSION}"
    assert f"--platform=manylinux_2_28_{OTHER.machine}" in command
    assert [p.name for p in kept.rglob("*") if p.is_file()] == ["libtvm_runtime.so"]


@pytest.mark.parametrize("spoilt", [b"", library(HERE), b"<html>"])
def test_what_is_kept_is_fetched_again_where_it_is_spoilt(pip, kept, spoilt):
    find_runtime(OTHER)
    (path,) = [p for p in kept.rglob("*") if p.is_file()]
    path.write_bytes(spoilt)
    assert find_runtime(OTHER).content == library(OTHER) == path.read_bytes()
    assert len(pip.calls) == 2


def test_where_nothing_can_be_kept_it_is_fetched_all_the_same(pip, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert find_runtime(OTHER).content == library(OTHER)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("WARNING: retrying\nERROR: no versions\nERROR: No match for apache-tvm\n", "No match"),
        ("/usr/bin/python3: No module named pip\n", "/usr/bin/python3: No module named pip"),
        ("", "no wheel came"),
    ],
)
def test_without_pip_or_network_it_is_said_what_to_give(pip, error, says):
    pip.error = error
    with pytest.raises(RuntimeLibraryError, match=rf"\({says}.*\): give its wheel.*--runtime") as e:
        find_runtime(OTHER)
    assert "\n" not in str(e.value)


def test_a_wheel_for_another_machine_than_asked_is_refused(pip, kept):
    pip.target = HERE
    with pytest.raises(RuntimeLibraryError, match=r"\.whl: is for .*, and the target is"):
        find_runtime(OTHER)
    assert not kept.exists()


def test_a_library_or_a_wheel_can_be_given(pip, tmp_path):
    path = tmp_path / "any name"
    path.write_bytes(library(OTHER, b"built by hand"))
    found = find_runtime(OTHER, path)
    assert (found.name, found.content) == ("libtvm_runtime.so", library(OTHER, b"built by hand"))
    assert find_runtime(OTHER, wheel(tmp_path, OTHER)).content == library(OTHER)
    path.write_bytes(library(MAC))
    assert find_runtime(MAC, path).name == "libtvm_runtime.dylib"
    assert not pip.calls


def test_what_is_given_must_be_for_the_target_and_of_the_version(pip, tmp_path):
    def refused(path, says):
        with pytest.raises(RuntimeLibraryError, match=says) as caught:
            find_runtime(OTHER, path)
        assert "\n" not in str(caught.value)

    theirs, ours = HERE.unlike(OTHER)
    mine, text = tmp_path / "mine.so", tmp_path / "text.so"
    mine.write_bytes(library(HERE))
    text.write_text("not code")
    refused(mine, rf"mine\.so: is for {theirs}, and the target is {ours}")
    refused(wheel(tmp_path, HERE), rf"is for {theirs}, and the target is {ours}")
    refused(text, r"text\.so: is no library of native code")
    refused(tmp_path / "gone.so", r"gone\.so: cannot be read \(No such file")
    refused(tmp_path, r"cannot be read \(Is a directory")
    refused(wheel(tmp_path, OTHER, "0.1"), r"is of apache-tvm 0\.1; the code is apache-tvm 0\.")
    refused(wheel(tmp_path, OTHER, name="other.so"), r"has no tvm/lib/libtvm_runtime\.so")
    refused(tmp_path / f"apache_tvm-{VERSION}-py3-none-any.whl", r"cannot be read \(No such file")
    (tmp_path / "odd.whl").write_text("")
    refused(tmp_path / "odd.whl", "no wheel's name")
    cut = wheel(tmp_path, OTHER)
    cut.write_bytes(cut.read_bytes()[:40])
    refused(cut, r"cannot be read \(File is not a zip file\)")


def test_code_for_windows_is_linked_with_what_it_calls(kept):
    assert import_libraries(HERE) == import_libraries(OTHER) == import_libraries(MAC) == {}
    windows, code = Binary("Windows", "x86_64"), b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0\x64\x86"
    place = kept / f"apache-tvm-ffi-{metadata.version('apache-tvm-ffi')}" / "windows_amd64"
    place.mkdir(parents=True)
    (place / "tvm_ffi.dll").write_bytes(code)
    assert import_libraries(windows) == {"tvm_ffi.dll": code}


@pytest.mark.slow
def test_the_real_pip_brings_the_real_library(kept):
    reached = subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(kept), "packaging"],
        capture_output=True,
        check=False,
    )
    if reached.returncode != 0:
        pytest.skip("no package index is reached")
    found = find_runtime(OTHER)
    assert parse_binary(found.content[:4096]) == OTHER
    assert len(found.content) > 1 << 20
