"""The API reference shows what is public, and each thing there says what it is."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("tvm")

from docs.reference import MODULES, main, public_objects


def test_everything_public_has_a_docstring():
    bare = [name for name, item in public_objects().items() if not inspect.getdoc(item)]
    assert not bare


@pytest.mark.parametrize("name", MODULES)
def test_public_constants_say_what_they_are(name):
    module = import_module(name)
    body = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
    for node, following in pairwise([*body, ast.Pass()]):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if getattr(target, "id", None) in getattr(module, "__all__", ()):
                said = following.value if isinstance(following, ast.Expr) else None
                assert isinstance(getattr(said, "value", None), str), target.id


def test_arguments_that_a_docstring_describes_are_there():
    """A section ``Args`` names parameters that the function or the class takes, all of them."""
    for name, item in public_objects().items():
        if inspect.ismodule(item) or "\nArgs:\n" not in (text := inspect.getdoc(item) or ""):
            continue
        section = text.split("\nArgs:\n", 1)[1].split("\n\n")[0]
        lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
        heads = [line.partition(":")[0] for line in lines if not line.startswith(" ")]
        said = {word.strip(" `*") for head in heads for word in head.split(",")}
        taken = {*inspect.signature(item).parameters} - {"self", "cls"}
        assert said == taken, name


def test_the_reference_has_a_page_for_each_module(tmp_path):
    pytest.importorskip("pdoc")
    modules = ("sam3_tvm.runtime", "sam3_tvm.film", "sam3_tvm.abi")
    main(tmp_path, modules)
    pages = {page.relative_to(tmp_path).as_posix() for page in tmp_path.rglob("*.html")}
    assert pages == {"index.html", *(f"{name.replace('.', '/')}.html" for name in modules)}
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    for name in modules:
        path = f"{name.replace('.', '/')}.html"
        assert f'href="{path}"' in index
        page = (tmp_path / path).read_text(encoding="utf-8")
        for public in getattr(import_module(name), "__all__", ()):
            assert f'id="{public}"' in page, f"{name}.{public}"
