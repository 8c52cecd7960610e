from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rectangles


@pytest.fixture
def document() -> dict[str, Any]:
    """An annotation file, to be changed."""
    return rectangles.document()


@pytest.fixture
def write(tmp_path) -> Callable[[dict[str, Any]], Path]:
    """Writes annotations.json and the pictures that it names; gives the folder."""
    return lambda document: rectangles.write_folder(tmp_path / "data", document)
