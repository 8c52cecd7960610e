"""Results as what is sent: COCO's run lengths, outlines or a PNG, as the client accepts.

Made mask after mask: those of a large picture together would fill the memory.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sam3_tvm.runtime import ClickResult, Result
from sam3_tvm.runtime.pictures.colours import object_colour
from sam3_tvm.runtime.pictures.overlay import draw_overlay
from sam3_tvm.runtime.pictures.polygons import mask_polygons
from sam3_tvm.serve.problems import Problem
from sam3_tvm.tiles.geo import geometry

__all__ = [
    "Form",
    "chosen_form",
    "click_answer",
    "logits_from",
    "numbered_png",
    "segment_answer",
]


class Form(Enum):
    """In which form masks are sent; the value is the media type."""

    RUNS = "application/json"
    OUTLINES = "application/geo+json"
    PNG = "image/png"


# A palette's numbers, less that of what no object covers.
_MOST_COLOURS = 255

# As Result.overlay() has it.
_OPACITY = 0.45


def chosen_form(accept: str | None) -> Form:
    """The form that a client likes best, by ``Accept`` (RFC 9110, 12.5.1); run lengths if it
    doesn't say.

    Raises:
        Problem: it accepts none (406).
    """
    if accept is None or not accept.strip():
        return Form.RUNS
    ranges = [_parsed(one) for one in accept.split(",")]

    def quality(form: Form) -> float:
        kind = form.value.partition("/")[0]
        for name in (form.value, f"{kind}/*", "*/*"):
            given = [q for media, q in ranges if media == name]
            if given:
                return max(given)
        return 0.0

    best = max(Form, key=quality)  # of equal ones the first
    if quality(best) <= 0:
        raise Problem(406, f"masks are sent as {', '.join(form.value for form in Form)}")
    return best


def _parsed(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media, float(value)
            except ValueError:
                return media, 0.0
    return media, 1.0


def segment_answer(
    results: Sequence[Result], form: Form, drawn_on: NDArray[np.uint8] | None
) -> bytes:
    """What was found for each phrase.

    Args:
        results: one per phrase.
        form: that is asked for.
        drawn_on: the picture, uint8 [H, W, 3], for a PNG with what was found on it.

    Raises:
        Problem: more objects than a PNG has numbers for (406).
    """
    height, width = results[0].size
    if form is Form.RUNS:
        found = [
            {"text": one.text, "text_read": one.text_read, "objects": one.to_coco()}
            for one in results
        ]
        return _json({"width": width, "height": height, "results": found})
    # One at a time, each with its own mask.
    objects = (one for result in results for one in result)
    if form is Form.OUTLINES:
        features = [
            _feature(one.masks[0], {"text": one.text, "score": float(one.scores[0])})
            for one in objects
        ]
        return _json({"type": "FeatureCollection", "features": features})
    masks = (one.masks[0] for one in objects)
    if drawn_on is not None:
        return _png(_drawn(results, masks, drawn_on))
    return numbered_png(masks, sum(map(len, results)), (height, width))


def click_answer(result: ClickResult, form: Form, draw: bool, logits: bool) -> bytes:
    """The masks that answer clicks; as a PNG, the best one."""
    height, width = result.size
    if form is Form.RUNS:
        masks = result.to_coco()
        if logits:
            for entry, values in zip(masks, result.logits, strict=True):
                entry["logits"] = base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")
        about = {"object_score": result.object_score, "best": result.best}
        return _json({"width": width, "height": height, **about, "masks": masks})
    if form is Form.OUTLINES:
        features = [
            _feature(mask, {"mask": number, "score": float(score), "best": number == result.best})
            for number, (mask, score) in enumerate(zip(result.masks, result.iou, strict=True))
        ]
        return _json({"type": "FeatureCollection", "features": features})
    if draw:
        return _png(result.overlay())
    return numbered_png([result.masks[result.best]], 1, (height, width))


def logits_from(text: str, side: int) -> NDArray[np.float32]:
    """Logits as :func:`click_answer` sends them, float32 [side, side].

    Raises:
        Problem: they are no such thing (422).
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        data = b""
    if len(data) != 4 * side * side:
        raise Problem(
            422,
            f"mask takes the logits of an earlier answer: {side} x {side} float32, little-endian, "
            "in base64",
        )
    return np.frombuffer(data, "<f4").astype(np.float32).reshape(side, side)


def _json(data: Any) -> bytes:
    # Without NaN, which is no JSON: better a fault than what nobody can read.
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()


def _feature(mask: NDArray[np.bool_], properties: dict[str, Any]) -> dict[str, Any]:
    """A mask as a feature of GeoJSON, in pixels."""
    shape = geometry(mask_polygons(mask), None)
    about = {**properties, "area": int(mask.sum())}
    return {"type": "Feature", "properties": about, "geometry": shape}


def numbered_png(masks: Iterable[NDArray[np.bool_]], count: int, size: tuple[int, int]) -> bytes:
    """A PNG with each object's number in its pixels, from 1; better ones lie on top.

    Args:
        masks: bool [H, W], best first.
        count: how many they are.
        size: H and W.

    Raises:
        Problem: more than a PNG has numbers for (406).
    """
    return _png(_numbered(masks, count, size))


def _numbered(masks: Iterable[NDArray[np.bool_]], count: int, size: tuple[int, int]) -> Image.Image:
    """Each object's number in its pixels, from 1, in visible colours; better ones lie on top."""
    if count > _MOST_COLOURS:
        raise Problem(
            406,
            f"{count} objects are more than the {_MOST_COLOURS} that a PNG has numbers for: raise "
            f"the threshold, or accept {Form.RUNS.value}",
        )
    numbers = np.zeros(size, np.uint8)
    for number, mask in enumerate(masks, 1):
        numbers[mask & (numbers == 0)] = number
    image = Image.fromarray(numbers)
    image.putpalette([0, 0, 0, *(v for n in range(count) for v in object_colour(n))])
    return image


def _drawn(
    results: Sequence[Result], masks: Iterable[NDArray[np.bool_]], rgb: NDArray[np.uint8]
) -> Image.Image:
    """The picture with all that was found on it."""
    boxes = np.concatenate([one.boxes for one in results])
    labels = [(f"{one.text} {s:.2f}", f"{s:.2f}") for one in results for s in one.scores]
    return draw_overlay(rgb, masks, boxes, labels, opacity=_OPACITY)


def _png(image: Image.Image) -> bytes:
    made = io.BytesIO()
    image.save(made, "PNG")
    return made.getvalue()
