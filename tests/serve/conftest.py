"""A server around a model that stands in for one."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient

from sam3_tvm.serve import Access, Limits, create_app
from tests import video_scenes
from tests.serve.stand_in import StandIn
from tests.waiting import wait_until

BASE = "http://127.0.0.1:8000"


@pytest.fixture
def model() -> Iterator[StandIn]:
    made = StandIn()
    yield made
    made.gate.set()


@pytest.fixture
def serving(model) -> Callable[..., TestClient]:
    """``with serving(limits, access) as client``: an application that has loaded its model.

    With another ``load`` it is begun, and may not have loaded anything yet.
    """

    def given() -> StandIn:
        return model

    @contextmanager
    def begin(
        limits: Limits | None = None,
        access: Access | None = None,
        load=given,
        **options,
    ) -> Iterator[TestClient]:
        app = create_app(load, limits, access, **options)
        with TestClient(app, base_url=BASE, raise_server_exceptions=False) as client:
            if load is given:
                wait_until(lambda: client.get("/readyz").status_code == 200)
            yield client

    return begin


@pytest.fixture
def client(serving) -> Iterator[TestClient]:
    with serving() as made:
        yield made


@pytest.fixture
def file() -> Callable[..., bytes]:
    """A picture's file, another for each seed."""

    def make(seed: int = 0, size: tuple[int, int] = (24, 16), **options) -> bytes:
        noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
        made = io.BytesIO()
        Image.fromarray(noise).save(made, "PNG", **options)
        return made.getvalue()

    return make


@pytest.fixture
def picture(client, file) -> str:
    """The path of a picture that was sent."""
    return client.post("/v1/images", content=file()).headers["location"]


@pytest.fixture(scope="session")
def film_file(tmp_path_factory) -> bytes:
    return Path(
        video_scenes.write_video(tmp_path_factory.mktemp("film") / "film.mp4", 12)
    ).read_bytes()


class Asked:
    """A request to an application, without a server: the client can leave.

    Args:
        app: started.
        path, body, headers, method: of the request.
    """

    def __init__(self, app, path: str, body: bytes, method: str = "POST", headers=()) -> None:
        self.status: int | None = None
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.left = asyncio.Event()
        self.came = asyncio.Event()
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 1),
            "headers": [
                (b"host", b"127.0.0.1:8000"),
                (b"content-type", b"application/json"),
                *headers,
            ],
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self):
        if self._messages:
            return self._messages.pop(0)
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        elif message.get("body"):
            self.body += message["body"]
            self.came.set()


@pytest.fixture
def on_loop(model):
    """Runs ``await check(app)`` beside a started application, in an event loop."""

    def run(check, limits: Limits | None = None) -> None:
        async def within() -> None:
            app = create_app(lambda: model, limits)
            async with app.router.lifespan_context(app):
                while app.state.service._model is None:
                    await asyncio.sleep(0.005)
                try:
                    await asyncio.wait_for(check(app), 60)
                finally:
                    model.gate.set()

        asyncio.run(within())

    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    while not condition():
        await asyncio.sleep(0.005)


def pass_time(seconds: float) -> None:
    """What the running event loop waits for is due this much earlier, however busy a machine is."""
    loop = asyncio.get_running_loop()
    now = loop.time
    loop.time = lambda: now() + seconds
