"""A JSON file, whoever wrote it: its encoding, its depth and what stands in its place.

What the data mean is for the reader; see :mod:`sam3_tvm.strict_json`.
"""

from __future__ import annotations

import codecs
import json
import math
import stat
from pathlib import Path
from typing import Any

__all__ = ["parse_json", "read_json", "read_regular"]

# UTF-32's little-endian mark begins with UTF-16's.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_json(path: Path, *, strict: bool = False) -> Any:
    """What a JSON file holds; see :func:`parse_json`.

    Raises:
        OSError: there is no such file, it can't be read, or it is no regular file.
        ValueError: it holds no JSON.
    """
    return parse_json(read_regular(path), strict=strict)


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file.

    A pipe would be waited for, and a device has no end.

    Raises:
        OSError: there is no such file, it can't be read, or something else has its name.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(None, "is no regular file", str(path))
    return path.read_bytes()


def parse_json(raw: bytes, *, strict: bool = False) -> Any:
    """JSON in UTF-8, with or without a byte order mark.

    Args:
        raw: the file's bytes.
        strict: refuse what JSON doesn't have or leaves open, and Python's reader takes: NaN,
            infinities, numbers that are infinite as a float, and one name twice in an object.

    Raises:
        ValueError: another encoding, text that is no JSON, or arrays that are nested too deeply.
            The message is one line.
    """
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            raise ValueError(f"it is {encoding}, and JSON is UTF-8: save it as that")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from error
    try:
        return _STRICT.decode(text) if strict else json.loads(text)
    except RecursionError as error:
        raise ValueError("its arrays or objects are nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"an object has {twice!r} twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
