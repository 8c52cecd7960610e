"""How commands print: tables and results to stdout, progress and complaints to stderr."""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from sam3_tvm.errors import Sam3Error, one_line
from sam3_tvm.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

__all__ = [
    "Passing",
    "Table",
    "byte_size",
    "complain",
    "console",
    "counting",
    "duration",
    "json_text",
    "passing",
    "reporting",
    "say",
    "say_json",
    "show",
    "table",
]


class OutputError(Sam3Error):
    """What a command prints cannot be printed."""


# A table in a pipe or a file is as wide as it needs to be, within this.
_WIDE = 200

# Seconds between two lines about progress where there is no terminal to draw a bar on.
_BETWEEN_LINES = 10.0


def console(file: TextIO | None = None) -> Console:
    """A console on stdout, or on ``file``. Nothing in what it prints is taken for markup."""
    from rich.console import Console

    stream = sys.stdout if file is None else file
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, markup=False, emoji=False, highlight=False)


def say(text: str) -> None:
    """Print a line to stdout, to be read by people; line breaks in it are spelt out."""
    with _written():
        print(one_line(text), flush=True)


def complain(text: str) -> None:
    """Print a line to stderr; line breaks in it are spelt out."""
    print(one_line(text.strip()), file=sys.stderr, flush=True)


def say_json(data: Any) -> None:
    """Print data as one JSON document to stdout, in whatever encoding that has."""
    text = json_text(data)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a file's name that is no text, or a terminal that isn't UTF-8
        text = json.dumps(json.loads(text), indent=2)
    with _written():
        print(text, flush=True)


def json_text(data: Any) -> str:
    """Data as a JSON document; null for what JSON has no number for (NaN and infinities)."""
    return json.dumps(_without_nan(data), indent=2, ensure_ascii=False, allow_nan=False)


@contextmanager
def _written() -> Iterator[None]:
    """Say in one line that stdout can't be written to. A closed pipe is typer's to handle."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"stdout cannot be written to ({error.strerror or error})") from error


def _without_nan(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


class Table:
    """Rows to be shown. What moves the cursor in a cell, line breaks too, is spelt out.

    Args:
        columns: their names; a table whose columns have none has no header.
        right: those that are aligned there.
    """

    def __init__(self, columns: Sequence[str], right: Sequence[str]) -> None:
        self._columns = columns
        self._right = right
        self._rows: list[tuple[str, ...]] = []
        self._sections: set[int] = set()

    def add_row(self, *cells: str | Sequence[str]) -> None:
        """Add a row; a cell is a line or several."""
        self._rows.append(
            tuple(
                one_line(cell) if isinstance(cell, str) else "\n".join(map(one_line, cell))
                for cell in cells
            )
        )

    def add_section(self) -> None:
        """Draw a line below the last row."""
        self._sections.add(len(self._rows))

    def drawn(self) -> RichTable:
        """The table as rich prints it."""
        from rich import box
        from rich.table import Table as RichTable

        made = RichTable(box=box.SIMPLE_HEAD, show_header=any(self._columns))
        for name in self._columns:
            made.add_column(one_line(name), justify="right" if name in self._right else "left")
        for number, row in enumerate(self._rows, 1):
            made.add_row(*row, end_section=number in self._sections)
        return made


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """An empty :class:`Table` with these columns; those named in ``right`` are aligned there."""
    return Table(columns, right)


def show(title: str, rows: Table) -> None:
    """Print a table under its title. The title is no part of it, so it isn't wrapped to it."""
    screen = console()
    with _written():
        screen.print(one_line(title), style="bold", soft_wrap=True)
        screen.print(rows.drawn())


def byte_size(count: int) -> str:
    """A number of bytes in the binary unit that reads well."""
    if count < 1 << 20:
        return f"{count / 1024:.1f} KiB"
    return f"{count / (1 << 20):.1f} MiB" if count < 1 << 30 else f"{count / (1 << 30):.2f} GiB"


@contextmanager
def reporting(lines: bool = True, left: bool = False) -> Iterator[Progress]:
    """Show progress on stderr: a bar on a terminal, a line per step elsewhere.

    Deprecation warnings of libraries are kept back: they are for this package's developers.

    Args:
        lines: whether to print lines where stderr is no terminal.
        left: whether to say how much time is left, of steps that take about as long as each other.
    """
    with _quiet(), _bar(left) if sys.stderr.isatty() else _lines(lines, left) as progress:
        yield progress


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        # Of oddities in pictures that are read all the same.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextmanager
def _lines(shown: bool, left: bool) -> Iterator[Progress]:
    before = ""
    begin = time.monotonic()

    def print_line(step: str, done: int, total: int) -> None:
        nonlocal before
        if done < total and shown and step != before:
            rest = (time.monotonic() - begin) / max(done, 1) * (total - done)
            told = f", {duration(rest)} left" if left and done else ""
            complain(f"[{done + 1}/{total}] {step}{told}")
        before = step

    yield print_line


