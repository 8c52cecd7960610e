"""What the libraries of films and collections say, which no command line needs to have asked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sam3_tvm.annotate
import sam3_tvm.film

ROOMS = [Path(room.__file__).parent for room in (sam3_tvm.annotate, sam3_tvm.film)]
OPTION = re.compile(r"(?:^|[\s(])--?[a-z]")


@pytest.mark.parametrize(
    "path",
    [path for room in ROOMS for path in sorted(room.rglob("*.py")) if path.name != "__init__.py"],
    ids=lambda path: path.relative_to(ROOMS[0].parent).as_posix(),
)
def test_no_text_names_an_option(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and OPTION.search(text)]
