"""``python -m tests.emulated``."""

from __future__ import annotations

from tests.emulated.command import main

if __name__ == "__main__":
    main()
