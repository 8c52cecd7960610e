"""What the clients of :mod:`load` ask of a server, and what they are answered."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
import re
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx2
import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"
FILM = EXAMPLES / "film.mp4"
PICTURES = ("hexagons.jpg", "stars.jpg", "outlines.jpg")
PHRASES = (["green hexagon"], ["red star", "hexagon"], ["blue outline"], ["star"])
TRACKS = (
    {"phrases": ["red star"], "frames": 6},
    {"objects": [{"id": 1, "points": [[37, 72]]}], "frames": 5},
)
ACCEPTS = ("application/json", "image/png", "application/geo+json")

# Out of a hundred requests; of each kind there is one at least.
MIX = {"new": 15, "known": 10, "segment": 31, "click": 31, "bad": 6, "leave": 6, "film": 1}

# Where a client hangs up: while it sends a picture, or while it waits for what it asked.
LEAVES = ("upload", "encode", "segment", "click")

# How often one goes on with what is refused for now, or with a picture that made room for others.
_TRIES = 20

_ID = "{id}"
_NOBODY = "0" * 64
_FAR = b'{"points": [[99999, 1]]}'
_NEAR = b'{"points": [[1, 1]]}'


class Bad(NamedTuple):
    """A request that is refused, and with which status."""

    method: str
    path: str
    content: bytes
    status: int
    accept: str = "*/*"


BAD = (
    Bad("POST", "/v1/images", b"no picture", 422),
    Bad("POST", "/v1/images", b"", 422),
    Bad("POST", f"/v1/images/{_ID}/click", _FAR, 422),
    Bad("POST", f"/v1/images/{_ID}/click", _NEAR, 406, "text/html"),
    Bad("POST", f"/v1/images/{_ID}/segment", b"{", 400),
    Bad("POST", f"/v1/images/{_ID}/segment", b'{"phrases": []}', 422),
    Bad("POST", f"/v1/images/{_NOBODY}/click", _NEAR, 404),
    Bad("GET", "/v1/nothing", b"", 404),
    Bad("POST", "/v1/videos", b"no film", 422),
)


class Question(NamedTuple):
    """What is asked in the same words is answered in the same.

    Attributes:
        route: ``segment``, ``click`` or ``track``.
        which: of the known pictures; -1 for the film.
        asked: the body.
        accept: in which form.
    """

    route: str
    which: int
    asked: str
    accept: str


class Lost(Exception):
    """A request without the answer that it should have."""


class Load:
    """What one run asks, and what came of it.

    Args:
        url: of the server.
        requests: all of them together.
        seconds: after which no more are begun.
        seed: of what is asked.

    Attributes:
        plan: kinds of the requests that aren't begun yet.
        known: files of pictures that are asked about.
        seconds: of answers, by kind.
        statuses: of answers, by kind.
        answers: to each question; one, if all is well.
        left: how many clients hung up, by where.
        sent: requests, also those that were sent again.
        faults: a line for each.
    """

    def __init__(self, url: str, requests: int, seconds: float, seed: int) -> None:
        self.url = url
        self.random = random.Random(seed)
        self.plan = self._planned(requests)
        self.end = time.monotonic() + seconds
        self.known = [variant(n, seed=0) for n in range(12)]
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.statuses: dict[str, Counter[int]] = defaultdict(Counter)
        self.answers: dict[Question, set[bytes]] = defaultdict(set)
        self.left: Counter[str] = Counter()
        self.sent = 0
        self.faults: list[str] = []
        self._numbers: Counter[int] = Counter()

    def _planned(self, requests: int) -> list[str]:
        kinds = [k for k, share in MIX.items() for _ in range(max(1, requests * share // 100))]
        kinds += self.random.choices([*MIX], [*MIX.values()], k=max(0, requests - len(kinds)))
        self.random.shuffle(kinds)
        return kinds[:requests]

    async def burst(self, count: int) -> None:
        """As many new pictures at a time; some are refused at first, and all are taken."""
        more = httpx2.Limits(max_connections=count)
        async with httpx2.AsyncClient(base_url=self.url, timeout=120, limits=more) as client:
            pictures = [self._picture(4) for _ in range(count)]
            await asyncio.gather(
                *(self.noting("burst", self._send(client, "burst", data)) for data in pictures)
            )
        if not self.statuses["burst"][429]:
            self.faults.append(f"burst: none of {count} pictures at a time was refused with 429")

    async def one(self, client: httpx2.AsyncClient, kind: str) -> None:
        """A request of a kind, with those that it takes before and after it."""
        await self.noting(kind, getattr(self, f"_{kind}")(client))

    async def noting(self, kind: str, work) -> None:
        """What is lost is a fault, and the client goes on."""
        try:
            await work
        except Lost as lost:
            self.faults.append(f"{kind}: {lost}")

    async def _ask(self, client, kind: str, method: str, path: str, content=b"", **headers: str):
        """An answer; one that is told to come later does."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for _ in range(_TRIES):
            begun = time.perf_counter()
            self.sent += 1
            try:
                answer = await client.request(method, path, content=content, headers=named)
            except httpx2.HTTPError as error:
                raise Lost(f"{method} {path} has no answer: {error!r}") from error
            self.statuses[kind][answer.status_code] += 1
            if answer.status_code != 429:
                self.seconds[kind].append(time.perf_counter() - begun)
                return answer
            later = answer.headers.get("retry-after", "")
            if not re.fullmatch("[1-9][0-9]*", later):
                raise Lost(f"429 with Retry-After: {later!r}, which is no number of seconds")
            await asyncio.sleep(int(later))
        raise Lost(f"{method} {path} was refused {_TRIES} times")

    async def _send(self, client, kind: str, data: bytes) -> str:
        """A picture's path, that it was sent to."""
        answer = await self._ask(client, kind, "POST", "/v1/images", data)
        path = f"/v1/images/{hashlib.sha256(data).hexdigest()}"
        if answer.status_code not in (200, 201) or answer.headers.get("location") != path:
            raise Lost(f"a picture was answered with {answer.status_code} {answer.text[:200]}")
        return path

    def _picture(self, seed: int) -> bytes:
        """A picture that wasn't there before."""
        self._numbers[seed] += 1
        return variant(self._numbers[seed], seed)

    async def _new(self, client) -> None:
        await self._send(client, "new", self._picture(1))

    async def _known(self, client) -> None:
        await self._send(client, "known", self.random.choice(self.known))

    async def _segment(self, client) -> None:
        await self._about(client, "segment", {"phrases": self.random.choice(PHRASES)})

    async def _click(self, client) -> None:
        await self._about(client, "click", self._clicked())

    def _clicked(self) -> dict:
        point = [self.random.choice([60, 120, 200]), self.random.choice([50, 100, 150])]
        return {"points": [point]}

    async def _about(self, client, route: str, asked: dict) -> None:
        (accept,) = self.random.choices(ACCEPTS, [60, 25, 15])
        if accept == "image/png" and self.random.random() < 0.5:
            asked = {**asked, "draw": True}
        which = self.random.randrange(len(self.known))
        data, body = self.known[which], json.dumps(asked)
        path = f"/v1/images/{hashlib.sha256(data).hexdigest()}/{route}"
        for _ in range(_TRIES):
            answer = await self._ask(
                client, route, "POST", path, body, content_type="application/json", accept=accept
            )
            if answer.status_code != 404:
                break
            await self._send(client, "again", data)  # it made room for others
        if answer.status_code != 200 or answer.headers["content-type"] != accept:
            raise Lost(f"{answer.status_code} {answer.headers.get('content-type')} for {accept}")
        self.answers[Question(route, which, body, accept)].add(answer.content)

    async def _film(self, client) -> None:
        asked = json.dumps(self.random.choice(TRACKS))
        film = await self._ask(client, "film", "POST", "/v1/videos", FILM.read_bytes())
        if film.status_code != 201:
            raise Lost(f"a film was answered with {film.status_code} {film.text[:200]}")
        path = film.headers["location"]
        answer = await self._ask(
            client, "track", "POST", f"{path}/track", asked, content_type="application/json"
        )
        if answer.status_code == 200:
            self.answers[Question("track", -1, asked, "")].add(answer.content)
        gone = await self._ask(client, "forget", "DELETE", path)
        if (answer.status_code, gone.status_code) != (200, 204):
            raise Lost(f"{answer.status_code} {answer.text[:200]}, then {gone.status_code}")

    async def _bad(self, client) -> None:
        bad = self.random.choice(BAD)
        # Of its own: nobody else sends it again between the two.
        data = self._picture(3) if _ID in bad.path else b""
        path = bad.path
        for _ in range(_TRIES):
            if data:
                path = bad.path.replace(f"/v1/images/{_ID}", await self._send(client, "own", data))
            kind = {} if path == "/v1/images" else {"content_type": "application/json"}
            answer = await self._ask(
                client, "bad", bad.method, path, bad.content, accept=bad.accept, **kind
            )
            if answer.status_code == bad.status:
                return
            if not data or answer.status_code != 404:
                break
            there = await self._ask(client, "look", "GET", path.rpartition("/")[0])
            if there.status_code != 404:
                break  # the picture hadn't made room
        raise Lost(f"{bad.method} {bad.path}: {answer.status_code}, not {bad.status}")

    async def _leave(self, client) -> None:
        where = LEAVES[self.left.total() % len(LEAVES)]
        self.left[where] += 1
        if where in ("upload", "encode"):
            path, body = "/v1/images", self._picture(2)
        else:
            picture = await self._send(client, "again", self.random.choice(self.known))
            asked = {"phrases": PHRASES[1]} if where == "segment" else self._clicked()
            path, body = f"{picture}/{where}", json.dumps(asked).encode()
        most = len(body) // 2 if where == "upload" else len(body)
        self.sent += 1
        try:
            await self._hang_up(path, body, most)
        except OSError as error:
            raise Lost(f"no connection: {error!r}") from error

    async def _hang_up(self, path: str, body: bytes, most: int) -> None:
        """Send so much of a body, and leave before anything can have been answered."""
        url = httpx2.URL(self.url)
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:most])
        await writer.drain()
        await asyncio.sleep(self.random.choice([0.0, 0.005, 0.02]))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def variant(number: int, seed: int) -> bytes:
    """A picture's file; none is like another of other numbers."""
    name = PICTURES[number % len(PICTURES)]
    rgb = np.asarray(Image.open(EXAMPLES / name).convert("RGB")).astype(np.int16)
    noise = np.random.default_rng([seed, number]).integers(-6, 7, rgb.shape)
    made = io.BytesIO()
    Image.fromarray(np.clip(rgb + noise, 0, 255).astype(np.uint8)).save(made, "JPEG", quality=90)
    return made.getvalue()
