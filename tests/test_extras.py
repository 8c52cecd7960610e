"""Extras: what is said of a package that is missing, and that pyproject.toml installs it so."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sam3_tvm.errors import MissingExtraError
from sam3_tvm.extras import EXTRAS, needed

# What another distribution brings along.
BROUGHT = {"pandas": "ray[data]"}

DISTRIBUTIONS = {"minisign": "py-minisign"}

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_the_packages_that_it_is_named_for(extra):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    extras = tomllib.loads(PROJECT.read_text())["project"]["optional-dependencies"]

    def installed(name):
        for line in extras[name]:
            wanted = Requirement(line)
            if wanted.name == "sam3-tvm":
                for other in wanted.extras:
                    yield from installed(other)
            else:
                yield canonicalize_name(wanted.name)
                full = f"{wanted.name}[{','.join(sorted(wanted.extras))}]"
                yield from (name for name, by in BROUGHT.items() if by == full)

    there, providers = {*installed(extra)}, packages_distributions()
    for package in EXTRAS[extra]:
        # One that isn't here is taken to be in a distribution of its name, or as listed.
        usual = DISTRIBUTIONS.get(package, package)
        names = {canonicalize_name(name) for name in providers.get(package, [usual])}
        assert names & there, package


def test_an_extra_that_this_python_is_too_old_for_says_so(monkeypatch):
    monkeypatch.setattr("sys.version_info", (3, 10, 13))
    said = r"\[compile\]' \(Python 3.11 or newer\)$"
    with pytest.raises(MissingExtraError, match=said), needed("compile", "compiling"):
        raise ModuleNotFoundError(name="torch")
    with pytest.raises(MissingExtraError, match=r"\[geo\]'$"), needed("geo", "a map"):
        raise ModuleNotFoundError(name="rasterio")


def test_a_missing_package_is_named_with_its_extra_and_others_are_left():
    with pytest.raises(MissingExtraError) as caught, needed("geo", "a map", "or name a .png"):
        raise ModuleNotFoundError(name="rasterio.transform")
    assert f"{caught.value}" == (
        "a map needs rasterio, which is not installed: pip install 'sam3-tvm[geo]' (or name a .png)"
    )
    with pytest.raises(ModuleNotFoundError, match="ours"), needed("geo", "a map"):
        raise ModuleNotFoundError("ours", name="scipy")
