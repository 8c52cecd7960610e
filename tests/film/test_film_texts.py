"""What the library of films says, which no command line needs to have asked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sam3_tvm.film

ROOM = Path(sam3_tvm.film.__file__).parent
OPTION = re.compile(r"(?:^|[\s(])--?[a-z]")


@pytest.mark.parametrize(
    "name",
    sorted(
        f"{path.relative_to(ROOM)}" for path in ROOM.rglob("*.py") if path.name != "__init__.py"
    ),
)
def test_no_text_names_an_option(name: str) -> None:
    tree = ast.parse((ROOM / name).read_text(encoding="utf-8"))
    texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)]
    assert not [text for text in texts if isinstance(text, str) and OPTION.search(text)]
