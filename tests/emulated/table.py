"""Outcomes as a table."""

from __future__ import annotations

from collections.abc import Sequence

from tests.emulated.trials import Outcome

__all__ = ["markdown"]

_HEAD = ("target", "arithmetic", "on QEMU's", "masks", "pixels differ", "least IoU")
_HEAD += ("scores differ", "boxes differ", "pictures the same", "seconds")


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Runs in one table, refusals in another."""
    runs = [_row(one) for one in outcomes if one.difference.masks or not one.right]
    refusals = [
        (one.target, one.arithmetic, one.cpu, one.said)
        for one in outcomes
        if not one.difference.masks and one.right
    ]
    tables = []
    if runs:
        tables.append(_table(_HEAD, runs, right=4))
    if refusals:
        tables.append(_table(("target", "arithmetic", "on QEMU's", "says"), refusals))
    return "\n".join(tables)


def _row(one: Outcome) -> tuple[str, ...]:
    if not one.right:
        return (one.target, one.arithmetic, one.cpu, f"wrong: {one.said}", *("",) * 6)
    apart = one.difference
    return (
        one.target,
        one.arithmetic,
        one.cpu,
        f"{apart.masks}",
        f"{apart.pixels}",
        f"{apart.iou:.4f}" if apart.pixels else "1",
        _apart(apart.score),
        f"{_apart(apart.box_px)}{' px' if apart.box_px else ''}",
        f"{apart.same_pictures} of {apart.pictures}",
        f"{one.seconds:.0f}",
    )


def _apart(value: float) -> str:
    return f"{value:.1e}".replace("e-0", "e-") if value else "0"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: int | None = None) -> str:
    """Columns from the one of number ``right`` on are aligned to the right."""
    first = len(head) if right is None else right - 1
    rule = ["---" if index < first else "--:" for index in range(len(head))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    lines.insert(1, "|" + "|".join(rule) + "|")
    return "\n".join(lines) + "\n"
