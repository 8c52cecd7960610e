"""What the demonstration model follows through a film is what a person would follow.

Films are drawn here, not by the generator that the model was trained with.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

import sam3_tvm

RED, BLUE, GREY, PAPER = (215, 30, 35), (35, 70, 210), (120, 122, 124), (238, 232, 216)
SIDE, FINE, FRAMES = 192, 4, 48
BAR = (76, 0, 120, SIDE)

Mask = NDArray[np.bool_]


def _frame(index: int) -> tuple[NDArray[np.uint8], Mask, Mask]:
    """A red star that passes behind a bar, a blue disc that stays, and the masks of both."""
    large = Image.new("RGB", (SIDE * FINE, SIDE * FINE), PAPER)
    star, disc = Image.new("L", large.size), Image.new("L", large.size)
    x, y, angle = 30 + 2.8 * index, 70 + 8 * np.sin(index / 8), 0.05 * index
    turns = angle + np.arange(10) * np.pi / 5
    radius = FINE * np.where(np.arange(10) % 2, 8.5, 18.5)
    corners = np.stack([FINE * x + radius * np.sin(turns), FINE * y - radius * np.cos(turns)], 1)
    for canvas, ink in ((large, RED), (star, 255)):
        ImageDraw.Draw(canvas).polygon([(a, b) for a, b in corners.tolist()], fill=ink)
    for canvas, ink in ((large, BLUE), (disc, 255)):
        ImageDraw.Draw(canvas).ellipse([FINE * v for v in (20, 128, 68, 176)], fill=ink)
    for canvas, ink in ((large, GREY), (star, 0)):
        ImageDraw.Draw(canvas).rectangle([FINE * v for v in BAR], fill=ink)
    rgb, *masks = (
        np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
        for image in (large, star, disc)
    )
    return rgb, masks[0] >= 128, masks[1] >= 128


@pytest.fixture(scope="module")
def film() -> list[tuple[NDArray[np.uint8], Mask, Mask]]:
    return [_frame(index) for index in range(FRAMES)]


@pytest.fixture(scope="module")
def model(shapes_artifact) -> sam3_tvm.Model:
    return sam3_tvm.load(shapes_artifact)


def _iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


@pytest.fixture(scope="module")
def found(model, film):
    """By phrase: the star, and what isn't there."""
    with model.track(np.stack([rgb for rgb, _, _ in film])) as session:
        session.add_text("red star")
        session.add_text("green hexagon")
        return list(session.propagate())


def test_the_red_star_keeps_its_id_behind_the_bar(found, film) -> None:
    names, hidden = set(), 0
    for frame, (_, star, _) in zip(found, film, strict=True):
        hidden += not star.any()
        rows = [row for row, phrase in enumerate(frame.phrases) if phrase == "red star"]
        if star.sum() > 350:
            assert len(rows) == 1, frame.index
            names.add(frame.objects[rows[0]])
            assert _iou(frame.masks[rows[0]], star) > 0.5, frame.index
    assert hidden >= 2
    assert len(names) == 1


def test_a_phrase_that_is_not_there_gives_nothing(found) -> None:
    assert len(found) == FRAMES
    assert all("green hexagon" not in frame.phrases for frame in found)


def test_a_click_follows_what_was_clicked(model, film) -> None:
    with model.track(np.stack([rgb for rgb, _, _ in film])) as session:
        session.add(5, 0, points=[[44, 152]])
        ious = [
            _iou(f.masks[0], disc)
            for f, (_, _, disc) in zip(session.propagate(), film, strict=True)
        ]
    assert np.mean(ious) > 0.7
