"""JSON as dataclasses, strictly: a missing, unknown or mistyped entry is an error with its place.

What it reads are the entries of artifacts. ``true`` is no number and ``1.0`` no integer; ``1`` will
do for a float. Numbers are finite, and integers have 64 bits.
"""

from __future__ import annotations

import math
import re
import reprlib
import types
from collections.abc import Mapping, Set
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from sam3_tvm.errors import ArtifactError

__all__ = ["check_keys", "expect", "optional_entries", "parse", "place", "shown"]

_WORDS = {int: "an integer", float: "a number", str: "a string"}
_LARGEST = 2**63 - 1

_PLAIN_KEY = re.compile(r"[\w.-]{1,60}")

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 60


def shown(value: Any) -> str:
    """A value as messages show it: in Python's spelling, cut where it is long or deep."""
    return _repr.repr(value)


def place(where: str, key: str) -> str:
    """The place of an object's entry: ``where.key``, or ``where['key']`` for an odd key."""
    return f"{where}.{key}" if _PLAIN_KEY.fullmatch(key) else f"{where}[{shown(key)}]"


def parse(kind: Any, value: Any, where: str) -> Any:
    """Plain data as ``kind``.

    Args:
        kind: a type as annotations name it: ``bool``, ``int``, ``float`` or ``str``, an optional,
            tuple or dictionary of what is listed here, a dataclass with such fields, or a union of
            such a dataclass and something else. Fields that dataclasses aren't compared by are no
            part of the data.
        value: what JSON gave: tuples are lists there, dataclasses objects.
        where: the value's place, for errors.

    Raises:
        ArtifactError: it is of another type or length, or an entry is missing or unknown.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return parse(_member(args, value), value, where)
    if origin is tuple:
        items = expect(list, value, where, "a list")
        kinds = [args[0]] * len(items) if args[1:] == (...,) else args
        if len(items) != len(kinds):
            raise ArtifactError(f"{where} must have {len(kinds)} entries, got {shown(value)}")
        pairs = enumerate(zip(kinds, items, strict=True))
        return tuple(parse(k, v, f"{where}[{i}]") for i, (k, v) in pairs)
    if origin is dict:
        entries = expect(dict, value, where, "an object")
        return {k: parse(args[1], v, place(where, k)) for k, v in entries.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        entries = expect(dict, value, where, "an object")
        check_keys(entries, {f.name for f in _entries(kind)}, where, optional_entries(kind))
        hints = get_type_hints(kind)
        return kind(**{k: parse(hints[k], v, f"{where}.{k}") for k, v in entries.items()})
    if kind is bool:
        return expect(bool, value, where, "true or false")
    return _plain(kind, value, where)


def _member(kinds: tuple[Any, ...], value: Any) -> Any:
    """Of the members of a union the one that a value is to be."""
    described = [kind for kind in kinds if is_dataclass(kind)]
    others = [kind for kind in kinds if kind not in (*described, type(None))]
    if (isinstance(value, dict) and described) or not others:
        return described[0]
    return others[0]


def _plain(kind: type, value: Any, where: str) -> Any:
    """A number or a string."""
    if isinstance(value, bool):
        raise ArtifactError(f"{where} must be {_WORDS[kind]}, got {value!r}")
    taken = (int, float) if kind is float else kind
    expect(taken, value, where, _WORDS[kind])
    if isinstance(value, int) and not -_LARGEST <= value <= _LARGEST:
        raise ArtifactError(f"{where} must be {_WORDS[kind]} of 64 bits, got {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ArtifactError(f"{where} must be a finite number, got {value!r}")
    return float(value) if kind is float else value


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
        raise ArtifactError(f"{where} must be {words}, got {shown(value)}")
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
        named = ", ".join(shown(name)[1:-1] for name in unknown[:5])
        raise ArtifactError(f"{where} has unknown entries: {named}")


def optional_entries(kind: type) -> set[str]:
    """The entries of a dataclass that need not be there: those with a default."""
    return {
        f.name
        for f in _entries(kind)
        if f.default is not MISSING or f.default_factory is not MISSING
    }


def _entries(kind: type) -> list[Field[Any]]:
    return [f for f in fields(kind) if f.compare]
