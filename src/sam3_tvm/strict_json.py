"""JSON as dataclasses, strictly: a missing, unknown or mistyped entry is an error with its place.

What it reads are the entries of artifacts. ``true`` is no number and ``1.0`` no integer; ``1`` will
do for a float.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Set
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from sam3_tvm.errors import ArtifactError

__all__ = ["check_keys", "expect", "optional_entries", "parse"]

_WORDS = {int: "an integer", float: "a number", str: "a string"}


def parse(kind: Any, value: Any, where: str) -> Any:
    """Plain data as ``kind``.

    Args:
        kind: a type as annotations name it: ``bool``, ``int``, ``float`` or ``str``, an optional,
            tuple or dictionary of what is listed here, or a dataclass with such fields.
        value: what JSON gave: tuples are lists there, dataclasses objects.
        where: the value's place, for errors.

    Raises:
        ArtifactError: it is of another type or length, or an entry is missing or unknown.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else parse(inner, value, where)
    if origin is tuple:
        items = expect(list, value, where, "a list")
        kinds = [args[0]] * len(items) if args[1:] == (...,) else args
        if len(items) != len(kinds):
            raise ArtifactError(f"{where} must have {len(kinds)} entries, got {value!r}")
        pairs = enumerate(zip(kinds, items, strict=True))
        return tuple(parse(k, v, f"{where}[{i}]") for i, (k, v) in pairs)
    if origin is dict:
        entries = expect(dict, value, where, "an object")
        return {k: parse(args[1], v, f"{where}.{k}") for k, v in entries.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        entries = expect(dict, value, where, "an object")
        check_keys(entries, {f.name for f in fields(kind)}, where, optional_entries(kind))
        hints = get_type_hints(kind)
        return kind(**{k: parse(hints[k], v, f"{where}.{k}") for k, v in entries.items()})
    if kind is bool:
        return expect(bool, value, where, "true or false")
    if isinstance(value, bool):
        raise ArtifactError(f"{where} must be {_WORDS[kind]}, got {value!r}")
    if kind is float:
        return float(expect((int, float), value, where, _WORDS[kind]))
    return expect(kind, value, where, _WORDS[kind])


def expect(kind: type | tuple[type, ...], value: Any, where: str, words: str) -> Any:
    """``value`` itself, if it is of this type.

    Args:
        kind: the type, or several.
        value: what JSON gave.
        where, words: the value's place and the type in words, for errors.

    Raises:
        ArtifactError: it is of another type.
    """
    if not isinstance(value, kind):
        raise ArtifactError(f"{where} must be {words}, got {value!r}")
    return value


def check_keys(
    data: Mapping[str, Any], wanted: set[str], where: str, optional: Set[str] = frozenset()
) -> None:
    """See to it that an object has the entries that it should have, and no others.

    Args:
        data: the object.
        wanted: every entry that it may have.
        where: the object's place, for errors.
        optional: those of them that need not be there.

    Raises:
        ArtifactError: entries that are missing or unknown.
    """
    if missing := sorted(wanted - optional - set(data)):
        raise ArtifactError(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - wanted):
        raise ArtifactError(f"{where} has unknown entries: {', '.join(unknown)}")


def optional_entries(kind: type) -> set[str]:
    """The entries of a dataclass that need not be there: those with a default."""
    return {f.name for f in fields(kind) if f.default is not MISSING}
