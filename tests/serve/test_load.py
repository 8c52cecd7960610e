"""The load on a server notices what would be a fault of one."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

import httpx2
import load_checks
import load_clients
import pytest
from load_checks import Counted, answer_faults, count_faults, memory_faults, order_faults
from load_clients import Bad, Load, Question

from sam3_tvm.serve.metrics import Metrics
from tests.serve.stand_in import StandIn

URL = "http://127.0.0.1:9"
MIB = 1 << 20


@pytest.fixture
def load() -> Load:
    return Load(URL, 50, 60, 0)


def counted(*changes: Callable[[Metrics], object]) -> Counted:
    metrics = Metrics()
    for change in changes:
        change(metrics)
    return Counted(metrics.text().decode())


def waited(kind: str, seconds: float) -> Callable[[Metrics], object]:
    return lambda metrics: metrics.waited.labels(kind).observe(seconds)


def answered(route: str, status: int, count: int = 1) -> Callable[[Metrics], object]:
    return lambda metrics: metrics.requests.labels(route, "POST", f"{status}").inc(count)


def test_memory_that_grows_beyond_the_margin_is_a_fault():
    assert memory_faults([400 * MIB] * 100) == []
    assert memory_faults([(400 + n // 2) * MIB for n in range(100)]) == []
    (fault,) = memory_faults([(400 + n) * MIB for n in range(100)])
    assert "494 MiB in the last tenth, 404 in the first" in fault
    assert memory_faults([(4000 + 2 * n) * MIB for n in range(100)]) == []
    assert len(memory_faults([(4000 + 5 * n) * MIB for n in range(100)])) == 1
    assert len(memory_faults([400 * MIB])) == 1


def test_clicks_that_wait_longer_than_encodings_are_a_fault():
    before = [waited("click", 9.0), waited("encode", 0.1)]
    good = [*before, waited("click", 0.1), waited("encode", 0.2)]
    assert order_faults(counted(*before), counted(*good)) == []
    bad = [*before, waited("click", 0.3), waited("encode", 0.2)]
    (fault,) = order_faults(counted(*before), counted(*bad))
    assert "300.0 ms" in fault


def test_requests_that_are_not_counted_and_clients_that_leave_unseen_are_faults(load):
    load.sent, load.left["upload"], load.left["click"] = 12, 2, load_checks._ENOUGH
    click = "/v1/images/{id}/click"
    about, rest = answered("/metrics", 200, 7), answered("other", 404, 9)
    good = counted(about, rest, answered("/v1/images", 499, 2), answered(click, 499))
    assert count_faults(load, good) == []
    unseen = counted(about, rest, answered("/v1/images", 499, 2), answered(click, 200))
    (fault,) = count_faults(load, unseen)
    assert fault.startswith(click)
    lost = counted(about, answered("/v1/images", 499, 2), answered(click, 499))
    (fault,) = count_faults(load, lost)
    assert fault.startswith("12 requests were sent, and 3 counted")


def test_an_answer_that_is_another_than_the_librarys_is_a_fault(load):
    model = StandIn()
    question = Question("click", 0, '{"points": [[1, 1]]}', "image/png")
    expected = load_checks._expected(question, load, model, {0: model.encode_image(load.known[0])})
    load.answers[question] = {expected}
    assert answer_faults(load, model) == []
    load.answers[question].add(b"another")
    (fault,) = answer_faults(load, model)
    assert "image/png" in fault


def faults(load: Load, kind: str, answer: Callable[[httpx2.Request], httpx2.Response]) -> list[str]:
    """What a request finds of a server that answers so."""

    async def ask() -> None:
        transport = httpx2.MockTransport(answer)
        async with httpx2.AsyncClient(base_url=URL, transport=transport) as client:
            await load.one(client, kind)

    asyncio.run(ask())
    return load.faults


def refuse(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadError("gone", request=request)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda _: httpx2.Response(429), "Retry-After"),
        (lambda _: httpx2.Response(429, headers={"Retry-After": "soon"}), "Retry-After"),
        (lambda _: httpx2.Response(500), "500"),
        (lambda _: httpx2.Response(200, headers={"Content-Type": "text/html"}), "text/html"),
        (refuse, "no answer"),
    ],
)
@pytest.mark.parametrize("kind", ["click", "segment"])
def test_a_question_without_its_answer_is_a_fault(load, kind, answer, said):
    (fault,) = faults(load, kind, answer)
    assert fault.startswith(kind)
    assert said in fault


@pytest.mark.parametrize(("there", "count"), [(200, 1), (404, 0)])
def test_a_picture_that_isnt_there_is_a_fault_unless_it_made_room(load, monkeypatch, there, count):
    bad = Bad("POST", "/v1/images/{id}/click", b"", 422)
    monkeypatch.setattr(load_clients, "BAD", (bad,))
    statuses = iter([404, 422])

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return httpx2.Response(there)
        if request.url.path == "/v1/images":
            name = hashlib.sha256(request.content).hexdigest()
            return httpx2.Response(201, headers={"Location": f"/v1/images/{name}"})
        return httpx2.Response(next(statuses))

    assert len(faults(load, "bad", answer)) == count


def test_another_status_than_the_listed_one_is_a_fault(load, monkeypatch):
    monkeypatch.setattr(load_clients, "BAD", (Bad("POST", "/v1/images", b"", 422),))
    (fault,) = faults(load, "bad", lambda _: httpx2.Response(404))
    assert "404, not 422" in fault
