"""What comes with the package is there, in a clone and where a wheel puts it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sam3_tvm import assets
from sam3_tvm.errors import Sam3Error

ROOT = Path(__file__).parents[1]


def test_a_clone_has_the_demonstration_in_its_own_folders():
    found = assets.demonstration()
    assert found == (ROOT / "checkpoints" / "shapes", ROOT / "examples")


def test_an_installed_package_has_it_within_and_a_copied_one_says_that_it_lacks_it(
    tmp_path, monkeypatch
):
    here = tmp_path / "site" / "sam3_tvm" / "assets"
    monkeypatch.setattr(assets, "_HERE", here)
    with pytest.raises(Sam3Error, match=r"the demonstration's checkpoint is neither in .*demo nor"):
        assets.demonstration()
    (here / "demo" / "examples").mkdir(parents=True)
    (here / "demo" / "shapes").mkdir()
    shutil.copy(ROOT / "checkpoints" / "shapes" / "config.json", here / "demo" / "shapes")
    assert assets.demonstration() == (here / "demo" / "shapes", here / "demo" / "examples")