@contextmanager
def _bar(left: bool) -> Iterator[Progress]:
    from rich import progress

    columns = (
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        *([progress.TimeRemainingColumn(), progress.TextColumn("left")] if left else []),
        progress.TextColumn("{task.description}", markup=False),
    )
    screen = console(sys.stderr)
    # A step may take half a minute: the speed is that of the last ten.
    with progress.Progress(
        *columns, console=screen, transient=True, speed_estimate_period=600 if left else 30
    ) as bar:
        task = bar.add_task("", total=None)

        def move(step: str, done: int, total: int) -> None:
            bar.update(task, description=one_line(step), completed=done, total=total)

        yield move


class Passing:
    """Where a command is among many things of which it prints each; see :func:`passing`."""

    def __init__(self, total: int) -> None:
        self._total = total

    def tell(self, step: str, done: int) -> None:
        """Say what comes next, and how many are done."""
        if self._total > 1:
            complain(f"[{done + 1}/{self._total}] {step}")

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Clear the way for what the body prints."""
        yield


class _PassingBar(Passing):
    def __init__(self, total: int, bar: Any, task: Any) -> None:
        super().__init__(total)
        self._bar, self._task = bar, task

    def tell(self, step: str, done: int) -> None:
        self._bar.update(self._task, description=one_line(step), completed=done)

    @contextmanager
    def aside(self) -> Iterator[None]:
        self._bar.stop()
        yield
        self._bar.start()


@contextmanager
def passing(total: int, done: int = 0) -> Iterator[Passing]:
    """Show on stderr which of many things is at hand: one bar over all, with the time left.

    Elsewhere than on a terminal a line for each, where there are several.

    Args:
        total: how many there are.
        done: how many were done before.
    """
    if not sys.stderr.isatty():
        with _quiet():
            yield Passing(total)
        return
    from rich import progress

    columns = (
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left", markup=False),
        progress.TextColumn("{task.description}", markup=False),
    )
    # What is printed to stdout while the bar is shown would go to stderr with it, also where
    # stdout is a file. So the bar is taken away instead, see aside().
    bar = progress.Progress(
        *columns,
        console=console(sys.stderr),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        speed_estimate_period=600,  # a picture may take half a minute
    )
    with _quiet(), bar:
        yield _PassingBar(total, bar, bar.add_task("", total=total, completed=done))


@contextmanager
def counting(unit: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show on stderr how many of something are done, how fast, and the time left.

    A bar on a terminal, a line now and then elsewhere.

    Args:
        unit: what is counted, in the plural.
        total: how many there are; None if that isn't known.
        done: how many were done before.

    Yields:
        What is to be told how many are done.
    """
    with (
        _counting_bar(unit, total, done)
        if sys.stderr.isatty()
        else _counting_lines(unit, total, done) as tell
    ):
        yield tell


@contextmanager
def _counting_lines(unit: str, total: int | None, before: int) -> Iterator[Callable[[int], None]]:
    begin = said = time.monotonic()

    def tell(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said < _BETWEEN_LINES:
            return
        said = now
        rate = (done - before) / (now - begin)
        of = "" if total is None else f" of {total}"
        left = "" if total is None else f", {duration((total - done) / rate)} left"
        complain(f"{done}{of} {unit}, {rate:.2f} {unit}/s{left}")

    yield tell


@contextmanager
def _counting_bar(unit: str, total: int | None, before: int) -> Iterator[Callable[[int], None]]:
    from rich import progress

    begin = time.monotonic()
    columns = (
        progress.SpinnerColumn(),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.description}", markup=False),
        progress.TimeRemainingColumn(),
        progress.TextColumn("left", markup=False),
    )
    # A frame may take as long as the half minute over which Rich takes the speed by default:
    # here it is that of the last ten minutes.
    with progress.Progress(
        *columns, console=console(sys.stderr), transient=True, speed_estimate_period=600
    ) as bar:
        task = bar.add_task(unit, total=total, completed=before)

        def tell(done: int) -> None:
            rate = (done - before) / max(time.monotonic() - begin, 1e-9)
            bar.update(task, completed=done, description=f"{unit}, {rate:.2f} {unit}/s")

        yield tell


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
