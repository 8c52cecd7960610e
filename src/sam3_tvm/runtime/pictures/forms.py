"""Results in the forms that other tools take, and as notebooks show them."""

from __future__ import annotations

import base64
import html
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.errors import ResultError, one_line, printable
from sam3_tvm.extras import needed
from sam3_tvm.files import OutputFile

__all__ = ["as_html", "data_frame", "detections", "save_by_suffix", "shown_small", "to_png"]

# Pixels along the longer side of what a notebook keeps: enough to see what was found, and not
# the photograph once more.
_SHOWN = 800

# More rows than anyone reads in a notebook.
_ROWS = 20


def data_frame(columns: Mapping[str, Sequence[Any]]) -> Any:
    """A ``pandas.DataFrame`` of these columns.

    Raises:
        MissingExtraError: pandas isn't installed.
    """
    with needed("notebook", "to_dataframe()"):
        import pandas
    return pandas.DataFrame(dict(columns))


def detections(
    boxes: NDArray[np.float32],
    masks: NDArray[np.bool_],
    confidence: NDArray[np.float32],
    name: str | None = None,
    objects: Sequence[int] | None = None,
) -> Any:
    """A ``supervision.Detections``.

    Args:
        boxes: [N, 4], x0, y0, x1, y1 in pixels.
        masks: bool [N, H, W].
        confidence: [N].
        name: the class of all of them.
        objects: the ids of objects that are tracked.

    Raises:
        MissingExtraError: supervision isn't installed.
    """
    with needed("notebook", "to_detections()"):
        import supervision
    return supervision.Detections(
        xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
        mask=masks,
        confidence=confidence,
        class_id=None if name is None else np.zeros(len(boxes), int),
        tracker_id=None if objects is None else np.array(objects, int),
        data={} if name is None else {"class_name": np.array([name] * len(boxes), str)},
    )


def save_by_suffix(
    path: str | os.PathLike[str],
    *,
    overlay: Callable[[], Image.Image],
    document: Callable[[], dict[str, Any]],
    arrays: Callable[[], dict[str, Any]],
) -> None:
    """Write a result in the form that a file's suffix names, whole or not at all.

    Args:
        path: ``NAME.png``, ``NAME.json`` or ``NAME.npz``.
        overlay, document, arrays: make what goes into each.

    Raises:
        ResultError: another suffix, or no path of a file.
        UsageError: the file cannot be written.
    """
    if not isinstance(path, str | os.PathLike):
        raise ResultError(f"save() takes a path, not a {type(path).__name__}")
    text = os.fsdecode(path)
    target = Path(text)
    suffix = target.suffix.lower()
    if suffix not in (".png", ".json", ".npz"):
        raise ResultError(
            f"{target}: not a form that is saved; give NAME.png for the overlay, NAME.json for "
            "run-length encoded masks as in COCO, or NAME.npz for arrays"
        )
    # Path drops what says that it is a folder: a slash at its end, or a dot after that.
    if os.path.basename(text) != target.name:
        raise ResultError(f"{one_line(text)}: names a folder; leave out what ends it, for a file")
    if "\0" in text:
        raise ResultError(f"{one_line(text)}: no name of a file, which has no null character")
    file = OutputFile(target)
    if suffix == ".png":
        image = overlay()
        file.write(lambda partial: image.save(partial, format="PNG"))
    elif suffix == ".json":
        content = json.dumps(document(), indent=2, ensure_ascii=False, allow_nan=False)
        # Half a character, as a name of arbitrary bytes may have, is spelt out.
        file.write(lambda partial: partial.write_bytes(content.encode(errors="backslashreplace")))
    else:
        named = _flat(arrays())

        def save(partial: Path) -> None:
            with partial.open("wb") as stream:  # a name would get a suffix of NumPy's
                np.savez_compressed(stream, allow_pickle=False, **named)

        file.write(save)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data as arrays by name, ``click`` with a ``box`` as ``click_box``.

    None is left out, and is an empty text in a list of texts.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}_{inner}": array for inner, array in _flat(value).items()}
        elif value is not None:
            names = isinstance(value, list) and all(v is None or isinstance(v, str) for v in value)
            found[name] = np.array([v or "" for v in value], str) if names else np.asarray(value)
    return found


def shown_small(image: Image.Image) -> Image.Image:
    """A picture as a notebook shows it."""
    small = image.copy()
    small.thumbnail((_SHOWN, _SHOWN))
    return small


def to_png(image: Image.Image) -> bytes:
    """A PNG file's content."""
    return _encoded(image, "PNG")


def as_html(title: str, columns: Mapping[str, Sequence[Any]], image: Image.Image | None) -> str:
    """A picture with a table beside it, and a title above.

    Args:
        title: a line.
        columns: the table's columns by name, of one length.
        image: the picture; None for the table alone.
    """
    picture = ""
    if image is not None:
        data = base64.b64encode(_encoded(image, "JPEG", quality=90)).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{data}" style="max-width:60%" alt="">'
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    rows = list(zip(*columns.values(), strict=True))
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(_cell(cell))}</td>" for cell in row) + "</tr>"
        for row in rows[:_ROWS]
    ]
    if len(rows) > _ROWS:
        more = f"... and {len(rows) - _ROWS} more"
        lines.append(f'<tr><td colspan="{len(columns)}">{more}</td></tr>')
    # Half a character, which no page can have, is spelt out.
    return printable(
        f"<div>{html.escape(title)}</div>"
        '<div style="display:flex;gap:1em;align-items:flex-start">'
        f"{picture}<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
        "</div>"
    )


def _encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def _cell(value: Any) -> str:
    """Scores to three places, pixels to one."""
    if not isinstance(value, float):
        return f"{value}"
    return f"{value:.3f}" if abs(value) <= 1 else f"{value:.1f}"
