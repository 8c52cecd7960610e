"""What runs in a worker process: one engine, waiting for orders; or one job, done and gone."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sam3_tvm import host
from sam3_tvm.bench.parts import load_arrays, save_arrays

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Do what the JSON object in the only argument says.

    ``{"role": "engine", "engine": NAME, "seat": FOLDER, ...}`` loads an engine and serves orders
    until its input ends, with outputs in that folder; ``"peak"`` likewise for the machine's peak
    rates; any other role is a job of :mod:`sam3_tvm.bench.prepare` that answers once.
    """
    # Libraries print to stdout. Answers go through a copy of it, prints to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(data: dict[str, Any]) -> None:
        answers.write(json.dumps(data) + "\n")
        answers.flush()

    job = json.loads(arguments[0])
    role = job.pop("role")
    if role == "engine":
        _serve_engine(job, answer)
    elif role == "peak":
        _serve_peak(job, answer)
    else:
        from sam3_tvm.bench import prepare

        answer(prepare.JOBS[role](**job) or {})


def _orders() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _serve_engine(job: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    from sam3_tvm.bench.engines import first_line, open_engine

    work = Path(job["work"])
    engine = open_engine(job)
    answer(
        {
            "versions": engine.versions(),
            "failures": engine.failures,
            "precision": engine.precision,
            "arithmetic": {name: engine.arithmetic(name) for name in engine.functions},
        }
    )
    runs: dict[str, Callable[[], dict[str, Any]]] = {}
    for order in _orders():
        do, part = order["do"], order.get("part", "")
        if do == "first":
            # Reading the inputs is no part of the run.
            runs[part] = engine.runner(part, load_arrays(work / "inputs" / part))
            start = time.perf_counter()
            try:
                outputs = runs[part]()
            except engine.errors as error:
                runs.pop(part)
                answer({"failed": first_line(error)})
                continue
            seconds = time.perf_counter() - start
            if order["save"]:
                save_arrays(work / "outputs" / job["seat"] / part, outputs)
            answer({"seconds": seconds})
        elif do == "time":
            answer({"seconds": [_timed(runs[part]) for _ in range(order["runs"])]})
        elif do == "memory":
            answer({"bytes": host.peak_bytes()})


def _timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _serve_peak(job: dict[str, Any], answer: Callable[[dict[str, Any]], None]) -> None:
    from sam3_tvm.bench.peak import Peak, find_instructions
    from sam3_tvm.compiler.targets.cpu import CpuTarget

    found = find_instructions(CpuTarget.native())
    peaks = {one.name: Peak(job["threads"], one) for ones in found.values() for one in ones}
    answer({"instructions": {kind: [one.name for one in ones] for kind, ones in found.items()}})
    for _ in _orders():
        answer({"rates": {name: peak.rate() for name, peak in peaks.items()}})


if __name__ == "__main__":
    main(sys.argv[1:])
