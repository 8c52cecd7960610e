"""The server's answers are the library's, on the compiled demonstration model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import sam3_tvm
from sam3_tvm.film.frame import to_line

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def shapes(shapes_artifact):
    return sam3_tvm.load(shapes_artifact)


@pytest.fixture
def client(serving, shapes):
    with serving(load=lambda: shapes) as made:
        yield made


@pytest.fixture
def picture(client) -> str:
    data = (EXAMPLES / "hexagons.jpg").read_bytes()
    return client.post("/v1/images", content=data).headers["location"]


def test_phrases_boxes_and_examples(client, picture, shapes):
    path, other = EXAMPLES / "hexagons.jpg", EXAMPLES / "stars.jpg"
    name = client.post("/v1/images", content=other.read_bytes()).json()["id"]
    like = [{"image": name, "boxes": [[64, 20, 180, 133]]}]
    example = shapes.exemplar(other, [[64, 20, 180, 133]])
    cases = [
        ({"phrases": ["green hexagon", "star"]}, (["green hexagon", "star"],), {}),
        (
            {"phrases": ["hexagon"], "negative_boxes": [[40, 100, 150, 210]], "threshold": 0.3},
            (["hexagon"], [[40, 100, 150, 210]], [0], 0.3),
            {},
        ),
        ({"boxes": [[40, 100, 150, 210]]}, (None, [[40, 100, 150, 210]]), {}),
        ({"like": like}, (), {"like": example}),
    ]
    count = 0
    for asked, arguments, named in cases:
        found = client.post(f"{picture}/segment", json=asked).json()["results"]
        expected = shapes.segment(path, *arguments, **named)
        expected = expected if isinstance(expected, list) else [expected]
        assert [one["objects"] for one in found] == [one.to_coco() for one in expected]
        count += sum(len(one["objects"]) for one in found)
    assert count > 3


def test_clicks_and_their_refinement(client, picture, shapes):
    path = EXAMPLES / "hexagons.jpg"
    asked = {"points": [[95, 155]], "logits": True}
    found = client.post(f"{picture}/click", json=asked).json()
    expected = shapes.click(path, [[95, 155]])
    logits = [one.pop("logits") for one in found["masks"]]
    assert found["masks"] == expected.to_coco()
    assert found["best"] == expected.best
    again = {"points": [[95, 155]], "negative_points": [[5, 5]], "mask": logits[found["best"]]}
    found = client.post(f"{picture}/click", json=again).json()
    mask = expected.logits[expected.best]
    assert found["masks"] == shapes.click(path, [[95, 155], [5, 5]], [1, 0], mask=mask).to_coco()


def test_a_film_by_phrase_and_box(client, shapes):
    path = EXAMPLES / "film.mp4"
    film = client.post("/v1/videos", content=path.read_bytes()).headers["location"]
    asked = {"phrases": ["red star"], "frames": 6}
    found = client.post(f"{film}/track", json=asked).text.splitlines()
    with shapes.track(path) as session:
        session.add_text("red star")
        expected = [to_line(one, session.frames.fps) for one in session.propagate(0, 6)]
    assert found == expected
    assert any(json.loads(line)["objects"] for line in found)
