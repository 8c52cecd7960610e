"""What a labeller has drawn or typed, of which Label Studio makes the context of a prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sam3_tvm.errors import UsageError

__all__ = ["Drawn", "read"]

# By which a point on the picture's far edge is moved onto its last pixel, in pixels.
_INSIDE = 0.5


@dataclass
class Drawn:
    """Prompts on one picture, in its pixels.

    Attributes:
        points: x, y.
        point_labels: 1 for a point on the object, 0 for one beside it.
        boxes: x0, y0, x1, y1.
        text: what was typed; None where that is nothing.
        label: that was chosen with the latest of them.
    """

    points: list[list[float]] = field(default_factory=list)
    point_labels: list[int] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    text: str | None = None
    label: str | None = None


def read(regions: Any, size: tuple[int, int]) -> Drawn:
    """Read ``context.result``.

    Args:
        regions: a list of key points, rectangles, ellipses (their boxes are meant) and texts;
            others are left out.
        size: the picture's height and width, pixels. Regions are in percent of it.

    Raises:
        UsageError: none can be used, or one has no numbers where they belong.
    """
    height, width = size
    drawn = Drawn()
    if not isinstance(regions, list):
        raise UsageError("context.result takes a list of regions")
    for region in regions:
        if not isinstance(region, dict) or not isinstance(region.get("value"), dict):
            raise UsageError("context.result takes regions with a value")
        value, kind = region["value"], f"{region.get('type', '')}"
        shape = kind.removesuffix("labels")
        if shape == "textarea":
            drawn.text = _text(value) or None
            continue
        if shape == "keypoint":
            x, y = _percent(value, "x"), _percent(value, "y")
            drawn.points.append(
                [min(x * width, width - _INSIDE), min(y * height, height - _INSIDE)]
            )
            drawn.point_labels.append(int(bool(region.get("is_positive", True))))
        elif shape in ("rectangle", "ellipse"):
            x0, y0, x1, y1 = _box(value, shape)
            drawn.boxes.append([x0 * width, y0 * height, x1 * width, y1 * height])
        else:
            continue
        names = value.get(kind) or value.get("labels")
        if isinstance(names, list) and names:
            drawn.label = f"{names[0]}"
    if not (drawn.points or drawn.boxes or drawn.text):
        raise UsageError(
            "the context has nothing to go by: key points, rectangles, ellipses or a text are taken"
        )
    return drawn


def _text(value: dict[str, Any]) -> str:
    said = value.get("text", "")
    lines = said if isinstance(said, list) else [said]
    return " ".join(f"{line}".strip() for line in lines).strip()


def _box(value: dict[str, Any], shape: str) -> tuple[float, float, float, float]:
    """Edges as shares of the picture's, cut at them."""
    if value.get("rotation"):
        raise UsageError(f"a {shape} that is turned: only upright ones are taken")
    x, y = (_number(value, name) for name in ("x", "y"))
    if shape == "ellipse":
        rx, ry = (_number(value, name) for name in ("radiusX", "radiusY"))
        edges = (x - rx, y - ry, x + rx, y + ry)
    else:
        edges = (x, y, x + _number(value, "width"), y + _number(value, "height"))
    x0, y0, x1, y1 = (min(max(edge / 100, 0.0), 1.0) for edge in edges)
    return x0, y0, x1, y1


def _percent(value: dict[str, Any], name: str) -> float:
    """A share of the picture's side."""
    number = _number(value, name)
    if not 0 <= number <= 100:
        raise UsageError(f"{name}={number:g}: percent of the picture's side, 0 to 100, are taken")
    return number / 100


def _number(value: dict[str, Any], name: str) -> float:
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UsageError(f"a region without the number {name}")
    return float(number)
