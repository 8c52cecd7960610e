"""Which compiler links, and what it is held to before anything is compiled."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from sam3_tvm import linking
from sam3_tvm.binary import Binary, read_binary
from sam3_tvm.linking import Linker, LinkError, find_linker

HERE = Binary.here()
ELSEWHERE = Binary("Linux", "aarch64" if HERE.machine == "x86_64" else "x86_64")

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not (shutil.which("gcc") or shutil.which("clang")),
    reason="no C compiler",
)


def compiler() -> str:
    return shutil.which("gcc") or shutil.which("clang") or ""


def program(folder, name: str, script: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_words_behind_the_program_are_options():
    linker = find_linker(None, f"{compiler()} -O2 '-DNAME=a b'")
    assert linker.words == (compiler(), "-O2", "-DNAME=a b")
    assert f"{linker}" == f"{compiler()} -O2 '-DNAME=a b' (--cxx)"


def test_a_quote_that_is_meant_stays_and_on_windows_a_backslash(monkeypatch):
    command = rf"{compiler()} -DNAME=\"a\""
    assert linking._words(command, "CXX") == (compiler(), '-DNAME="a"')
    monkeypatch.setattr(linking, "posix_shell", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    words = linking._words(r'"C:\Program Files\g++.exe" -O2', "CXX")
    assert words == (r"C:\Program Files\g++.exe", "-O2")


@pytest.mark.parametrize("variable", ["CXX", "CC"])
def test_variables_may_have_words_too(variable):
    linker = find_linker(environment={variable: f"{compiler()} -O1", "PATH": os.environ["PATH"]})
    assert (linker.words, linker.origin) == ((compiler(), "-O1"), variable)


def test_without_any_of_them_it_is_what_is_on_the_path():
    assert find_linker(environment={"CXX": " "}).origin == "the path"


def test_it_links_objects_into_a_library_for_this_machine(tmp_path):
    source, library = tmp_path / "a name.c", tmp_path / "a library.so"
    source.write_text("int seven(void) { return 7; }\n")
    find_linker()(str(library), [str(source)])
    assert read_binary(library) == HERE


@pytest.mark.parametrize(
    ("cxx", "says"),
    [
        ("'g++", r"--cxx is no command line \(No closing quotation\)"),
        (" ", "--cxx names no program"),
        (
            "no-such-compiler -O2",
            "--cxx names 'no-such-compiler', and there is no such program; give one",
        ),
        ("false", r"false \(--cxx\): ended with 1"),
        ("true -x", r"true -x \(--cxx\): made no library"),
    ],
)
def test_what_is_no_compiler_is_one_line(cxx, says):
    with pytest.raises(LinkError, match=says) as caught:
        find_linker(None, cxx)
    assert "\n" not in str(caught.value)


def test_a_compiler_for_another_machine_is_named():
    theirs, ours = HERE.unlike(ELSEWHERE)
    with pytest.raises(LinkError, match=rf"\(--cxx\): makes libraries for {theirs}, not {ours}"):
        find_linker(ELSEWHERE, compiler())


def test_what_a_compiler_says_is_in_the_line(tmp_path):
    broken = program(tmp_path, "cc", "echo 'ld: no space'; echo 'left on device'; exit 1")
    with pytest.raises(LinkError, match=r"ld: no space left on device$"):
        find_linker(None, broken)


def test_a_compiler_that_does_not_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(linking, "_PROBE_SECONDS", 0.2)
    slow = program(tmp_path, "cc", "exec sleep 20")
    with pytest.raises(LinkError, match=r"did not end within 0\.2 s"):
        find_linker(None, slow)


def test_a_variable_that_names_no_compiler_is_an_error_here():
    with pytest.raises(LinkError, match=r"CXX names 'nope'.*correct CXX, or give --cxx"):
        find_linker(environment={"CXX": "nope"})


def test_a_variable_for_another_machine_is_passed_over_where_that_may_be(tmp_path):
    broken = program(tmp_path, "cross-c++", "exit 1")
    environment = {"CXX": broken}
    assert find_linker(environment=environment, crossing=True).origin == "the path"


def test_a_variable_for_this_machine_is_passed_over_for_another(monkeypatch):
    found = Linker((compiler(),), ELSEWHERE, "the path")

    def check(self):
        if self.words == (compiler(),) and self.origin == "CXX":
            raise LinkError("makes libraries for this machine")

    monkeypatch.setattr(Linker, "check", check)
    monkeypatch.setattr(linking, "_cross_compilers", lambda target: [(compiler(),)])
    assert find_linker(ELSEWHERE, environment={"CXX": compiler()}) == found


def test_where_nothing_links_for_the_target_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(linking, "_cross_compilers", lambda target: [("no-such-compiler",)])
    with pytest.raises(LinkError, match=r"no compiler here links for Linux on .*Debian: g\+\+-"):
        find_linker(ELSEWHERE, environment={})


@pytest.mark.parametrize(
    ("target", "program"),
    [
        (Binary("Darwin", "aarch64"), "ld64.lld"),
        (Binary("Darwin", "x86_64"), "ld64.lld"),
        (Binary("Windows", "x86_64"), "x86_64-w64-mingw32-gcc"),
    ],
)
def test_compilers_for_other_systems_are_found(target, program):
    if not (shutil.which(program) or shutil.which(f"{program}-14")):
        pytest.skip(f"no {program}")
    assert find_linker(target, environment={}).target == target


@pytest.mark.skipif(not shutil.which("aarch64-linux-gnu-gcc"), reason="no cross compiler")
def test_a_cross_compiler_on_the_path_is_found(tmp_path):
    arm = Binary("Linux", "aarch64")
    linker = find_linker(arm, environment={"CXX": compiler()})
    assert "aarch64-linux-gnu" in linker.words[0]
    source = tmp_path / "a.c"
    source.write_text("int x;\n")
    linker(str(tmp_path / "a.so"), [str(source)])
    assert read_binary(tmp_path / "a.so") == arm
