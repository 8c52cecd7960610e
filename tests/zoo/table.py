"""The zoo's results: kept as JSON, counted, and shown as tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.table import Table

from tests.zoo.entry import LARGEST_BATCH, Entry
from tests.zoo.measure import Outcome, Trial

__all__ = ["DOCS", "Results", "documented", "load", "markdown", "save", "summary", "terminal"]

DOCS = Path(__file__).parents[2] / "docs" / "importer-coverage.md"
_MARKERS = ("<!-- models: written by python -m tests.zoo --write-docs -->", "<!-- end -->")
_COLUMNS = (
    "model",
    "static, ours",
    "static, TVM",
    "any batch, ours",
    "any batch, TVM",
    "largest error",
    "what is wrong",
)
_DETAIL = 110
"""A table stays readable with this much of a reason; the JSON has all of it."""

Results = dict[Trial, Outcome]


def save(path: Path, results: Results) -> None:
    """Write results as JSON, whole or not at all."""
    rows = [{**asdict(trial), **asdict(outcome)} for trial, outcome in results.items()]
    fresh = path.with_suffix(".part")
    fresh.write_text(json.dumps(rows, indent=1, allow_nan=True), encoding="utf-8")
    fresh.replace(path)


def load(path: Path) -> Results:
    """Read what :func:`save` wrote."""
    fields = set(Trial.__dataclass_fields__)
    results = {}
    for row in json.loads(path.read_text(encoding="utf-8")):
        trial = Trial(**{key: row[key] for key in fields})
        results[trial] = Outcome(**{k: v for k, v in row.items() if k not in fields})
    return results


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    return {"none": "–", "refused": "not exported"}.get(outcome.kind, outcome.kind)


def _row(entry: Entry, results: Mapping[Trial, Outcome]) -> list[str]:
    ours = [results.get(Trial(entry.name, False, dynamic)) for dynamic in (False, True)]
    stock = [results.get(Trial(entry.name, True, dynamic)) for dynamic in (False, True)]
    errors = [o.error for o in ours if o is not None and o.right and o.error is not None]
    reason = next((o.detail for o in ours if o and not o.right and o.kind != "none"), "")
    if not reason:
        theirs = (o.detail for o in stock if o and not o.right and o.kind != "none")
        reason = next((f"TVM: {detail}" for detail in theirs), "")
    if len(reason) > _DETAIL:
        reason = reason[: _DETAIL - 1].rstrip() + "…"
    cells = [_cell(o) for pair in zip(ours, stock, strict=True) for o in pair]
    return [entry.name, *cells, f"{max(errors):.0e}" if errors else "", reason]


def summary(entries: Iterable[Entry], results: Mapping[Trial, Outcome]) -> list[str]:
    """How many are right, one line for each kind of trial that was run.

    A model that torch.export itself refuses counts on neither side.
    """
    entries = list(entries)
    lines = []
    for dynamic in (False, True):
        possible = [
            entry.name
            for entry in entries
            if (ours := results.get(Trial(entry.name, False, dynamic)))
            and ours.kind not in ("none", "refused")
        ]
        if not possible:
            continue
        text = f"any batch from 1 to {LARGEST_BATCH}" if dynamic else "static"
        right = [name for name in possible if results[Trial(name, False, dynamic)].right]
        line = f"{text}: {len(right)} of {len(possible)} right"
        theirs = [results.get(Trial(name, True, dynamic)) for name in possible]
        if any(theirs):
            count = sum(o is not None and o.right for o in theirs)
            line += f", {count} by TVM's own importer"
        missing = sum(
            Trial(entry.name, False, dynamic) not in results
            for entry in entries
            if entry.dynamic or not dynamic
        )
        lines.append(line + (f"; {missing} not run" if missing else ""))
    return lines


def terminal(entries: Sequence[Entry], results: Mapping[Trial, Outcome]) -> Table:
    """The results as a table for a terminal."""
    from rich import box

    table = Table(*_COLUMNS, box=box.SIMPLE_HEAD)
    for entry in entries:
        table.add_row(*_row(entry, results))
    return table


def markdown(entries: Sequence[Entry], results: Mapping[Trial, Outcome]) -> str:
    """The results as Markdown: the counts, then a table for each family."""
    lines = [f"- {line}" for line in summary(entries, results)]
    for family, members in groupby(entries, key=lambda entry: entry.family):
        lines += ["", f"### {family.replace('_', ' ').capitalize()}", ""]
        lines += [_line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
        lines += [_line(map(_plain, _row(entry, results))) for entry in members]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _plain(text: str) -> str:
    """Text that a Markdown table takes for itself."""
    return re.sub(r"([|\\`*<>\[\]_])", r"\\\1", text)


def documented(page: str, written: str) -> str:
    """The page with what stands between its markers replaced.

    Raises:
        ValueError: a page without the markers.
    """
    begin, end = _MARKERS
    if page.count(begin) != 1 or end not in page.split(begin)[1]:
        raise ValueError(f"the page has no {begin} ... {end}")
    head, rest = page.split(begin)
    return f"{head}{begin}\n\n{written}\n\n{end}{rest.split(end, 1)[1]}"
