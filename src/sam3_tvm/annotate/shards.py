"""What several processes find, side by side, until one brings it together: a Parquet file a batch.

A shard has the lines that the journal will have, with their pictures' places in the collection. It
is there whole or not at all, and a batch that is looked at again gives the same shard.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from sam3_tvm.annotate.records import AnnotatedPicture
from sam3_tvm.extras import needed
from sam3_tvm.files import unwritable, write_whole

__all__ = ["FOLDER", "make_folder", "read_shards", "remove_folder", "write_shard"]

FOLDER = "shards"
"""Where shards lie in a dataset that isn't finished."""


def make_folder(dataset: Path) -> Path:
    """The folder of a dataset's shards; made where it isn't there.

    Raises:
        UsageError: it cannot be made.
    """
    folder = dataset / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def remove_folder(dataset: Path) -> None:
    """Remove a dataset's shards, if it has any."""
    with suppress(FileNotFoundError):
        shutil.rmtree(dataset / FOLDER)


def write_shard(folder: Path, found: Sequence[tuple[int, AnnotatedPicture]]) -> Path:
    """Write what was found in pictures, each with its place in the collection.

    Args:
        folder: where shards lie.
        found: at least one, by place.

    Returns:
        The file; its name begins with the first picture's place.

    Raises:
        UsageError: the disk is full, or the folder isn't there or may not be written to.
        MissingExtraError: pyarrow isn't installed.
    """
    with needed("annotate", "writing Parquet"):
        import pyarrow as pa
        from pyarrow import parquet
    places, pictures = zip(*found, strict=True)
    table = pa.table(
        {
            "place": pa.array(places, pa.int64()),
            "line": pa.array([one.to_line() for one in pictures], pa.string()),
        }
    )
    path = folder / f"{places[0]:09}.parquet"
    write_whole(path, lambda partial: parquet.write_table(table, partial, compression="zstd"))
    return path


def read_shards(dataset: Path) -> Iterator[AnnotatedPicture]:
    """What a dataset's shards have, in the order of their pictures.

    A shard that is damaged, as a power cut may leave one, is passed over.

    Raises:
        MissingExtraError: there are shards, and pyarrow isn't installed.
    """
    paths = sorted((dataset / FOLDER).glob("*.parquet"))
    if not paths:
        return
    with needed("annotate", "reading what Ray's workers have left"):
        import pyarrow as pa
        from pyarrow import parquet
    for path in paths:
        try:
            table = parquet.read_table(path, columns=["place", "line"], partitioning=None)
            lines = table.sort_by("place").column("line").to_pylist()
            found = [*map(AnnotatedPicture.from_line, lines)]
        except (OSError, pa.ArrowException, ValueError, TypeError, KeyError):
            continue
        yield from found
