"""Whatever comes over HTTP is answered, and never with a fault of the server's.

``SAM3_TVM_FUZZ=5000`` in the environment asks more than the 400 things of every day.
"""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

numbers = st.one_of(
    st.integers(-3, 40),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**400), 10**400),
)
words = st.one_of(st.sampled_from(["dog", "", " ", "\ud800", "a" * 3000, "\0"]), st.text())
leaves = st.one_of(st.none(), st.booleans(), numbers, words)
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=5), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)
boxes = st.one_of(
    st.lists(st.lists(numbers, min_size=3, max_size=5), max_size=20),
    st.lists(st.lists(st.integers(0, 24), min_size=4, max_size=4), max_size=3),
    anything,
)
points = st.one_of(
    st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=2), max_size=20), anything
)
flags = st.one_of(st.booleans(), anything)
questions = {
    "segment": st.fixed_dictionaries(
        {},
        optional={
            "phrases": st.one_of(st.lists(words, max_size=70), anything),
            "boxes": boxes,
            "negative_boxes": boxes,
            "points": points,
            "like": st.one_of(st.lists(st.fixed_dictionaries({"image": words}), max_size=3), boxes),
            "threshold": st.one_of(st.floats(0, 1), anything),
            "nms": st.one_of(st.floats(0, 1), anything),
            "draw": flags,
        },
    ),
    "click": st.fixed_dictionaries(
        {},
        optional={
            "points": points,
            "negative_points": points,
            "box": st.one_of(st.lists(st.integers(0, 24), min_size=4, max_size=4), anything),
            "mask": anything,
            "multimask": flags,
            "logits": flags,
            "draw": flags,
        },
    ),
    "track": st.fixed_dictionaries(
        {},
        optional={
            "phrases": st.one_of(st.lists(words, max_size=3), anything),
            "objects": st.one_of(
                st.lists(
                    st.fixed_dictionaries(
                        {"id": numbers},
                        optional={"frame": numbers, "points": points, "box": boxes},
                    ),
                    max_size=4,
                ),
                anything,
            ),
            "start": numbers,
            "frames": numbers,
            "direction": st.one_of(st.sampled_from(["forward", "backward", "both"]), anything),
            "live": flags,
        },
    ),
}
valid = {
    "segment": {"phrases": ["dog"], "boxes": [[1, 1, 5, 5]]},
    "click": {"points": [[5, 5]]},
    "track": {"objects": [{"id": 1, "points": [[18, 34]]}], "frames": 2},
}


def asked_of(kind: str):
    """A question of any kind, or one that is answered but for at most one of its members."""
    wild = questions[kind]
    return st.one_of(wild, wild.map(lambda one: {**valid[kind], **dict([*one.items()][:1])}))


accepts = st.sampled_from(
    [None, None, "*/*", "image/png", "application/geo+json", "application/json", "text/html", "é"]
)


def texts(data) -> bytes:
    """As JSON; what it has no word for as JavaScript has it."""
    return json.dumps(data).encode()


@pytest.mark.slow
def test_nothing_that_is_asked_is_a_fault_of_the_server(serving, file, film_file):
    # What comes of it is counted, so that the test can't pass by being refused everything.
    statuses: dict[str, set[int]] = {}
    with serving() as client:
        image = client.post("/v1/images", content=file()).headers["location"]
        film = client.post("/v1/videos", content=film_file).headers["location"]

        def check(kind: str, answer) -> None:
            statuses.setdefault(kind, set()).add(answer.status_code)
            assert answer.status_code < 500, answer.text
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == answer.status_code
            elif kind == "track":
                last = json.loads(answer.text.splitlines()[-1])
                assert last.get("error", {"status": 200})["status"] < 500

        @seed(1)
        @settings(
            max_examples=int(os.environ.get("SAM3_TVM_FUZZ", "400")),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def ask(data) -> None:
            kind = data.draw(st.sampled_from(["segment", "click", "track", "raw", "file", "path"]))
            if kind in questions:
                asked = texts(data.draw(asked_of(kind)))
                headers = {"Content-Type": "application/json"}
                accept = data.draw(accepts)
                if accept is not None:
                    headers["Accept"] = accept.encode("latin-1")
                path = film if kind == "track" else image
                check(kind, client.post(f"{path}/{kind}", content=asked, headers=headers))
            elif kind == "raw":
                route = data.draw(st.sampled_from([f"{image}/segment", f"{image}/click"]))
                kinds = ["application/json", "text/plain", "multipart/form-data", "x"]
                headers = {"Content-Type": data.draw(st.sampled_from(kinds))}
                body = data.draw(st.one_of(st.binary(max_size=300), anything.map(texts)))
                check(kind, client.post(route, content=body, headers=headers))
            elif kind == "file":
                whole = data.draw(st.sampled_from([file(), film_file]))
                cut = data.draw(st.integers(0, len(whole)))
                flip = data.draw(st.binary(max_size=8))
                body = whole[:cut] + flip + whole[cut + len(flip) :]
                boundary = data.draw(
                    st.sampled_from(["", "; boundary=x", "; boundary=" + "y" * 99])
                )
                headers = (
                    {}
                    if data.draw(st.booleans())
                    else {"Content-Type": f"multipart/form-data{boundary}"}
                )
                route = data.draw(st.sampled_from(["/v1/images", "/v1/videos"]))
                check(kind, answer := client.post(route, content=body, headers=headers))
                if route == "/v1/videos" and answer.status_code == 201:
                    client.delete(answer.headers["location"])
            else:
                name = data.draw(st.text("abcdef0123456789{}%/.~ é", max_size=70))
                method = data.draw(st.sampled_from(["GET", "POST", "DELETE", "PUT", "OPTIONS"]))
                under = data.draw(st.sampled_from(["/v1/images/", "/v1/videos/", "/"]))
                check(kind, client.request(method, f"{under}{name}"))

        ask()
    assert {200, 422} <= statuses["segment"] & statuses["click"] & statuses["track"]
    assert 201 in statuses["file"]
