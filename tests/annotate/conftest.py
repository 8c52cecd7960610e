"""A collection with hard masks, and a dataset of it in every format."""

from __future__ import annotations

from pathlib import Path

import pytest

from sam3_tvm.annotate import FORMATS, Dataset, collect
from tests.annotate.hard_masks import MaskFinder, write_pictures


@pytest.fixture
def find(tmp_path) -> MaskFinder:
    """Finds what is in the pictures of the folder ``pictures``."""
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def pictures(tmp_path, find):
    return collect([tmp_path / "pictures"])


@pytest.fixture(scope="session")
def written(tmp_path_factory) -> Path:
    """A dataset in the formats whose packages are installed; its pictures lie beside it."""
    folder = tmp_path_factory.mktemp("annotate")
    find = write_pictures(folder / "pictures", 1100)
    with Dataset(folder / "dataset", find, collect([folder / "pictures"])) as dataset:
        list(dataset.run())
        dataset.write(installed())
    return folder / "dataset"


def installed():
    """The formats that can be written here."""
    from sam3_tvm import MissingExtraError

    found = []
    for one in FORMATS.values():
        try:
            one.check()
        except MissingExtraError:
            continue
        found.append(one)
    return found
