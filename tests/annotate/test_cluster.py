"""Annotating on a cluster: the same bytes as in one process, whatever happens to a worker."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from sam3_tvm import MissingExtraError
from sam3_tvm.annotate import (
    AnnotatedPicture,
    Cluster,
    Dataset,
    Refused,
    Unfinished,
    chosen_formats,
)
from sam3_tvm.annotate import cluster as cluster_module
from sam3_tvm.annotate.cluster import Told
from sam3_tvm.annotate.shards import make_folder, write_shard
from sam3_tvm.errors import ArtifactError
from sam3_tvm.signing import SIGNED_BY
from tests.annotate.datasets import everything, make
from tests.annotate.hard_masks import write_pictures

pytest.importorskip("pyarrow")

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # pycocotools


class InProcess:
    """A cluster of one worker, which is this process."""

    def __init__(self, workers: int = 1) -> None:
        self.workers = workers
        self.batches = []

    def annotate(self, pictures, load, settings, shards):
        worker = cluster_module._Worker(load, 1, settings, f"{shards}")
        for batch in reversed(cluster_module._batches(pictures, self.workers)):
            self.batches.append(batch["place"].to_pylist())
            said = json.loads(worker(batch)["told"][0].as_py())
            if "fault" in said:
                raise Unfinished(cluster_module.UsageError(said["fault"])).fault
            yield Told(said["pictures"], dict(said["failures"]))


def given(finder, *, threads):
    return finder


def made_on(cluster, folder, find, pictures, load=None):
    with Dataset(folder, find, pictures) as dataset:
        counts = [*dataset.run_on(cluster, load or partial(given, find))]
        dataset.write(chosen_formats(["coco"]), sheet=5)
    return counts


def test_batches_that_come_in_any_order_make_the_same_bytes(tmp_path, find, pictures):
    pictures[1].path.write_bytes(b"no picture")
    make(tmp_path / "one", find, pictures)
    assert made_on(InProcess(), tmp_path / "many", find, pictures) == [1] * 6
    assert everything(tmp_path / "many") == everything(tmp_path / "one")
    (failed,) = json.loads((tmp_path / "many" / "summary.json").read_text())["failed"]
    assert failed["file_name"] == pictures[1].name


def test_given_up_on_the_way_it_goes_on_with_a_cluster_or_without(tmp_path, find, pictures):
    make(tmp_path / "one", find, pictures)
    for again in ("a cluster", "none"):
        folder = tmp_path / again
        with Dataset(folder, find, pictures) as dataset:
            for count, _ in enumerate(dataset.run_on(InProcess(), partial(given, find)), 1):
                if count == 3:
                    break  # as a killed process: nothing more is done
        cluster = InProcess()
        if again == "none":
            make(folder, find, pictures)
        else:
            made_on(cluster, folder, find, pictures)
            assert sorted(cluster.batches) == [[0], [1], [2]]
        made = everything(folder)
        assert "journal.jsonl" in made
        assert made.items() <= everything(tmp_path / "one").items()


def test_a_batch_that_was_lost_on_the_way_has_its_place_in_the_end(tmp_path, find, pictures):
    make(tmp_path / "one", find, pictures)
    with Dataset(tmp_path / "many", find, pictures) as dataset:
        [*dataset.run_on(InProcess(), partial(given, find))]
    shards = make_folder(tmp_path / "many")
    journal = tmp_path / "many" / "journal.jsonl"
    header, *lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(header)
    for place, line in enumerate(lines):
        if place not in (0, 3):  # two workers died over these
            write_shard(shards, [(place, AnnotatedPicture.from_line(line))])
    assert made_on(InProcess(), tmp_path / "many", find, pictures) == [1] * 2
    assert everything(tmp_path / "many") == everything(tmp_path / "one")


def test_interrupted_it_keeps_what_was_found(tmp_path, find, pictures):
    asked = []

    def interrupted():
        asked.append(None)
        return len(asked) == 2

    with Dataset(tmp_path / "set", find, pictures) as dataset:
        assert [*dataset.run_on(InProcess(), partial(given, find), interrupted)] == [1, 1]
        assert dataset.done == 2


def lacking(*, threads):
    raise ArtifactError("sam3-cpu: no artifact")


def differing(find, *, threads):
    return type("Finder", (), {"settings": lambda _: {"the artifact": "another"}})()


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (lacking, r": sam3-cpu: no artifact; when that is mended, the same call goes on"),
        (partial(differing, None), r": has another artifact at this path than the machine"),
    ],
)
def test_what_a_worker_cannot_do_is_one_line(tmp_path, find, pictures, load, says):
    with pytest.raises(Unfinished, match=says):
        made_on(InProcess(), tmp_path / "set", find, pictures, load)


def test_a_machine_that_does_not_see_the_folder_says_so(tmp_path, find, pictures):
    worker = cluster_module._Worker(partial(given, find), 1, {}, f"{tmp_path / 'x' / 'shards'}")
    (said,) = worker(cluster_module._batches([(0, pictures[0])], 1)[0])["told"].to_pylist()
    assert "every machine must see the dataset's folder" in json.loads(said)["fault"]


def test_a_worker_asks_for_the_signature_that_the_command_asks_for(tmp_path, pictures, monkeypatch):
    monkeypatch.setenv(SIGNED_BY, "another")  # of its machine

    def load(*, threads):
        raise ArtifactError(f"signed by {os.environ[SIGNED_BY]}?")

    for key, wanted in (("RWkey", "RWkey"), (None, "RWkey")):
        worker = cluster_module._Worker(load, 1, {}, f"{tmp_path}", key)
        (said,) = worker(cluster_module._batches([(0, pictures[0])], 1)[0])["told"].to_pylist()
        assert f"signed by {wanted}?" in json.loads(said)["fault"]


def test_there_are_several_batches_for_each_worker_and_none_is_large(pictures):
    def sizes(count, workers):
        return [
            len(one)
            for one in cluster_module._batches([(n, pictures[0]) for n in range(count)], workers)
        ]

    assert sizes(5, 2) == [1] * 5
    assert sizes(100, 2) == [6] * 16 + [4]
    assert max(sizes(10_000, 2)) == 16


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"needs ray, .*: pip install 'sam3-tvm\[ray\]'"):
        Cluster()


class Slow:
    """Finds masks a while after it was asked, and says in which process."""

    def __init__(self, find, told: Path) -> None:
        self._find = find
        self.categories, self.settings = find.categories, find.settings
        (told / f"{os.getpid()}").touch()

    def __call__(self, rgb):
        time.sleep(0.3)
        return self._find(rgb)


def slow(find, told, *, threads):
    return Slow(find, told)


@pytest.fixture
def ray_here(monkeypatch):
    """Workers of Ray's find these tests, and there are two of them."""
    pytest.importorskip("ray", reason="Ray isn't installed")
    root = f"{Path(__file__).parents[2]}"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, f"{root}/src"]))
    monkeypatch.setenv("TVM_NUM_THREADS", "2")


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_picture_and_doubles_none(ray_here, tmp_path):
    (tmp_path / "told").mkdir()
    for number in range(5):
        find = write_pictures(tmp_path / "pictures" / f"{number}", 40)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    from sam3_tvm.annotate import collect

    pictures = collect([tmp_path / "pictures"])
    make(tmp_path / "one", find, pictures)
    load = partial(slow, find, tmp_path / "told")
    with Cluster() as cluster, Dataset(tmp_path / "many", find, pictures) as dataset:
        assert cluster.workers == 2
        killed = None
        for _ in dataset.run_on(cluster, load):
            if killed is None:
                killed = int(next((tmp_path / "told").iterdir()).name)
                os.kill(killed, signal.SIGKILL)
        dataset.write(chosen_formats(["coco"]), sheet=5)
    # Two, and the one that came for the first.
    assert len([*(tmp_path / "told").iterdir()]) == 3
    assert everything(tmp_path / "many") == everything(tmp_path / "one")


@pytest.mark.slow
def test_what_ray_cannot_do_is_refused(ray_here):
    with pytest.raises(Refused, match="was to have 64 cores, and no machine has more than 2"):
        Cluster(threads=64).__enter__()
    with pytest.raises(Refused, match=r"127\.0\.0\.1:1: no cluster of Ray's can be used"):
        Cluster("127.0.0.1:1").__enter__()
