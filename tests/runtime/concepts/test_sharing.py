"""Which examples go with which phrase."""

from __future__ import annotations

from collections import namedtuple

from sam3_tvm.runtime.concepts.sharing import Asked, share_out

Example = namedtuple("Example", "name number")


def test_names_decide():
    any_, car, jar, again = (Example(n, i) for i, n in enumerate((None, "vehicle", "jar", "jar")))
    phrases = [("car", "vehicle"), ("van", "vehicle"), ("dog", "dog")]
    assert share_out(phrases, [any_, car, jar, again]) == [
        Asked("car", "vehicle", (any_, car)),
        Asked("van", "vehicle", (any_, car)),
        Asked("dog", "dog", (any_,)),
        Asked(None, "jar", (any_, jar, again)),
    ]


def test_examples_without_a_name_are_looked_for_where_there_is_nothing_else():
    one = Example(None, 0)
    assert share_out([], [one]) == [Asked(None, None, (one,))]
    assert share_out([], []) == []
