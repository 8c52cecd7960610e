"""Clicks while pictures are encoded: ``python tests/serve/load_clicks.py ARTIFACT``.

One client sends new pictures, one after the other, and another clicks on one that was encoded
before: first while nothing else is asked, then while those are encoded. Every answer is held
against the library's; it ends with 1 where one differs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import sys
import time

import httpx2
import numpy as np
from load import begin
from load_clients import variant

import sam3_tvm
from sam3_tvm.serve.answers import Form, click_answer

CLICKS = ([60, 50], [120, 100], [200, 150])


async def _send(client: httpx2.AsyncClient, number: int) -> tuple[str, float]:
    """A new picture's id, and the seconds that it took."""
    data, begun = variant(number, seed=3), time.perf_counter()
    answer = await client.post("/v1/images", content=data)
    answer.raise_for_status()
    return hashlib.sha256(data).hexdigest(), time.perf_counter() - begun


class Clicks:
    """Clicks on a picture.

    Args:
        client: of the server.
        picture: its id.
        pause: seconds from an answer to the next click, as a person takes some.

    Attributes:
        answers: to each click; one, if all is well.
    """

    def __init__(self, client: httpx2.AsyncClient, picture: str, pause: float) -> None:
        self._client, self._pause = client, pause
        self._path = f"/v1/images/{picture}/click"
        self.answers: dict[int, set[bytes]] = {which: set() for which in range(len(CLICKS))}

    async def __call__(self, until: asyncio.Task | None, count: int) -> list[float]:
        """The seconds of clicks: until a task is done, or so many."""
        seconds: list[float] = []
        while not until.done() if until else len(seconds) < count:
            which = len(seconds) % len(CLICKS)
            begun = time.perf_counter()
            answer = await self._client.post(
                self._path, content=json.dumps({"points": [CLICKS[which]]})
            )
            answer.raise_for_status()
            seconds.append(time.perf_counter() - begun)
            self.answers[which].add(answer.content)
            await asyncio.sleep(self._pause)
        return seconds


def _say(what: str, seconds: list[float]) -> None:
    p50, p99 = np.percentile(np.array(seconds) * 1000, [50, 99])
    print(
        f"{what}: {len(seconds)}, p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {max(seconds) * 1000:.0f}"
    )


async def _run(url: str, pictures: int, pause: float) -> dict[int, set[bytes]]:
    headers = {"Content-Type": "application/json"}
    async with (
        httpx2.AsyncClient(base_url=url, timeout=600) as sender,
        httpx2.AsyncClient(base_url=url, timeout=600, headers=headers) as clicker,
    ):
        while (await sender.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.2)
        picture, _ = await _send(sender, 0)
        clicks = Clicks(clicker, picture, pause)
        await clicks(None, len(CLICKS))  # memory is touched for the first time
        alone = [(await _send(sender, 1 + n))[1] for n in range(pictures)]
        _say("pictures while nothing else is asked", alone)
        await _send(sender, 0)  # many pictures push it out
        _say("clicks while nothing else is asked", await clicks(None, 30))

        async def send() -> list[float]:
            return [(await _send(sender, 1 + pictures + n))[1] for n in range(pictures)]

        sending = asyncio.create_task(send())
        between = await clicks(sending, 0)
        _say("clicks while pictures are encoded", between)
        _say("pictures beside these clicks", await sending)
        return clicks.answers


def _check(artifact: str, answers: dict[int, set[bytes]]) -> list[str]:
    """A line for each click that was answered in another way than the library does."""
    model = sam3_tvm.load(artifact)
    picture = model.encode_image(variant(0, seed=3))
    faults = []
    for which, given in answers.items():
        result = model.click(picture, [CLICKS[which]])
        if given != {click_answer(result, Form.RUNS, False, False)}:
            faults.append(f"click {CLICKS[which]} was answered in another way than the library's")
    return faults


def main() -> None:
    """Run it, and exit with 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", help="folder of an artifact")
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.3, help="seconds between two clicks")
    given = parser.parse_args()
    server, url = begin(given.artifact, 2048)
    try:
        answers = asyncio.run(_run(url, given.pictures, given.pause))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(600)
    faults = _check(given.artifact, answers)
    print(f"{sum(map(len, answers.values()))} distinct answers held against the library's")
    for fault in faults:
        print(f"fault: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
