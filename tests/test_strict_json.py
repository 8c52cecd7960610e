"""Plain data as dataclasses, and what is said of data that is none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sam3_tvm.errors import ArtifactError
from sam3_tvm.strict_json import check_keys, parse


@dataclass(frozen=True)
class Inner:
    name: str
    sides: tuple[int, int]


@dataclass(frozen=True)
class Outer:
    inner: Inner
    scale: float
    named: dict[str, tuple[Inner, ...]]
    flag: bool = False
    limit: int | None = None


INNER = {"name": "a", "sides": [3, 4]}
OUTER = {"inner": INNER, "scale": 1, "named": {"x": [INNER]}, "flag": True, "limit": 7}


def test_nested_data_becomes_what_the_fields_are():
    inner = Inner("a", (3, 4))
    found = parse(Outer, OUTER, "it")
    assert found == Outer(inner, 1.0, {"x": (inner,)}, True, 7)
    assert type(found.scale) is float


def test_entries_with_a_default_need_not_be_there():
    data = {key: OUTER[key] for key in ("inner", "scale", "named")}
    assert parse(Outer, data, "it") == parse(Outer, {**data, "flag": False, "limit": None}, "it")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"inner": 3}, r"it\.inner must be an object, got 3"),
        ({"inner": {"name": "a"}}, r"it\.inner lacks sides"),
        ({"inner": {**INNER, "side": 3}}, r"it\.inner has unknown entries: side"),
        ({"inner": {**INNER, "sides": [3]}}, r"it\.inner\.sides must have 2 entries, got \[3\]"),
        ({"inner": {**INNER, "sides": [3, 4.0]}}, r"it\.inner\.sides\[1\] must be an integer"),
        ({"named": {"x": INNER}}, r"it\.named\.x must be a list"),
        ({"named": {"x": [{**INNER, "name": None}]}}, r"it\.named\.x\[0\]\.name must be a string"),
        ({"scale": True}, r"it\.scale must be a number, got True"),
        ({"flag": 1}, r"it\.flag must be true or false, got 1"),
        ({"limit": "7"}, r"it\.limit must be an integer, got '7'"),
    ],
)
def test_an_error_names_the_place(changed, says):
    with pytest.raises(ArtifactError, match=says):
        parse(Outer, {**OUTER, **changed}, "it")


def test_optional_keys_may_lack_and_others_may_not():
    check_keys({"a": 1}, {"a", "b"}, "it", optional={"b"})
    with pytest.raises(ArtifactError, match="it lacks a, b"):
        check_keys({}, {"a", "b"}, "it")
