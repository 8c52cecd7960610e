"""How many bytes a video file says that it has: one that has fewer was cut off."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

__all__ = ["missing_bytes"]

_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"

# Boxes by which a file of the MP4 and QuickTime family may begin.
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"sidx")

# Of a file's top level; more are in fragmented files of many hours.
_MOST_BOXES = 1_000_000


def missing_bytes(path: Path) -> int:
    """How many bytes are missing at a file's end, by what it says; 0 where it doesn't say.

    Formats that state a size: MP4 and QuickTime, Matroska and WebM, AVI, ASF.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            stated = _stated_size(file, size)
    except OSError:
        return 0  # what cannot be read is told where it is decoded
    return max(0, stated - size)


def _stated_size(file: BinaryIO, size: int) -> int:
    head = file.read(16)
    if head[4:8] in _BOXES:
        return _boxes_end(file, size)
    if head[:4] == b"RIFF":
        # Of a stream that wasn't closed 0 or all ones; and the last byte may be for evenness.
        stated = int.from_bytes(head[4:8], "little")
        return stated + 7 if 0 < stated < 0xFFFFFFFF else 0
    if head[:4] == _EBML:
        return _segment_end(file)
    return _asf_size(file) if head == _ASF else 0


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box of the top level ends (ISO/IEC 14496-12, 4.2)."""
    place = 0
    for _ in range(_MOST_BOXES):
        file.seek(place)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        # One of length 0 goes to the end, wherever that is; others hold their own head.
        if len(head) < 8 or length < 8 or place >= size:
            break
        place += length
    return place


def _segment_end(file: BinaryIO) -> int:
    """Where a Matroska file's segment ends (RFC 8794): a number whose first bits say its length."""
    file.seek(4)
    header = _number(file)
    if header is None:
        return 0
    file.seek(header, 1)
    if file.read(4) != _SEGMENT:
        return 0
    length = _number(file)
    return 0 if length is None else file.tell() + length


def _number(file: BinaryIO) -> int | None:
    """A variable-length number; None where it is one, all ones, that says nothing."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    value = first[0] & ((1 << (7 - more)) - 1)
    value = (value << 8 * more) | int.from_bytes(file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value


def _asf_size(file: BinaryIO) -> int:
    """The size in ASF's file properties object, which isn't valid of a broadcast."""
    file.seek(0)
    header = file.read(65536)
    place = header.find(_ASF_FILE)
    if place < 0 or header[place + 88 : place + 89] == b"" or header[place + 88] & 1:
        return 0
    return int.from_bytes(header[place + 40 : place + 48], "little")
