"""Load on a server of one's own, on this machine: ``python tests/serve/load.py ARTIFACT``.

Clients send new and known pictures, phrases, clicks, bad input, and some hang up. Every answer is
held against the library's; times are printed by kind. Bounded by requests and by seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import httpx2
import numpy as np
from PIL import Image

import sam3_tvm
from sam3_tvm.serve.answers import Form, click_answer, segment_answer

ROOT = Path(__file__).parents[2]
PICTURES = ("hexagons.jpg", "stars.jpg", "outlines.jpg")
PHRASES = (["green hexagon"], ["red star", "hexagon"], ["blue outline"], ["star"])

# Out of a hundred requests.
MIX = {"new": 15, "known": 10, "segment": 32, "click": 32, "bad": 6, "leave": 5}

BAD = (
    ("POST", "/v1/images", b"no picture", 422),
    ("POST", "/v1/images", b"", 422),
    ("POST", "/v1/images/{id}/click", b'{"points": [[99999, 1]]}', 422),
    ("POST", "/v1/images/{id}/segment", b"{", 400),
    ("POST", "/v1/images/{id}/segment", b'{"phrases": []}', 422),
    ("POST", "/v1/images/" + "0" * 64 + "/click", b'{"points": [[1, 1]]}', 404),
    ("GET", "/v1/nothing", b"", 404),
)


class Load:
    """One run.

    Args:
        url: of the server.
        process: the server's id.
        requests: all of them together.
        seconds: after which no more are begun.
        seed: of what is asked.
    """

    def __init__(self, url: str, process: int, requests: int, seconds: float, seed: int) -> None:
        self.url = url
        self.process = process
        self.left = requests
        self.every = max(1, requests // 10)
        self.end = time.monotonic() + seconds
        self.random = random.Random(seed)
        self.known = [variant(n, seed=0) for n in range(12)]
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.statuses: dict[str, Counter[int]] = defaultdict(Counter)
        self.answers: dict[tuple[int, str, str], set[bytes]] = defaultdict(set)
        self.memory: list[int] = []
        self.faults: list[str] = []
        self.number = 0

    async def client(self) -> None:
        """Ask until all has been asked."""
        async with httpx2.AsyncClient(base_url=self.url, timeout=120) as client:
            while self.left > 0 and time.monotonic() < self.end:
                self.left -= 1
                self.number += 1
                if self.number % self.every == 0:
                    self.memory.append(_resident(self.process))
                (kind,) = self.random.choices([*MIX], [*MIX.values()])
                await getattr(self, f"_{kind}")(client)

    async def _ask(self, client, kind: str, method: str, path: str, content: bytes, **more):
        """An answer; one that is told to come later does."""
        for _ in range(20):
            begun = time.perf_counter()
            answer = await client.request(method, path, content=content, **more)
            self.statuses[kind][answer.status_code] += 1
            if answer.status_code != 429:
                self.seconds[kind].append(time.perf_counter() - begun)
                return answer
            await asyncio.sleep(float(answer.headers["retry-after"]))
        raise RuntimeError("refused twenty times")

    async def _send(self, client, kind: str, data: bytes) -> str:
        answer = await self._ask(client, kind, "POST", "/v1/images", data)
        name = hashlib.sha256(data).hexdigest()
        if answer.status_code not in (200, 201) or answer.json()["id"] != name:
            self.faults.append(f"{kind}: {answer.status_code} {answer.text[:200]}")
        return name

    async def _new(self, client) -> None:
        self.number += 1
        await self._send(client, "new", variant(self.number, seed=1))

    async def _known(self, client) -> None:
        await self._send(client, "known", self.random.choice(self.known))

    async def _segment(self, client) -> None:
        asked = {"phrases": self.random.choice(PHRASES)}
        await self._about(client, "segment", asked)

    async def _click(self, client) -> None:
        point = [self.random.choice([60, 120, 200]), self.random.choice([50, 100, 150])]
        await self._about(client, "click", {"points": [point]})

    async def _about(self, client, route: str, asked: dict) -> None:
        which = self.random.randrange(len(self.known))
        data = self.known[which]
        path = f"/v1/images/{hashlib.sha256(data).hexdigest()}/{route}"
        content, headers = json.dumps(asked).encode(), {"Content-Type": "application/json"}
        for _ in range(20):
            answer = await self._ask(client, route, "POST", path, content, headers=headers)
            if answer.status_code != 404:
                break
            await self._send(client, "again", data)  # it made room for others
        if answer.status_code != 200:
            self.faults.append(f"{route}: {answer.status_code} {answer.text[:200]}")
        self.answers[which, route, json.dumps(asked)].add(answer.content)

    async def _bad(self, client) -> None:
        method, path, content, status = self.random.choice(BAD)
        data = self.known[0]
        if "{id}" in path:
            path = path.replace("{id}", await self._send(client, "again", data))
        headers = {"Content-Type": "application/json"} if path != "/v1/images" else {}
        answer = await self._ask(client, "bad", method, path, content, headers=headers)
        # A picture may make room between the two.
        if answer.status_code not in (status, 404):
            self.faults.append(f"bad {path}: {answer.status_code}, not {status}")

    async def _leave(self, client) -> None:
        self.number += 1
        data = variant(self.number, seed=2)
        async with httpx2.AsyncClient(base_url=self.url) as own:
            task = asyncio.create_task(own.post("/v1/images", content=data))
            await asyncio.sleep(self.random.choice([0.0, 0.01, 0.05]))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.statuses["leave"][0] += 1

    def check(self, model) -> None:
        """Hold every answer against the library's."""
        for (which, route, asked), answers in self.answers.items():
            picture, given = self.known[which], json.loads(asked)
            if route == "segment":
                found = model.segment(picture, given["phrases"])
                expected = segment_answer(found, Form.RUNS, None)
            else:
                expected = click_answer(
                    model.click(picture, given["points"]), Form.RUNS, False, False
                )
            if answers != {expected}:
                self.faults.append(f"another answer than the library's: {which} {route} {asked}")


