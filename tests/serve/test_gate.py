"""Who may ask, and how much may come."""

from __future__ import annotations

import asyncio

import pytest

from sam3_tvm.serve import Access, Limits
from sam3_tvm.serve.gate import is_local
from tests.serve.conftest import Asked


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "127.0.0.2:80", "localhost", "[::1]:80", "LOCALHOST:9"]
)
def test_this_machine_is_asked_by_its_own_names(client, host):
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[", "10.0.0.1"])
def test_a_foreign_name_that_leads_here_is_refused(client, host):
    answer = client.get("/healthz", headers={"Host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_other_sites_pages_are_refused(client, headers, status):
    answer = client.get("/healthz", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine_alone(host, local):
    assert is_local(host) is local


@pytest.mark.parametrize("given", [None, "Bearer other", "Bearer", "Basic secret", "secret"])
def test_without_the_token_nothing_but_health_is_told(serving, given):
    headers = {} if given is None else {"Authorization": given}
    with serving(access=Access("secret", local=False)) as client:
        for path in ("/metrics", "/v1/images/" + "0" * 64):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/healthz", headers=headers).status_code == 200


def test_with_the_token_any_name_is_answered(serving):
    headers = {"Authorization": "bearer secret", "Host": "gpu7.example"}
    with serving(access=Access("secret", local=False)) as client:
        assert client.get("/metrics", headers=headers).status_code == 200


def test_a_body_that_is_too_large_is_refused_as_it_is_announced(serving, model):
    with serving(Limits(picture_bytes=100, json_bytes=50)) as client:
        answer = client.post("/v1/images", content=b"x" * 101)
        assert answer.status_code == 413
        assert "more than the 100 bytes" in answer.json()["detail"]
        path = "/v1/images/" + "0" * 64 + "/click"
        assert client.post(path, content=b"x" * 51).status_code == 413


def test_a_body_that_is_too_large_is_refused_while_it_comes(on_loop):
    async def check(app) -> None:
        large = Asked(app, "/v1/images", b"")
        chunk = {"type": "http.request", "body": b"x" * 60, "more_body": True}
        large._messages = [chunk] * 100
        await large.task
        assert large.status == 413
        assert len(large._messages) == 98

    on_loop(check, Limits(picture_bytes=100))


def test_a_body_that_comes_too_slowly_is_refused(on_loop):
    async def check(app) -> None:
        slow = Asked(app, "/v1/images", b"")
        slow._messages = [{"type": "http.request", "body": b"x", "more_body": True}]
        await slow.task
        assert slow.status == 408

    on_loop(check, Limits(seconds=0.2))


def test_an_encoded_body_is_refused(client):
    answer = client.post("/v1/images", content=b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_a_client_that_leaves_while_it_sends_is_no_fault_of_ours(on_loop):
    async def check(app) -> None:
        for path in ("/v1/images", "/v1/videos"):
            leaves = Asked(app, path, b"")
            leaves._messages = [{"type": "http.request", "body": b"x", "more_body": True}]
            await asyncio.sleep(0)
            leaves.left.set()
            await leaves.task
            assert leaves.status == 499

    on_loop(check)


def test_requests_are_counted_by_route_and_status(client, picture):
    client.get(picture)
    client.get("/v1/images/" + "0" * 64)
    client.get("/nowhere/" + "x" * 99)
    counted = client.get("/metrics").text
    for line in (
        'requests_total{method="POST",route="/v1/images",status="201"} 1.0',
        'requests_total{method="GET",route="/v1/images/{id}",status="200"} 1.0',
        'requests_total{method="GET",route="/v1/images/{id}",status="404"} 1.0',
        'requests_total{method="GET",route="other",status="404"} 1.0',
        "pictures_encoded_total 1.0",
        "picture_bytes 1176.0",
        'computed_seconds_count{kind="encode"} 1.0',
    ):
        assert f"sam3_tvm_{line}\n" in counted
