"""``sam3-tvm serve`` around a stand-in, as a process: ``python serve_stand_in.py [OPTION]...``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, f"{Path(__file__).parents[2]}")  # for the tests' tracker of films
sys.path.insert(0, f"{Path(__file__).parent}")

from stand_in import StandIn

import sam3_tvm
from sam3_tvm.cli import main


class Slow(StandIn):
    """Takes its time, so that a signal comes while it computes."""

    def _call(self, name: str) -> None:
        print(f"begun {name}", flush=True)
        time.sleep(1.0)


def load(path, threads=None) -> Slow:
    return Slow()


sam3_tvm.load = load
sys.argv = ["sam3-tvm", "serve", "stand-in", *sys.argv[1:]]
main()
