"""``python -m sam3_tvm``: the command ``sam3-tvm``, by whichever Python is at hand."""

from __future__ import annotations

from sam3_tvm.cli import main

if __name__ == "__main__":
    main()
