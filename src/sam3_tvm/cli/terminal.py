"""How commands print: tables and results to stdout, progress and complaints to stderr."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from sam3_tvm.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = [
    "byte_size",
    "complain",
    "console",
    "json_text",
    "need_extra",
    "reporting",
    "say",
    "show",
    "table",
]

# A table in a pipe or a file is as wide as it needs to be, within this.
_WIDE = 200


def console(file: TextIO | None = None) -> Console:
    """A console on stdout, or on ``file``. Nothing in what it prints is taken for markup."""
    from rich.console import Console

    stream = sys.stdout if file is None else file
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def say(text: str) -> None:
    """Print a line to stdout."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print a line to stderr, whatever line breaks the text had."""
    print(" ".join(text.split()), file=sys.stderr, flush=True)


def json_text(data: Any) -> str:
    """Data as a JSON document; null for what JSON has no number for (NaN and infinities)."""
    return json.dumps(_without_nan(data), indent=2, ensure_ascii=False, allow_nan=False)


def _without_nan(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty table with these columns; those named in ``right`` are aligned there.

    A table whose columns have no names has no header.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, show_header=any(columns))
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left")
    return made


def show(title: str, rows: Table) -> None:
    """Print a table under its title. The title is no part of it, so it isn't wrapped to it."""
    screen = console()
    screen.print(title, style="bold", soft_wrap=True)
    screen.print(rows)


def byte_size(count: int) -> str:
    """A number of bytes in the binary unit that reads well."""
    if count < 1 << 20:
        return f"{count / 1024:.1f} KiB"
    return f"{count / (1 << 20):.1f} MiB" if count < 1 << 30 else f"{count / (1 << 30):.2f} GiB"


@contextmanager
def need_extra(what: str) -> Iterator[None]:
    """Name the extra when the body imports a package that only it installs.

    Raises:
        MissingExtraError: torch, TVM or another package of the extra is missing.
    """
    from sam3_tvm import _COMPILE_EXTRA, MissingExtraError

    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _COMPILE_EXTRA:
            raise
        raise MissingExtraError(
            f"{what} needs {package}, which is not installed: pip install 'sam3-tvm[compile]'"
        ) from error


@contextmanager
def reporting(lines: bool = True) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, a line per step elsewhere.

    Deprecation warnings of libraries are kept back: they are for us, not for who runs a command.

    Args:
        lines: whether to print lines where stderr is no terminal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        with _bar() if sys.stderr.isatty() else _lines(lines) as progress:
            yield progress


@contextmanager
def _lines(shown: bool) -> Iterator[Progress]:
    before = ""

    def print_line(step: str, done: int, total: int) -> None:
        nonlocal before
        if done < total and shown and step != before:
            complain(f"[{done + 1}/{total}] {step}")
        before = step

    yield print_line


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich import progress

    columns = (
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.description}", markup=False),
    )
    with progress.Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task("", total=None)

        def move(step: str, done: int, total: int) -> None:
            bar.update(task, description=step, completed=done, total=total)

        yield move
