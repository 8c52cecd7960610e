"""What ``track``'s options show, on which frames."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sam3_tvm.cli.paths import named_path
from sam3_tvm.cli.prompts import check_texts, parse_box, parse_point
from sam3_tvm.errors import UsageError

if TYPE_CHECKING:
    from sam3_tvm.film.passage import Passage, ShownPrompt

__all__ = ["parse_passage", "parse_shown"]

_PLACE = re.compile(r"(?P<what>.*?)(?:@(?P<frame>[^@:]*))?(?::(?P<id>[^@:]*))?", re.DOTALL)


def parse_shown(
    boxes: Sequence[str],
    points: Sequence[str],
    negative_points: Sequence[str],
    masks: Sequence[str],
    frame: int = 0,
    phrases: Sequence[str] = (),
) -> list[ShownPrompt]:
    """What the options show, by frame and object.

    Each option's value may end in ``@FRAME`` and in ``:ID``. A box or a mask without an id is an
    object of its own: they are numbered from 1, boxes first, past the ids that boxes and masks
    have. A point without an id belongs to the only object there is.

    Args:
        boxes, points, negative_points, masks: the values as they were given.
        frame: where a value names none.
        phrases: what is looked for beside them; with phrases nothing need be shown.

    Raises:
        UsageError: nothing to follow, an empty phrase, a value that cannot be read, a point that
            could belong to several objects, two boxes or masks for one object on one frame, or an
            object that has negative points alone.
    """
    check_texts(phrases)
    given = [
        (option, *_placed(text, option, frame))
        for option, texts in (
            ("--box", boxes),
            ("--mask", masks),
            ("--point", points),
            ("--negative-point", negative_points),
        )
        for text in texts
    ]
    if not phrases and not any(option != "--negative-point" for option, *_ in given):
        raise UsageError(
            "nothing to follow: give --box x0,y0,x1,y1, --point x,y or --mask FILE, where @FRAME "
            "at its end says on which frame, :ID of which object; or --text PHRASE"
        )
    numbers = _numbered([(option, number) for option, _what, _frame, number in given])
    objects = {number for number in numbers if number is not None} or {1}
    # Here, so that --help needs neither NumPy nor Pillow.
    from sam3_tvm.film.passage import ShownPrompt

    found: dict[tuple[int, int], ShownPrompt] = {}
    for (option, what, at, _), number in zip(given, numbers, strict=True):
        if number is None:
            if len(objects) > 1:
                known = ", ".join(map(str, sorted(objects)))
                raise UsageError(
                    f"{option} {what!r}: of which object? There are {known}: end it in :ID, such "
                    f"as {option} {what}@{at}:{min(objects)}"
                )
            (number,) = objects
        shown = found.setdefault((at, number), ShownPrompt(at, number))
        _say(shown, option, what)
    ordered = sorted(found.values(), key=lambda s: (s.frame, s.object_id))
    _check(ordered)
    return ordered


def parse_passage(
    shown: Sequence[ShownPrompt],
    start: int | None,
    most: int | None,
    backward: bool,
    both: bool,
    phrases: Sequence[str] = (),
    live: bool = False,
    last: Callable[[], int] = lambda: 0,
) -> Passage:
    """Which frames the options ask for.

    Args:
        shown: what is said of the objects.
        start: the frame at which to begin, if one is given.
        most: frames to pass in each direction, if that is given.
        backward, both: the options for directions.
        phrases: what is looked for on every frame that is passed.
        live: the option for results at once.
        last: gives the number of the film's last frame, where a backward pass for phrases begins.

    Raises:
        UsageError: numbers that are none of frames, options that exclude each other, or something
            shown on a frame that isn't come to.
    """
    if live and not phrases:
        raise UsageError("--live is for --text: without phrases all results come at once")
    if start is not None and start < 0:
        raise UsageError(f"--start {start}: frames are counted from 0")
    if most is not None and most < 1:
        raise UsageError(f"--frames {most}: give how many frames to pass, at least 1")
    if backward and both:
        raise UsageError("--backward and --both: give one of them")
    places = [one.frame for one in shown]
    if both and start is not None and shown:
        raise UsageError("--both begins where the first object is shown: leave --start out")
    if both and start is None and not shown:
        raise UsageError("--both with --text alone: give --start FRAME, where it begins")
    if start is not None:
        first = start
    elif phrases and not both:  # which are looked for on all frames
        first = last() if backward else 0
    else:
        first = max(places) if backward else min(places)
    if not phrases and (first > max(places) if backward else first < min(places)):
        where = max(places) if backward else min(places)
        raise UsageError(f"--start {first}: no object is shown by then; one is on frame {where}")
    from sam3_tvm.film.passage import Passage

    forth, back = not backward, backward or both
    passage = Passage(shown, first, most, forth, back, tuple(dict.fromkeys(phrases)), live)
    for one in shown:
        if not passage.reaches(one.frame):
            raise UsageError(
                f"object {one.object_id} is shown on frame {one.frame}, which --frames {most} from "
                f"frame {first} on doesn't come to"
            )
    return passage


def _placed(text: str, option: str, frame: int) -> tuple[str, int, int | None]:
    """The value without its place, the frame, and the object's number if there is one."""
    parts = _PLACE.fullmatch(text)
    assert parts is not None, "every text matches"
    at, number = parts["frame"], parts["id"]
    for name, value, least in (("frame", at, 0), ("object", number, 1)):
        # No more digits than any film has frames: int() takes long for very many.
        if value is not None and not (re.fullmatch("[0-9]{1,9}", value) and int(value) >= least):
            raise UsageError(
                f"{option} {text!r}: {value!r} is no {name} number; at the end @FRAME counts from "
                "0 and :ID from 1, such as @12:2"
            )
    return parts["what"], frame if at is None else int(at), None if number is None else int(number)


def _numbered(given: Sequence[tuple[str, int | None]]) -> list[int | None]:
    """The objects' numbers by option, with those of boxes and masks that named none."""
    # A point's id says which box it goes with: it keeps no number from a box.
    makers = ("--box", "--mask")
    named = {number for option, number in given if option in makers}
    free = (n for n in range(1, 2 * len(given) + 1) if n not in named)
    return [
        next(free) if number is None and option in makers else number for option, number in given
    ]


def _say(shown: ShownPrompt, option: str, what: str) -> None:
    """Add a value to what is said of its object on its frame."""
    if option in ("--point", "--negative-point"):
        shown.points.append(parse_point(what, option))
        shown.point_labels.append(int(option == "--point"))
        return
    if (shown.box if option == "--box" else shown.mask) is not None:
        raise UsageError(
            f"{option} {what!r}: object {shown.object_id} has one on frame {shown.frame} already"
        )
    if option == "--box":
        shown.box = parse_box(what)
    else:
        shown.mask = named_path(what)


def _check(ordered: Sequence[ShownPrompt]) -> None:
    for shown in ordered:
        if shown.mask is not None and (shown.box is not None or shown.points):
            raise UsageError(
                f"--mask {shown.mask}: object {shown.object_id} has points or a box on frame "
                f"{shown.frame} too; a mask stands alone"
            )
    positive = {s.object_id for s in ordered if s.box or s.mask or 1 in s.point_labels}
    for shown in ordered:
        if shown.object_id not in positive:
            raise UsageError(
                f"object {shown.object_id} has negative points alone, on frame {shown.frame}: "
                "show where it is with --box, --point or --mask"
            )