def variant(number: int, seed: int) -> bytes:
    """A picture's file; none is like another of other numbers."""
    name = PICTURES[number % len(PICTURES)]
    image = Image.open(ROOT / "examples" / name).convert("RGB")
    rgb = np.asarray(image).astype(np.int16)
    noise = np.random.default_rng([seed, number]).integers(-6, 7, rgb.shape)
    made = io.BytesIO()
    Image.fromarray(np.clip(rgb + noise, 0, 255).astype(np.uint8)).save(made, "JPEG", quality=90)
    return made.getvalue()


def _resident(process: int) -> int:
    """The memory of a process, in bytes (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def begin(artifact: str, cache: int) -> tuple[subprocess.Popen[str], str]:
    """A server of its own, and its URL."""
    command = [sys.executable, "-m", "sam3_tvm", "serve", artifact, "--port", "0"]
    server = subprocess.Popen(
        [*command, "--cache", f"{cache}"], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert server.stdout is not None
    line = server.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    if found is None:
        sys.exit(f"no server: {line}")
    return server, found[0]


def _report(load: Load, seconds: float, metrics: str) -> None:
    print(f"{'kind':10} {'answers':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  statuses")
    for kind in sorted({*load.seconds, *load.statuses}):
        times = np.array(load.seconds.get(kind, [0.0])) * 1000
        p50, p99 = np.percentile(times, [50, 99])
        statuses = ", ".join(f"{s or 'left'}: {n}" for s, n in sorted(load.statuses[kind].items()))
        shown = f"{p50:8.1f} {p99:8.1f} {times.max():8.1f}"
        print(f"{kind:10} {len(load.seconds.get(kind, ())):8} {shown}  {statuses}")
    total = sum(map(len, load.seconds.values()))
    print(f"{total} answers in {seconds:.1f} s, {total / seconds:.1f} a second")
    for kind in ("click", "segment", "encode"):
        values = {
            name: float(re.search(rf'sam3_tvm_{name}{{kind="{kind}"}} (\S+)', metrics)[1])  # type: ignore[index]
            for name in ("waited_seconds_sum", "waited_seconds_count", "computed_seconds_sum")
        }
        count = values["waited_seconds_count"] or 1
        print(
            f"{kind}: waited {values['waited_seconds_sum'] / count * 1000:.1f} ms on average, "
            f"computed {values['computed_seconds_sum'] / count * 1000:.1f} ms"
        )
    print("memory, MiB:", ", ".join(f"{m / (1 << 20):.0f}" for m in load.memory))
    print(f"{sum(map(len, load.answers.values()))} distinct answers held against the library's")


async def _run(load: Load, clients: int) -> tuple[float, str]:
    begun = time.perf_counter()
    await asyncio.gather(*(load.client() for _ in range(clients)))
    seconds = time.perf_counter() - begun
    async with httpx2.AsyncClient(base_url=load.url) as client:
        return seconds, (await client.get("/metrics")).text


def main() -> None:
    """Run it, and exit with 1 where something was lost or differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", help="folder of an artifact, such as checkpoints/shapes' own")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--cache", type=int, default=64, help="of the server, MiB")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    server, url = begin(given.artifact, given.cache)
    try:
        load = Load(url, server.pid, given.requests, given.seconds, given.seed)
        seconds, metrics = asyncio.run(_run(load, given.clients))
    finally:
        server.send_signal(signal.SIGTERM)
        ended = server.wait(60)
    load.check(sam3_tvm.load(given.artifact))
    _report(load, seconds, metrics)
    if ended != 0:
        load.faults.append(f"the server ended with {ended}")
    for fault in load.faults[:20]:
        print(f"fault: {fault}")
    if load.left > 0:
        print(f"{load.left} requests were not begun: the time was over")
    sys.exit(bool(load.faults))


if __name__ == "__main__":
    main()
