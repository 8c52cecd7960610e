"""What a cluster's workers leave in a dataset's folder, and what becomes of it."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from sam3_tvm import MissingExtraError
from sam3_tvm.annotate import Dataset, annotate
from sam3_tvm.annotate.dataset import done_before
from sam3_tvm.annotate.shards import make_folder, read_shards, write_shard
from tests.annotate.datasets import everything, make

pytest.importorskip("pyarrow")

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools


@pytest.fixture
def left(tmp_path, find, pictures):
    """Leaves shards of pictures, by their places, in a dataset that was begun; gives the folder."""
    found = [*annotate(find, pictures)]

    def leave(*batches):
        folder = tmp_path / "set"
        Dataset(folder, find, pictures).__exit__(None, None, None)
        for batch in batches:
            write_shard(make_folder(folder), [(place, found[place]) for place in batch])
        find.seen.clear()
        return folder

    return leave


def test_shards_give_what_was_written_in_the_order_of_the_collection(left, find, pictures):
    folder = left([4, 5], [0, 3])
    assert [*read_shards(folder)] == [
        one for n, one in enumerate(annotate(find, pictures)) if n in (0, 3, 4, 5)
    ]


def test_shards_are_taken_in_when_the_dataset_is_opened(tmp_path, left, find, pictures):
    make(tmp_path / "whole", find, pictures)
    folder = left([3, 4, 5], [0, 1, 2])
    assert done_before(folder, find, pictures) == {one.name for one in pictures}
    make(folder, find, pictures)
    assert not find.seen
    assert everything(folder) == everything(tmp_path / "whole")


def test_a_picture_of_two_shards_is_there_once(tmp_path, left, find, pictures):
    make(tmp_path / "whole", find, pictures)
    make(left([0, 1, 2], [1, 2, 3]), find, pictures)
    assert len(find.seen) == 2
    assert everything(tmp_path / "set") == everything(tmp_path / "whole")


def test_a_damaged_shard_is_passed_over(tmp_path, left, find, pictures):
    make(tmp_path / "whole", find, pictures)
    folder = left([0, 1, 2], [3, 4, 5])
    shard = min((folder / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-20])
    with Dataset(folder, find, pictures) as dataset:
        assert [one.name for one in dataset.left] == [one.name for one in pictures[:3]]


def test_a_picture_that_has_changed_since_is_looked_at_again(left, find, pictures):
    folder = left([0, 1])
    Image.fromarray(np.full((24, 31, 3), 5, np.uint8)).save(pictures[0].path, compress_level=0)
    with Dataset(folder, find, pictures) as dataset:
        assert dataset.left == [pictures[0], *pictures[2:]]


def test_without_pyarrow_they_are_kept_and_the_extra_is_named(left, find, pictures, monkeypatch):
    folder = left([0, 1])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"sam3-tvm\[annotate\]"):
        Dataset(folder, find, pictures)
    monkeypatch.undo()
    with Dataset(folder, find, pictures) as dataset:  # which is not in use
        assert dataset.done == 2


@pytest.mark.skipif(os.name != "posix", reason="names of files are text there")
def test_a_name_that_is_no_text_comes_back(tmp_path, find, pictures):
    (one, *_) = annotate(find, pictures[:1])
    odd = type(one)(os.fsdecode(b"\xff.png"), *[getattr(one, n) for n in list(one.__dict__)[1:]])
    write_shard(make_folder(tmp_path), [(0, odd)])
    assert [*read_shards(tmp_path)] == [odd]
