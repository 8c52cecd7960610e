"""For which machine native code is, by its header."""

from __future__ import annotations

import platform
import struct
import sys

import pytest

from sam3_tvm.binary import Binary, machine_name, parse_binary, read_binary


def elf(machine: int, order: str = "<") -> bytes:
    ident = b"\x7fELF" + bytes([2, 1 if order == "<" else 2, 1]) + bytes(9)
    return ident + struct.pack(f"{order}HH", 3, machine) + bytes(44)


def mach_o(machine: int) -> bytes:
    return struct.pack("<II", 0xFEEDFACF, machine) + bytes(24)


def pe(machine: int) -> bytes:
    return b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + struct.pack("<H", machine)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (elf(62), Binary("Linux", "x86_64")),
        (elf(183), Binary("Linux", "aarch64")),
        (elf(183, ">"), Binary("Linux", "aarch64")),
        (elf(8), None),
        (elf(62)[:18], None),
        (mach_o(0x0100000C), Binary("Darwin", "aarch64")),
        (mach_o(0x01000007), Binary("Darwin", "x86_64")),
        (pe(0x8664), Binary("Windows", "x86_64")),
        (pe(0xAA64), Binary("Windows", "aarch64")),
        (pe(0x8664)[:-1], None),
        (b"MZ" + bytes(62), None),
        (struct.pack("<H", 0x8664) + bytes(18), Binary("Windows", "x86_64")),
        (b"#!/bin/sh\n", None),
        (b"", None),
    ],
)
def test_a_header_says_what_code_is_for(tmp_path, head, found):
    assert parse_binary(head) == found
    (tmp_path / "library").write_bytes(head)
    assert read_binary(tmp_path / "library") == found


@pytest.mark.skipif(sys.platform == "darwin", reason="its Python may be for two architectures")
def test_this_python_is_for_this_machine():
    assert read_binary(sys.executable) == Binary.here()
    assert Binary.here().machine == machine_name(platform.machine())


@pytest.mark.parametrize(
    ("triple", "found"),
    [
        ("aarch64-unknown-linux-gnu", Binary("Linux", "aarch64")),
        ("x86_64-unknown-linux-gnu", Binary("Linux", "x86_64")),
        ("arm64-apple-macosx11.0", Binary("Darwin", "aarch64")),
        ("x86_64-pc-windows-msvc", Binary("Windows", "x86_64")),
    ],
)
def test_a_triple_says_it_too(triple, found):
    assert Binary.of_triple(triple) == found


def test_words_say_no_more_than_what_tells_two_apart():
    arm, x86 = Binary("Linux", "aarch64"), Binary("Linux", "x86_64")
    assert arm.unlike(x86) == ("AArch64", "x86-64")
    assert arm.unlike(Binary("Darwin", "aarch64")) == ("Linux on AArch64", "macOS on AArch64")
    assert f"{Binary('Linux', 'riscv')}" == "Linux on riscv"
