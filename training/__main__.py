"""``python -m training``: train the demo model, draw its held-out scenes, export it."""

from __future__ import annotations

from training.cli import main

main()
