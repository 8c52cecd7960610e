"""``annotate --dry-run``: what would be done, and in what time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sam3_tvm.cli.terminal import duration, say_json, show, table

if TYPE_CHECKING:
    from sam3_tvm.annotate import Format, Listed, PhraseFinder

__all__ = ["print_plan"]


def print_plan(
    find: PhraseFinder, listed: list[Listed], output: Path, formats: tuple[Format, ...], json: bool
) -> None:
    """Print what would be done, and in what time."""
    from sam3_tvm.annotate import seconds_per_picture
    from sam3_tvm.annotate.dataset import done_before

    done = done_before(output, find, listed)
    left = [one for one in listed if one.name not in done]
    missing = [one.name for one in left if not one.path.exists()]
    seconds = seconds_per_picture(find, left)
    names = [one.name for one in formats]
    if json:
        say_json(
            {
                "pictures": len(listed),
                "left": len(left),
                "missing": len(missing),
                "phrases": [{"text": p.text, "category": p.category} for p in find.phrases],
                "categories": list(find.categories),
                "formats": names,
                "output": f"{output}",
                "seconds_per_picture": seconds,
                "seconds": None if seconds is None else seconds * len(left),
            }
        )
        return
    rows = table("", "")
    rows.add_row("pictures", f"{len(listed)}, {len(left)} of them left to do")
    if missing:
        rows.add_row("not there", f"{len(missing)}, such as {missing[0]}")
    rows.add_row("first", listed[0].name)
    rows.add_row("last", listed[-1].name)
    for category in find.categories:
        phrases = [p.text for p in find.phrases if p.category == category]
        rows.add_row(
            "category", category if phrases == [category] else f"{category}: {', '.join(phrases)}"
        )
    rows.add_row("formats", ", ".join(names))
    if seconds is not None:
        about = f"{duration(seconds * len(left))} ({seconds:.2f} s a picture, measured)"
        rows.add_row("time", about if left else "none")
    elif left:
        rows.add_row("time", "unknown: no picture could be read")
    show(f"{output} would be made", rows)
