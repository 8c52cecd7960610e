"""Load on a server of one's own, on this machine: ``python tests/serve/load.py ARTIFACT``.

Clients send new and known pictures, phrases, clicks, films and bad input, and some hang up. Every
answer is held against the library's; times are printed by kind. Bounded by requests and by seconds.

It ends with 1, and a line for each fault, where an answer is lost or has another status or other
bytes than it should; where not all was asked in time; where clicks wait longer for their turns than
encodings; where the server's memory grows; and where something is under way when nobody asks any
more.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
from load_checks import Counted, answer_faults, count_faults, memory_faults, order_faults, tenths
from load_clients import Load

import sam3_tvm

# How often memory is measured in a run, at most.
_MEASURED = 200

# Pictures beyond the queue that come at a time.
_BEYOND = 8

# Seconds in which the server comes to rest when nobody asks any more.
_REST = 60


@dataclass
class Ran:
    """What a run was, beside the answers.

    Attributes:
        seconds: that it took.
        answers: in it.
        before, after: what the server had counted.
        memory: of the server, bytes.
    """

    seconds: float
    answers: int
    before: Counted
    after: Counted
    memory: list[int]


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


async def _run(load: Load, process: int, clients: int) -> Ran:
    async with httpx2.AsyncClient(base_url=load.url, timeout=120) as watching:
        await _warm_up(load, watching)
        before = Counted((await watching.get("/metrics")).text)
        memory: list[int] = []
        every = max(1, len(load.plan) // _MEASURED)

        async def client() -> None:
            async with httpx2.AsyncClient(base_url=load.url, timeout=120) as own:
                while load.plan and time.monotonic() < load.end:
                    if len(load.plan) % every == 0:
                        memory.append(_resident(process))
                    await load.one(own, load.plan.pop())

        begun, answers = time.perf_counter(), _answers(load)
        await asyncio.gather(*(client() for _ in range(clients)))
        seconds, answers = time.perf_counter() - begun, _answers(load) - answers
        load.faults += await _rest(load, watching)
        after = Counted((await watching.get("/metrics")).text)
        return Ran(seconds, answers, before, after, memory)


async def _warm_up(load: Load, client: httpx2.AsyncClient) -> None:
    """A burst beyond the queue, two films, and as many pictures as the cache holds."""
    waiting = (await client.get("/v1")).json()["limits"]["waiting"]
    await load.burst(waiting + _BEYOND)
    await asyncio.gather(load.one(client, "film"), load.one(client, "film"))
    while not load.faults:
        counted = Counted((await client.get("/metrics")).text)
        if counted.of("pictures_evicted_total"):
            break
        await load.one(client, "new")


async def _rest(load: Load, client: httpx2.AsyncClient) -> list[str]:
    """Wait until nothing is under way and all is counted; a fault where the former isn't so."""
    end = time.monotonic() + _REST
    while True:
        counted = Counted((await client.get("/metrics")).text)
        kinds = (await client.get("/v1")).json()["kinds"]
        busy = {kind: one["under_way"] for kind, one in kinds.items() if one["under_way"]}
        waiting, films = counted.of("waiting"), counted.of("films_followed")
        rests = not busy and not waiting and not films
        if rests and counted.answered() == load.sent:
            return []
        if time.monotonic() > end:
            said = (
                f"after {_REST} s in which nobody asked: under way {busy}, {waiting:.0f} turns "
                f"waited for, {films:.0f} films followed"
            )
            return [] if rests else [said]
        await asyncio.sleep(0.2)


def _end(server: subprocess.Popen[str]) -> list[str]:
    """End the server; a fault where it doesn't end well."""
    server.send_signal(signal.SIGTERM)
    try:
        ended = server.wait(_REST)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        return [f"the server did not end within {_REST} s of SIGTERM"]
    return [f"the server ended with {ended}"] if ended else []


def _answers(load: Load) -> int:
    return sum(map(len, load.seconds.values()))


def _resident(process: int) -> int:
    """The memory of a process, in bytes (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _report(load: Load, ran: Ran) -> None:
    print(f"{'kind':10} {'answers':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8}  statuses")
    for kind in sorted(load.statuses):
        times = np.array(load.seconds.get(kind, [0.0])) * 1000
        p50, p99 = np.percentile(times, [50, 99])
        statuses = ", ".join(f"{s}: {n}" for s, n in sorted(load.statuses[kind].items()))
        shown = f"{p50:8.1f} {p99:8.1f} {times.max():8.1f}"
        print(f"{kind:10} {len(load.seconds.get(kind, ())):8} {shown}  {statuses}")
    print(f"{ran.answers} answers in {ran.seconds:.1f} s, {ran.answers / ran.seconds:.1f} a second")
    for kind in ("click", "segment", "encode", "frame"):
        waited, computed = (
            ran.after.mean(f"{name}_seconds", kind, ran.before) * 1000
            for name in ("waited", "computed")
        )
        print(f"{kind}: waited {waited:.1f} ms on average, computed {computed:.1f} ms")
    left = ", ".join(f"{where}: {count}" for where, count in sorted(load.left.items()))
    seen = ran.after.of("requests_total", status="499")
    print(f"{load.left.total()} clients hung up ({left}), {seen:.0f} were seen to (499)")
    print("memory, MiB:", ", ".join(f"{mean / (1 << 20):.0f}" for mean in tenths(ran.memory)))
    print(f"{len(load.answers)} distinct answers held against the library's")


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
    load, ran = Load(url, given.requests, given.seconds, given.seed), None
    try:
        ran = asyncio.run(_run(load, server.pid, given.clients))
    except (httpx2.HTTPError, OSError) as error:
        load.faults.append(f"the server cannot be asked any more: {error!r}")
    finally:
        load.faults += _end(server)
    if ran is not None:
        if load.plan:
            load.faults.append(f"{len(load.plan)} requests were not begun: the time was over")
        load.faults += memory_faults(ran.memory)
        load.faults += order_faults(ran.before, ran.after)
        load.faults += count_faults(load, ran.after)
        load.faults += answer_faults(load, sam3_tvm.load(given.artifact))
        _report(load, ran)
    for fault in load.faults[:20]:
        print(f"fault: {fault}")
    if len(load.faults) > 20:
        print(f"and {len(load.faults) - 20} faults more")
    sys.exit(bool(load.faults))


if __name__ == "__main__":
    main()
