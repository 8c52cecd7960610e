"""The database of tuned tile sizes: what was measured to be fastest, by CPU model and level.

A JSON file of entries, each for one CPU model and one level of instructions. ``compile`` asks,
in this order, the file that it was given; the user's own, which ``sam3-tvm tune`` writes; and
those that come with the package. An entry is used on the CPU that it was measured on alone: for
a named level, and for CPUs that nobody tuned for, the defaults stand.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sam3_tvm.compiler.targets.tiles import Tiles
from sam3_tvm.errors import Sam3Error, as_argument

__all__ = ["Entry", "TuningError", "check_writable", "find", "read", "user_file", "write"]

_FORMAT = 1


class TuningError(Sam3Error):
    """A file of tile sizes that can't be read or written."""


@dataclass(frozen=True)
class Entry:
    """Tile sizes of one kind of CPU.

    Attributes:
        cpu: as :func:`sam3_tvm.host.cpu_model` gives it.
        level: the level of instructions that kernels were generated for.
        tiles: the sizes.
        gains: by kernel family, the time with the defaults over the time with these.
        threads, date, version: how, when and with which version of this package they were found.
    """

    cpu: str
    level: str
    tiles: Tiles
    gains: dict[str, float] = field(default_factory=dict)
    threads: int = 1
    date: str = ""
    version: str = ""


def user_file() -> Path:
    """Where ``sam3-tvm tune`` writes by default: below the XDG cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sam3-tvm" / "tuned.json"


def find(cpu: str, level: str, path: Path | None = None) -> tuple[Tiles, str]:
    """The tile sizes for a CPU, and where they are from, in words.

    Args:
        cpu, level: what the entry must be for.
        path: the only file to look in; None for the user's and then the package's.

    Raises:
        TuningError: a file that can't be read, or a ``path`` without an entry for this CPU.
    """
    if path is not None:
        for entry in read(path):
            if (entry.cpu, entry.level) == (cpu, level):
                return entry.tiles, f"tuned, {path.name}"
        raise TuningError(
            f"{path} has no entry for {level} of {cpu}: run sam3-tvm tune -o {as_argument(path)}"
        )
    for origin, entry in _known():
        if (entry.cpu, entry.level) == (cpu, level):
            return entry.tiles, f"tuned, {origin}"
    return Tiles(), "defaults"


def _known() -> Iterator[tuple[str, Entry]]:
    if os.path.isfile(user_file()):
        yield from (("the user's database", entry) for entry in read(user_file()))
    for path in sorted((Path(__file__).parent / "tuned").glob("*.json")):
        yield from ((f"sam3-tvm's {path.name}", entry) for entry in read(path))


def read(path: Path) -> list[Entry]:
    """The entries of a file.

    Raises:
        TuningError: no such file, or one that isn't a database of this format.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TuningError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TuningError(f"{path} is no JSON: {error}") from error
    try:
        if data["format"] != _FORMAT:
            raise TuningError(
                f"{path} has format {data['format']}, this version reads {_FORMAT}: "
                "run sam3-tvm tune again"
            )
        return [Entry(**{**e, "tiles": Tiles.from_json(e["tiles"])}) for e in data["entries"]]
    except (KeyError, TypeError, ValueError) as error:
        raise TuningError(f"{path} is no database of tile sizes: {error}") from error


def check_writable(path: Path) -> None:
    """Refuse what :func:`write` would refuse after a search, as far as it can be told before.

    Raises:
        TuningError: as :func:`write`.
    """
    try:
        path.lstat()
        read(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # such as a name that is too long
        raise TuningError(f"{path}: cannot be written ({error.strerror})") from error
    folder = path.absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
        raise TuningError(f"{path}: cannot be written (its folder may not be written to)")


def write(path: Path, entry: Entry) -> None:
    """Add an entry to a file, in the place of an older one for the same CPU; whole or not at all.

    Raises:
        TuningError: a file that is there and no database, or that can't be written.
    """
    before = read(path) if os.path.exists(path) else []
    kept = [e for e in before if (e.cpu, e.level) != (entry.cpu, entry.level)]
    text = json.dumps({"format": _FORMAT, "entries": [_plain(e) for e in (*kept, entry)]}, indent=2)
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise TuningError(f"{path}: cannot be written ({error.strerror})") from error


def _plain(entry: Entry) -> dict[str, Any]:
    return asdict(entry)
