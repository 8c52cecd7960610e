"""Annotating on many machines, or in many processes of this one, with Ray.

Ray Data hands out pictures in batches to actors, each of which has a model of its own and some of
the cores. A worker reads the pictures itself and leaves what it finds as a shard in the dataset's
folder, so that names, counts and reasons are all that passes through Ray's object store.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from sam3_tvm.annotate.collect import Listed
from sam3_tvm.annotate.faults import Refused
from sam3_tvm.annotate.finding import Finder
from sam3_tvm.annotate.records import AnnotatedPicture, PictureFailure
from sam3_tvm.annotate.run import annotate
from sam3_tvm.annotate.shards import write_shard
from sam3_tvm.annotate.usage import Usage
from sam3_tvm.errors import Sam3Error, UsageError, one_line
from sam3_tvm.extras import needed
from sam3_tvm.runtime.execution.engine import default_threads, shared_engine
from sam3_tvm.signing import SIGNED_BY, key_text, required_key

__all__ = ["Cluster", "LoadFinder", "Told"]

# A batch is what is looked at again when a worker dies, and what progress is counted by; between
# two a worker waits for a picture to be read.
_LARGEST_BATCH = 16
_BATCHES_EACH = 8

# In which a cluster's address has to answer.
_ANSWER_SECONDS = 10.0

# Taken when it is needed. A batch takes some 5 KB of it: a million pictures 300 MB.
_OBJECT_STORE_BYTES = 512 << 20


class LoadFinder(Protocol):
    """Gives a worker what looks for objects; pickled, and called once in each worker."""

    def __call__(self, *, threads: int) -> Finder:
        """What looks for objects, computing with so many threads."""


@dataclass(frozen=True)
class Told:
    """What a worker says of a batch when its shard is written.

    Attributes:
        pictures: how many it looked at.
        failures: why nothing could be looked for, by places in the collection.
    """

    pictures: int
    failures: dict[int, str]


class Cluster:
    """Machines that Ray brings together. Used as a context.

    Args:
        address: of a cluster that runs, as Ray takes it: ``HOST:PORT``, or ``auto`` on one of its
            machines. None begins one of this machine's cores, which ends with the context.
        threads: cores of each worker; by default one, with which a collection is done soonest.

    Attributes:
        threads: as given.
        workers: how many there are: as many as the machines have cores for.
        computing: seconds in which the workers computed, all together.

    Raises:
        Refused: no cluster answers, no machine of it has so many cores, or no core is asked for.
        MissingExtraError: Ray isn't installed.
    """

    def __init__(self, address: str | None = None, threads: int | None = None) -> None:
        with needed("ray", "annotating on a cluster"):
            import ray.data

            del ray
        self._address = address
        self.threads = 1 if threads is None else threads
        if self.threads < 1:
            raise Refused("cluster", f"{threads}: a worker has at least one core")
        self.workers = 0
        self.computing = 0.0

    def __enter__(self) -> Cluster:
        import ray

        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        # Nobody is told that this machine's cluster was begun, and of what goes well nobody.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        try:
            if self._address is None:
                ray.init(
                    "local",
                    num_cpus=default_threads(),
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    **quiet,
                )
            else:
                _call_at(self._address)
                ray.init(self._address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = one_line(f"{error}".strip().partition("\n")[0])
            if self._address is None:
                raise Refused(
                    "cluster", f"Ray cannot be started on this machine ({reason})", False
                ) from error
            raise Refused(
                "address",
                f"{self._address}: no cluster of Ray's can be used ({reason}); give HOST:PORT of "
                "one that runs, or auto on one of its machines",
            ) from error
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        self.workers = sum(count // self.threads for count in cores)
        if not self.workers:
            self.__exit__()
            raise Refused(
                "cluster",
                f"a worker was to have {self.threads} cores, and no machine has more than "
                f"{max(cores, default=0)}",
                False,
            )
        return self

    def usage(self, here: Usage) -> Usage:
        """What the workers used in the time that was measured here."""
        threads, shares = self.threads * self.workers, here.seconds * self.workers
        return replace(here, threads=threads, computing=self.computing / shares, cpu=None)

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()

    def annotate(
        self,
        pictures: Sequence[tuple[int, Listed]],
        load: LoadFinder,
        settings: Mapping[str, Any],
        shards: Path,
    ) -> Iterator[Told]:
        """Let the workers look for objects in pictures.

        A worker that dies is begun again, and so are the batches that it had; a shard is written
        once for each, under the same name.

        Args:
            pictures: with their places in the collection.
            load: pickled, and called once in each worker; such as
                :func:`~sam3_tvm.annotate.finding.load_phrase_finder` with its first arguments
                given by :func:`functools.partial`.
            settings: of the finder that each is to have.
            shards: the folder for what is found, the same for all machines.

        Yields:
            What is said of each batch, as they come.

        Raises:
            UsageError: what a worker says that it cannot do, with its machine's name.
        """
        import ray.data
        from ray.exceptions import RayError

        if not pictures:
            return
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        # What this process requires of artifacts, its machines do, too; the key's file may be here.
        key = required_key(None)
        signed_by = None if key is None else key_text(key)
        batches = ray.data.from_arrow(_batches(pictures, self.workers)).map_batches(
            _Worker,
            fn_constructor_args=(load, self.threads, dict(settings), f"{shards}", signed_by),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=self.threads,
            compute=ray.data.ActorPoolStrategy(size=self.workers),
        )
        try:
            for row in batches.iter_rows():
                said = json.loads(row["told"])
                if "fault" in said:
                    raise UsageError(said["fault"])
                failures = {place: reason for place, reason in said["failures"]}
                self.computing += said["computing"]
                yield Told(said["pictures"], failures)
        except RayError as error:
            lines = f"{error}".strip().splitlines() or [type(error).__name__]
            raise UsageError(f"Ray gave up: {one_line(lines[-1])}") from error


def _call_at(address: str) -> None:
    """See whether anybody answers at an address: Ray itself would try for minutes.

    Raises:
        OSError: nobody does.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), _ANSWER_SECONDS):
            pass


