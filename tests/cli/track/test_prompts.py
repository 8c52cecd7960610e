"""Whom the prompts of ``track`` mean."""

from __future__ import annotations

import re

import pytest

from sam3_tvm.cli.track.prompts import parse_shown
from sam3_tvm.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"boxes": ["0,0,2,2", "4,4,6,6@5"]}, [(0, 1, "box"), (5, 2, "box")]),
        ({"boxes": ["0,0,2,2"], "points": ["1,1"]}, [(0, 1, "box point")]),
        ({"points": ["1,1", "2,2@3"]}, [(0, 1, "point"), (3, 1, "point")]),
        ({"points": ["1,1"], "negative": ["5,5"]}, [(0, 1, "point point")]),
        (
            {"boxes": ["0,0,2,2", "4,4,6,6"], "points": ["1,1@7:2"]},
            [(0, 1, "box"), (0, 2, "box"), (7, 2, "point")],
        ),
        ({"boxes": ["0,0,2,2", "4,4,6,6:1"]}, [(0, 1, "box"), (0, 2, "box")]),
        ({"masks": ["a:b@c.png@4:7"]}, [(4, 7, "mask")]),
        ({"boxes": ["0,0,2,2"], "masks": ["a.png"]}, [(0, 1, "box"), (0, 2, "mask")]),
    ],
    ids=["boxes", "box and point", "points", "negative", "named", "free ids", "mask", "both"],
)
def test_who_is_meant_by_what(given, expected):
    shown = parse_shown(
        given.get("boxes", []),
        given.get("points", []),
        given.get("negative", []),
        given.get("masks", []),
    )

    def kinds(one) -> str:
        names = ["box"] * (one.box is not None) + ["point"] * len(one.points)
        return " ".join(names + ["mask"] * (one.mask is not None))

    assert [(one.frame, one.object_id, kinds(one)) for one in shown] == expected


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((["0,0,2,2", "4,4,6,6"], ["1,1"], [], []), "of which object? There are 1, 2"),
        ((["0,0,2,2:1", "4,4,6,6:1"], [], [], []), "object 1 has one on frame 0 already"),
        (([], ["1,1:1"], [], ["a.png:1"]), "a mask stands alone"),
        (([], ["1,1:1"], ["2,2:2"], []), "object 2 has negative points alone"),
    ],
    ids=["ambiguous", "two boxes", "mask and point", "negative alone"],
)
def test_prompts_that_cannot_be_meant_are_refused(given, says):
    with pytest.raises(UsageError, match=re.escape(says)):
        parse_shown(*given)
