"""Errors in one form."""

from __future__ import annotations

import errno
import os
import tempfile
import threading

import pytest

from sam3_tvm.errors import UsageError
from sam3_tvm.runtime import PromptError
from sam3_tvm.serve.problems import as_problem
from tests.serve.conftest import Asked
from tests.waiting import wait_until


def is_problem(answer, status: int) -> dict:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert "\n" not in document["detail"]
    return document


def test_what_isnt_there_or_isnt_done_is_a_problem(client):
    is_problem(client.get("/nowhere"), 404)
    is_problem(client.put("/v1/images"), 405)


def test_a_bug_of_ours_tells_nothing_of_itself(client, model, picture):
    model.fail = RuntimeError("secret")
    answer = client.post(f"{picture}/segment", json={"phrases": ["dog"]})
    assert "secret" not in is_problem(answer, 500)["detail"]
    assert client.post(f"{picture}/segment", json={"phrases": ["dog"]}).status_code == 200


def test_too_little_memory_is_a_matter_of_time(client, model, picture):
    model.fail = MemoryError()
    answer = client.post(f"{picture}/segment", json={"phrases": ["dog"]})
    is_problem(answer, 503)
    assert answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"\xff", 400, "the body is no JSON (not UTF-8"),
        (b"[" * 100_000, 400, "the body is no JSON (not UTF-8, nested"),
        (b'{"threshold": ' + b"1" * 5000 + b"}", 400, "or a number of too many digits"),
        (b"[]", 422, "JSON object"),
        (b'{"threshold": NaN, "phrases": ["x"]}', 422, "threshold: "),
        (b'{"threshold": 1e999, "phrases": ["x"]}', 422, "threshold: "),
        (b'{"\\ud800": 1}', 422, ""),
        (b'{"phrases": ["\\ud800"]}', 422, ""),
    ],
)
def test_odd_json_is_refused(client, picture, body, status, said):
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"{picture}/segment", content=body, headers=headers)
    assert said in is_problem(answer, status)["detail"]


def test_a_fault_of_the_form_says_where(client, picture):
    asked = {"phrases": ["dog"], "boxes": [[0, 0, 1, "x"]]}
    document = is_problem(client.post(f"{picture}/segment", json=asked), 422)
    assert document["errors"][0]["pointer"] == "#/boxes/0/3"


def test_many_unknown_names_are_one_fault_that_says_what_is_known(client, picture):
    asked = {f"name{number}": 1 for number in range(1000)}
    for route, known in ("segment", "phrases, boxes, "), ("click", "points, negative_points, "):
        document = is_problem(client.post(f"{picture}/{route}", json=asked), 422)
        assert document["detail"].startswith(f"'name0' is no name that is known here: {known}")
        assert len(document["errors"]) == 1


def test_while_the_model_is_loaded_it_is_said(serving, file, model):
    asked = threading.Event()

    def slow():
        asked.wait(60)
        return model

    with serving(load=slow) as client:
        try:
            is_problem(client.get("/readyz"), 503)
            assert client.get("/healthz").status_code == 200
            answer = client.post("/v1/images", content=file())
            is_problem(answer, 503)
            assert answer.headers["retry-after"]
        finally:
            asked.set()
        wait_until(lambda: client.get("/readyz").status_code == 200)


@pytest.mark.parametrize("error", [UsageError("no artifact"), RuntimeError("secret")])
def test_a_model_that_cannot_be_loaded_is_logged_and_the_server_says_so(serving, caplog, error):
    def broken():
        raise error

    with serving(load=broken) as client:
        wait_until(lambda: "cannot be loaded" in is_problem(client.get("/readyz"), 503)["detail"])
        folder = client.app.state.service.films._folder.name
    assert not os.path.exists(folder)
    assert [one.exc_info[1] for one in caplog.records if one.exc_info] == [error]


def test_a_server_that_is_about_to_end_is_not_ready(client):
    client.app.state.service.draining = True
    is_problem(client.get("/readyz"), 503)


@pytest.mark.parametrize("path", ["/v1/images", "/v1/export/coco"])
def test_a_client_that_leaves_while_it_sends_is_counted_as_one(on_loop, path):
    async def check(app) -> None:
        asked = Asked(app, path, b"")
        asked._messages = [{"type": "http.request", "body": b'{"a', "more_body": True}]
        asked.left.set()
        await asked.task
        assert asked.status == 499
        requests = app.state.service.metrics.requests
        route = path.replace("coco", "{form}")
        assert requests.labels(route, "POST", "499")._value.get() == 1

    on_loop(check)


def test_a_library_error_is_the_clients():
    assert as_problem(PromptError("no such phrase")).document() == {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "no such phrase",
    }


def test_a_full_disk_is_said_whatever_was_to_be_written(client, monkeypatch, file, film_file):
    full = OSError(errno.ENOSPC, "No space left on device")

    def no_room(*_):
        raise full

    error = UsageError("/tmp/a/film.mp4: cannot be written")
    error.__cause__ = full
    assert as_problem(error).document()["status"] == 507
    # Of a form, all beyond a megabyte.
    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", no_room)
    large = file(size=(800, 600))
    for path in ("/v1/images", "/v1/videos"):
        document = is_problem(client.post(path, files={"file": ("a", large)}), 507)
        assert "no room on the server's disk" in document["detail"]
    monkeypatch.setattr("sam3_tvm.serve.routes.videos.save_file", no_room)
    is_problem(client.post("/v1/videos", content=film_file), 507)
    full = PermissionError(errno.EACCES, "secret")
    assert "secret" not in is_problem(client.post("/v1/videos", content=film_file), 500)["detail"]