def _batches(pictures: Sequence[tuple[int, Listed]], workers: int) -> list[Any]:
    """Tables of pictures, one for each batch. A path may be no text, so that it comes as bytes."""
    import pyarrow as pa

    size = max(1, min(_LARGEST_BATCH, len(pictures) // (workers * _BATCHES_EACH)))
    tables = []
    for start in range(0, len(pictures), size):
        places, listed = zip(*pictures[start : start + size], strict=True)
        paths = [os.fsencode(one.path) for one in listed]
        names = [os.fsencode(one.name) for one in listed]
        columns = [pa.array(places, pa.int64()), pa.array(paths, pa.binary())]
        tables.append(pa.table([*columns, pa.array(names, pa.binary())], ["place", "path", "name"]))
    return tables


class _Worker:
    """What an actor does: looks at batches of pictures, and leaves a shard of what it found.

    It answers for whatever is no bug of ours: an exception would end all the others' work.
    """

    def __init__(
        self,
        load: LoadFinder,
        threads: int,
        settings: dict[str, Any],
        shards: str,
        signed_by: str | None = None,
    ) -> None:
        self._load = load
        self._threads = threads
        self._settings = settings
        self._shards = Path(shards)
        self._signed_by = signed_by
        self._find: Finder | None = None

    def __call__(self, batch: Any) -> Any:
        import pyarrow as pa

        try:
            said = self._look(batch.to_pylist())
        except (Sam3Error, OSError, MemoryError) as error:
            reason = f"{error}" or type(error).__name__
            said = {"fault": one_line(f"{socket.gethostname()}: {reason}")}
        return pa.table({"told": [json.dumps(said)]})

    def _look(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        find = self._finder()
        engine = shared_engine(self._threads)
        before = engine.busy
        pictures = [
            Listed(Path(os.fsdecode(row["path"])), os.fsdecode(row["name"])) for row in rows
        ]
        found: list[tuple[int, AnnotatedPicture]] = []
        failures: list[tuple[int, str]] = []
        for row, one in zip(rows, annotate(find, pictures), strict=True):
            if isinstance(one, PictureFailure):
                failures.append((row["place"], one.reason))
            else:
                found.append((row["place"], one))
        if found:
            write_shard(self._shards, found)
        computing = engine.busy - before
        return {"pictures": len(rows), "failures": failures, "computing": computing}

    def _finder(self) -> Finder:
        """What looks for objects; loaded at the first batch, so that a fault can be told."""
        if self._find is None:
            if not self._shards.is_dir():
                raise UsageError(
                    f"{self._shards.parent}: isn't seen here; every machine must see the dataset's "
                    "folder, the pictures and the artifact at the same paths"
                )
            if self._signed_by is not None:
                os.environ[SIGNED_BY] = self._signed_by
            find = self._load(threads=self._threads)
            if json.dumps(find.settings()) != json.dumps(self._settings):
                raise UsageError("has another artifact at this path than the machine that asks")
            self._find = find
        return self._find
