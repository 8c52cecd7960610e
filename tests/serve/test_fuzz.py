"""Whatever comes over HTTP is answered, and never with a fault of the server's.

``SAM3_TVM_FUZZ=5000`` in the environment asks more than the 400 things of every day.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from types import SimpleNamespace

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st

from sam3_tvm.serve.exports import ExportFormat
from sam3_tvm.serve.label_studio.sources import Sources

# A mask of a picture of 24 x 16 px, and of a frame of the film.
RUNS = {"size": [16, 24], "counts": "b1790000000000000^6"}
ALL_OF_A_FRAME = {"size": [96, 128], "counts": "0PP<"}

CONFIG = """<View><Image name="image" value="$photo"/>
<BrushLabels name="brush" toName="image"><Label value="Star"/></BrushLabels></View>"""

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
corners = st.one_of(
    st.lists(st.lists(st.integers(0, 20), min_size=2, max_size=2), max_size=3), anything
)
flags = st.one_of(st.booleans(), anything)
runs = st.one_of(
    st.fixed_dictionaries(
        {
            "size": st.one_of(st.just([16, 24]), st.just([96, 128]), anything),
            "counts": st.one_of(st.text("0123456789:;<=>?@ABCPQRS`abno", max_size=30), anything),
        }
    ),
    anything,
)
# What a labeller has drawn, in Label Studio's words; in percent.
regions = st.lists(
    st.one_of(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["keypointlabels", "rectangle", "textarea", "brush", ""]),
                "value": st.one_of(
                    st.dictionaries(
                        st.sampled_from(["x", "y", "width", "height", "text", "keypointlabels"]),
                        st.one_of(st.floats(0, 100), st.lists(words, max_size=2), numbers),
                    ),
                    anything,
                ),
            },
            optional={"is_positive": flags},
        ),
        anything,
    ),
    max_size=3,
)


def coded(data: bytes) -> str:
    """In base64."""
    return base64.b64encode(data).decode()


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
    "export": st.fixed_dictionaries(
        {},
        optional={
            "objects": st.one_of(
                st.lists(
                    st.fixed_dictionaries(
                        {
                            "category": words,
                            "score": st.one_of(st.floats(0, 1), numbers),
                            "segmentation": st.one_of(st.just(RUNS), runs),
                        },
                        optional={"bbox": boxes, "phrase": words},
                    ),
                    max_size=3,
                ),
                anything,
            ),
            "width": numbers,
            "height": numbers,
            "file_name": st.one_of(st.sampled_from(["..", "a/..", "\\", "é.png"]), words),
            "sha256": words,
        },
    ),
    "interact": st.fixed_dictionaries(
        {},
        optional={
            "image": st.one_of(st.binary(max_size=60).map(coded), anything),
            "pos_points": points,
            "neg_points": points,
            "obj_bbox": corners,
            "threshold": anything,
        },
    ),
    "predict": st.fixed_dictionaries(
        {},
        optional={
            "params": st.one_of(
                st.fixed_dictionaries({"context": st.fixed_dictionaries({"result": regions})}),
                anything,
            ),
            "tasks": st.one_of(
                st.lists(
                    st.fixed_dictionaries(
                        {"data": st.dictionaries(st.sampled_from(["photo", "x"]), leaves)},
                        optional={"id": numbers},
                    ),
                    max_size=3,
                ),
                anything,
            ),
            "label_config": st.one_of(
                st.sampled_from(["<View/>", "<View>", "<!DOCTYPE a><View/>", "<a>" * 3000]), words
            ),
        },
    ),
}


def valid(picture: bytes) -> dict[str, dict]:
    """A question of each kind that is answered."""
    return {
        "segment": {"phrases": ["dog"], "boxes": [[1, 1, 5, 5]]},
        "click": {"points": [[5, 5]]},
        "track": {"objects": [{"id": 1, "points": [[18, 34]]}], "frames": 2},
        "export": {
            "width": 24,
            "height": 16,
            "objects": [{"category": "dog", "score": 0.5, "segmentation": RUNS}],
        },
        "interact": {"image": coded(picture), "pos_points": [[5, 5]]},
        "predict": {
            "tasks": [{"id": 1, "data": {"photo": f"data:image/png;base64,{coded(picture)}"}}],
            "label_config": CONFIG,
        },
    }


accepts = st.sampled_from(
    [None, None, "*/*", "image/png", "application/geo+json", "application/json", "text/html", "é"]
)


def texts(data) -> bytes:
    """As JSON; what it has no word for as JavaScript has it."""
    return json.dumps(data).encode()


def damaged(draw, whole: bytes) -> bytes:
    """As it is, or cut, with some bytes of it others."""
    if draw(st.booleans()):
        return whole
    cut = draw(st.integers(0, len(whole)))
    flip = draw(st.binary(max_size=8))
    return whole[:cut] + flip + whole[cut + len(flip) :]


class Asking:
    """Asks a server things of every kind.

    Args:
        client: of the server.
        picture: a file of 24 x 16 px.
        film: a file.
    """

    def __init__(self, client, picture: bytes, film: bytes) -> None:
        self._client = client
        self._files = (picture, film)
        self._image = client.post("/v1/images", content=picture).headers["location"]
        self._film = client.post("/v1/videos", content=film).headers["location"]
        self._valid = valid(picture)
        line = {"objects": [{"id": 1, "score": 0.5, "segmentation": ALL_OF_A_FRAME}]}
        self._lines = [texts({"frame": number, **line}) for number in range(4)]
        self._routes: dict[str, str] = {
            "segment": f"{self._image}/segment",
            "click": f"{self._image}/click",
            "track": f"{self._film}/track",
            "interact": "/v1/cvat/interact",
            "predict": "/label-studio/predict",
        }
        self.kinds: dict[str, Callable] = {
            **dict.fromkeys(questions, self._question),
            "draw": self._draw,
            "frame": self._frame,
            "raw": self._raw,
            "file": self._file,
            "form": self._form,
            "path": self._path,
        }

    def _question(self, kind: str, draw):
        """Of any members, or one that is answered but for at most one of its members."""
        asked = draw(questions[kind])
        if draw(st.booleans()):
            asked = {**self._valid[kind], **dict([*asked.items()][:1])}
        headers = {"Content-Type": "application/json"}
        accept = draw(accepts)
        if accept is not None:
            headers["Accept"] = accept.encode("latin-1")
        route = self._routes.get(kind)
        if route is None:
            names = [*(form.value for form in ExportFormat), "x"]
            route = f"/v1/export/{draw(st.sampled_from(names))}"
        return self._client.post(route, content=texts(asked), headers=headers)

    def _draw(self, kind: str, draw):
        """Lines as following a film gives them, some of them others."""
        other = st.fixed_dictionaries(
            {"frame": st.one_of(st.integers(0, 14), numbers)},
            optional={
                "objects": st.one_of(
                    st.lists(
                        st.fixed_dictionaries(
                            {"id": numbers, "score": numbers, "segmentation": runs},
                            optional={"phrase": words},
                        ),
                        max_size=2,
                    ),
                    anything,
                )
            },
        ).map(texts)
        lines = list(self._lines)
        for line in draw(st.lists(st.one_of(other, st.binary(max_size=40)), max_size=2)):
            lines.insert(draw(st.integers(0, len(lines))), line)
        return self._client.post(f"{self._film}/draw", content=b"\n".join(lines))

    def _frame(self, kind: str, draw):
        index = draw(st.one_of(st.integers(-2, 14), st.integers(), st.text("0123456789e.-%2F x")))
        return self._client.get(f"{self._film}/frames/{index}")

    def _raw(self, kind: str, draw):
        route = draw(st.sampled_from([*self._routes.values(), "/v1/export/coco"]))
        kinds = ["application/json", "text/plain", "multipart/form-data", "x"]
        headers = {"Content-Type": draw(st.sampled_from(kinds))}
        body = draw(st.one_of(st.binary(max_size=300), anything.map(texts)))
        return self._client.post(route, content=body, headers=headers)

    def _file(self, kind: str, draw):
        body = damaged(draw, draw(st.sampled_from(self._files)))
        boundary = draw(st.sampled_from(["", "; boundary=x", "; boundary=" + "y" * 99]))
        headers = {} if draw(st.booleans()) else {"Content-Type": f"multipart/form-data{boundary}"}
        return self._sent(draw, body, headers)

    def _form(self, kind: str, draw):
        """Parts between the boundary that is announced, which may be anything themselves."""
        boundary = draw(st.sampled_from(["x", "-" * 20 + "7f", "a b'()+_,./:=?"]))
        parts = []
        for _ in range(draw(st.sampled_from([1, 1, 1, 0, 2, 12]))):
            name = draw(st.sampled_from(["file", "file", "file", "other", ""]))
            about = f'form-data; name="{name}"'
            if draw(st.sampled_from([True, True, False])):
                about += '; filename="a.png"'
            head = f"Content-Disposition: {about}\r\n".encode()
            if draw(st.booleans()):
                head += draw(st.sampled_from([b"Content-Type: image/png\r\n", b"x\r\n", b": \r\n"]))
            content = damaged(draw, draw(st.sampled_from(self._files)))
            parts.append(f"--{boundary}\r\n".encode() + head + b"\r\n" + content + b"\r\n")
        body = damaged(draw, b"".join(parts) + f"--{boundary}--\r\n".encode())
        return self._sent(
            draw, body, {"Content-Type": f'multipart/form-data; boundary="{boundary}"'}
        )

    def _sent(self, draw, body: bytes, headers: dict[str, str]):
        route = draw(st.sampled_from(["/v1/images", "/v1/videos"]))
        answer = self._client.post(route, content=body, headers=headers)
        if route == "/v1/videos" and answer.status_code == 201:
            self._client.delete(answer.headers["location"])
        return answer

    def _path(self, kind: str, draw):
        name = draw(st.text("abcdef0123456789{}%/.~ é", max_size=70))
        method = draw(st.sampled_from(["GET", "POST", "DELETE", "PUT", "OPTIONS"]))
        under = draw(st.sampled_from(["/v1/images/", "/v1/videos/", "/"]))
        try:
            return self._client.request(method, f"{under}{name}")
        except httpx2.InvalidURL:  # read as a host's name, which no client could ask
            reject()


@pytest.mark.slow
def test_nothing_that_is_asked_is_a_fault_of_the_server(serving, model, file, film_file):
    # What comes of it is counted, so that the test can't pass by being refused everything.
    statuses: dict[str, set[int]] = {}
    model.manifest.source = SimpleNamespace(checkpoint="stand-in")
    with serving(labels=Sources()) as client:
        asking = Asking(client, file(), film_file)

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
            kind = data.draw(st.sampled_from([*asking.kinds]))
            check(kind, asking.kinds[kind](kind, data.draw))

        ask()
    for kind in (*questions, "draw"):
        assert {200, 422} <= statuses[kind], kind
    assert {200, 404} <= statuses["frame"]
    assert 201 in statuses["file"]
    assert {200, 201} & statuses["form"]  # the picture is there already, a film is always new
    assert 422 in statuses["form"]
