"""``--like``: examples on other pictures, as they are typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sam3_tvm.cli.paths import local_path
from sam3_tvm.cli.prompts import Box, parse_box
from sam3_tvm.errors import Sam3Error, UsageError, one_line

if TYPE_CHECKING:
    from sam3_tvm.runtime import Exemplar, Model
    from sam3_tvm.runtime.concepts.sharing import Asked

__all__ = [
    "LikeBox",
    "LikeOption",
    "NegativeLikeOption",
    "check_likes",
    "make_exemplars",
    "parse_likes",
]

_FORM = "PICTURE:x0,y0,x1,y1 or PICTURE:x0,y0,x1,y1=NAME, such as"

LikeOption = Annotated[
    list[str],
    typer.Option(
        "--like",
        help="An example on another picture, in its pixels, and what to call what it finds; "
        "repeatable. Goes with the phrase of that name, and without a name with every phrase; "
        "else it is looked for by itself.",
        metavar="PICTURE:X0,Y0,X1,Y1[=NAME]",
    ),
]

NegativeLikeOption = Annotated[
    list[str],
    typer.Option(
        "--negative-like",
        help="An example on another picture of what is not meant; repeatable.",
        metavar="PICTURE:X0,Y0,X1,Y1[=NAME]",
    ),
]


@dataclass(frozen=True)
class LikeBox:
    """A box on a picture.

    Attributes:
        picture: its file.
        box: x0, y0, x1, y1 in its pixels.
        label: 1 for an example, 0 for one of what is not meant.
        name: what it is an example of; None for whatever is looked for.
        typed: the option and its value, for messages.
    """

    picture: Path
    box: Box
    label: int
    name: str | None
    typed: str


def parse_likes(like: Sequence[str], negative: Sequence[str]) -> list[LikeBox]:
    """The boxes of one command.

    Raises:
        UsageError: one that cannot be read.
    """
    positive = [_parse(text, "--like", 1) for text in like]
    return [*positive, *(_parse(text, "--negative-like", 0) for text in negative)]


def _parse(text: str, option: str, label: int) -> LikeBox:
    # A path may hold colons and equals signs; a box holds neither.
    found = re.fullmatch(r"(.+):([^:=]*)(?:=(.*))?", text, re.DOTALL)
    form = f"{option} takes {_FORM} {option} shelf.jpg:40,25,310,280=jar"
    if not found:
        raise UsageError(f"{option} {text!r}: no picture and box; {form}")
    path, box, name = found.groups()
    if name is not None and not name.strip():
        raise UsageError(f"{option} {text!r}: nothing after the equals sign; {form}")
    try:
        corners = parse_box(box, option)
    except UsageError as error:
        reason = f"{error}".removeprefix(f"{option} {box!r}: ").partition(";")[0]
        raise UsageError(f"{option} {text!r}: {reason}; {form}") from error
    typed = f"{option} {one_line(text)}"
    return LikeBox(local_path(path), corners, label, name and name.strip(), typed)


def check_likes(asked: Sequence[Asked[LikeBox]]) -> None:
    """Refuse what nothing says what is meant by.

    Raises:
        UsageError: there are only boxes around what isn't.
    """
    for one in asked:
        if one.text is None and not any(box.label for box in one.like):
            raise UsageError(
                f"{one.like[0].typed}: says only what is not meant; give --text PHRASE or --like "
                "as well"
            )


def make_exemplars(model: Model, likes: Sequence[LikeBox]) -> list[Exemplar]:
    """The examples: one for the boxes of each picture and name.

    Args:
        model: what is to use them.
        likes: in the order in which they were given.

    Raises:
        UsageError: a picture that cannot be read, or a box that isn't in it.
    """
    made: list[Exemplar] = []
    for picture in dict.fromkeys(one.picture for one in likes):
        here = [one for one in likes if one.picture == picture]
        try:
            encoded = model.encode_image(picture)
            for name in dict.fromkeys(one.name for one in here):
                of = [one for one in here if one.name == name]
                boxes, labels = [one.box for one in of], [one.label for one in of]
                # Views are for what is shown on one picture alone.
                pictures = {one.picture for one in likes if one.name == name and one.label}
                views = len(pictures) == 1
                made.append(model.exemplar(encoded, boxes, labels, name=name, views=views))
        except Sam3Error as error:
            raise UsageError(f"{here[0].typed.partition(' ')[0]} {one_line(f'{error}')}") from error
    return made
