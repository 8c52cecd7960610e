"""``python -m tests.zoo``."""

from __future__ import annotations

import os

os.environ.setdefault("TVM_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.zoo.command import main

if __name__ == "__main__":
    main()
