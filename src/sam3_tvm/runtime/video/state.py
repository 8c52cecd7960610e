"""What a session remembers, as arrays by name: to be written to a file and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sam3_tvm.errors import ArtifactError, one_line
from sam3_tvm.runtime.pictures.arguments import PromptError, brief
from sam3_tvm.runtime.video.arbiter import PhraseState, Shown
from sam3_tvm.runtime.video.memory import FrameRecord, MaskAnswer, ObjectMemory, Spans
from sam3_tvm.runtime.video.prompts import FramePrompt
from sam3_tvm.strict_json import expect, parse

if TYPE_CHECKING:
    from sam3_tvm.runtime.video.functions import VideoFunctions

__all__ = ["Remembered", "pack", "unpack"]

_KIND = "sam3-tvm track state 2"
_HEADER = "session"


@dataclass(frozen=True)
class _Record:
    """Of a frame, in the header."""

    frame: int
    reverse: bool
    object_logit: float | None


@dataclass(frozen=True)
class _Object:
    """Of an object, in the header."""

    id: int
    passed: tuple[tuple[int, int], ...]
    shown: tuple[_Record, ...]
    tracked: tuple[_Record, ...]
    points: tuple[int, ...]
    phrase: int | None


@dataclass(frozen=True)
class _Shown:
    """Of an object on a frame that was passed, and of which no result was given, in the header."""

    id: int
    score: float
    phrase: int | None
    rank: float
    hidden: bool


@dataclass(frozen=True)
class _Held:
    """Such a frame, in the header."""

    frame: int
    shown: tuple[_Shown, ...]


@dataclass(frozen=True)
class _Header:
    """What a state says of its arrays."""

    kind: str
    artifact: str
    next: int
    objects: tuple[_Object, ...]
    phrases: PhraseState
    held: tuple[_Held, ...]


@dataclass
class Remembered:
    """What a session remembers.

    Attributes:
        objects: by id, in order.
        following: the number of the next frame of live input.
        phrases: what its arbiter remembers.
        held: numbers of frames that were passed and of which no result was given, with the objects
            on each.
    """

    objects: dict[int, ObjectMemory]
    following: int
    phrases: PhraseState
    held: list[tuple[int, list[Shown]]]


def pack(remembered: Remembered, fingerprint: str) -> dict[str, NDArray[Any]]:
    """The objects of a session.

    Args:
        remembered: all of it.
        fingerprint: of the artifact.
    """
    objects = remembered.objects
    arrays: dict[str, NDArray[Any]] = {}
    described = []
    for place, (name, memory) in enumerate(objects.items()):
        entry: dict[str, Any] = {
            "id": name,
            "passed": memory.passed.runs,
            "phrase": memory.phrase,
        }
        for kind, records in (("shown", memory.shown), ("tracked", memory.tracked)):
            entry[kind] = [
                _pack_record(arrays, f"{place}.{frame}", frame, record)
                for frame, record in records.items()
            ]
        entry["points"] = list(memory.points)
        for frame, prompt in memory.points.items():
            arrays[f"{place}.{frame}.points"] = prompt.points
            arrays[f"{place}.{frame}.labels"] = prompt.labels
        described.append(entry)
    held = []
    for place, (frame, shown) in enumerate(remembered.held):
        for row, one in enumerate(shown):
            arrays[f"held.{place}.{row}"] = one.logits
        held.append({"frame": frame, "shown": [_plain(one) for one in shown]})
    header = {
        "kind": _KIND,
        "artifact": fingerprint,
        "next": remembered.following,
        "objects": described,
        "phrases": asdict(remembered.phrases),
        "held": held,
    }
    arrays[_HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8).copy()
    return arrays


def _plain(one: Shown) -> dict[str, Any]:
    known = {"score": one.score, "phrase": one.phrase, "rank": one.rank}
    return {"id": one.name, **known, "hidden": one.hidden}


def _pack_record(
    arrays: dict[str, NDArray[Any]], key: str, frame: int, record: FrameRecord
) -> dict[str, Any]:
    arrays[f"{key}.pointer"] = record.pointer
    if record.memory is not None:
        arrays[f"{key}.memory"] = record.memory
    answer = record.answer
    if answer is not None:
        arrays[f"{key}.logits"] = answer.logits
    return {
        "frame": frame,
        "reverse": record.reverse,
        "object_logit": None if answer is None else answer.object_logit,
    }


def unpack(
    state: Mapping[str, NDArray[Any]], fingerprint: str, functions: VideoFunctions
) -> Remembered:
    """The inverse of :func:`pack`.

    Raises:
        PromptError: a state of another artifact, something else, or one that is damaged.
    """
    if not isinstance(state, Mapping):
        raise PromptError(f"a state is what state() gives, arrays by name, not {brief(state)}")
    try:
        header = json.loads(_array(state, _HEADER, np.uint8, (None,)).tobytes())
        about = expect(dict, header, _HEADER, "an object")
        if (kind := about.get("kind")) != _KIND:
            raise PromptError(f"a state of {brief(kind)}, this reads {_KIND!r}")
        if about.get("artifact") != fingerprint:
            raise PromptError("the state is of a session with another artifact")
        found = parse(_Header, about, _HEADER)
        objects = {
            entry.id: _unpack_object(state, f"{place}", entry, functions)
            for place, entry in enumerate(found.objects)
        }
        held = [
            (of.frame, _unpack_shown(state, f"held.{place}", of, functions))
            for place, of in enumerate(found.held)
        ]
        _check_phrases(found.phrases, objects, [one for _, shown in held for one in shown])
    # A RecursionError is of many brackets.
    except (ArtifactError, RecursionError, ValueError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(
            f"this is no state of a session, or a damaged one ({one_line(str(error))})"
        ) from error
    return Remembered(objects, found.next, found.phrases, held)


def _check_phrases(
    phrases: PhraseState, objects: Mapping[int, ObjectMemory], shown: Sequence[Shown]
) -> None:
    """Refuse a state whose objects of phrases are not those that are followed."""
    of = {name: memory.phrase for name, memory in objects.items() if memory.phrase is not None}
    if of != {one.id: one.phrase for one in phrases.objects}:
        raise ValueError("objects of phrases are not those that are followed")
    if len({*phrases.phrases}) < len(phrases.phrases):
        raise ValueError("a phrase is there twice")
    numbers = {*of.values(), *(one.phrase for one in shown if one.phrase is not None)}
    if not numbers <= {*range(len(phrases.phrases))}:
        raise ValueError("an object is of a phrase that isn't there")
    if any(one.id >= phrases.next_id for one in phrases.objects):
        raise ValueError("the next id is that of an object")


def _unpack_shown(
    state: Mapping[str, NDArray[Any]], key: str, held: _Held, functions: VideoFunctions
) -> list[Shown]:
    shape = functions.remembered["logits"]
    return [
        Shown(
            one.id,
            _array(state, f"{key}.{row}", np.float32, shape),
            one.score,
            one.phrase,
            one.rank,
            one.hidden,
        )
        for row, one in enumerate(held.shown)
    ]


def _unpack_object(
    state: Mapping[str, NDArray[Any]], place: str, entry: _Object, functions: VideoFunctions
) -> ObjectMemory:
    memory = ObjectMemory(functions.rules, functions.most_pointers, entry.phrase)
    memory.passed = Spans(entry.passed)
    for of, records in ((entry.shown, memory.shown), (entry.tracked, memory.tracked)):
        for item in of:
            records[item.frame] = _unpack_record(state, f"{place}.{item.frame}", item, functions)
    # What was shown is there for as long as the object is, with all that came of it; of an object
    # that a phrase found at least the last.
    whole = [r.memory is not None and r.answer is not None for r in memory.shown.values()]
    if not whole or not (any(whole) if entry.phrase is not None else all(whole)):
        raise ValueError(f"object {entry.id} lacks where it was shown")
    for frame in entry.points:
        key = f"{place}.{frame}"
        points = _array(state, f"{key}.points", np.float32, (None, 2))
        labels = _array(state, f"{key}.labels", np.int64, (len(points),))
        if len(points) > functions.most_points or not np.isin(labels, (0, 1, 2, 3)).all():
            raise ValueError(f"{key}.labels are no labels of points")
        memory.points[frame] = FramePrompt(points, labels)
    return memory


def _unpack_record(
    state: Mapping[str, NDArray[Any]], key: str, item: _Record, functions: VideoFunctions
) -> FrameRecord:
    shapes = functions.remembered
    answer = None
    if item.object_logit is not None:
        logits = _array(state, f"{key}.logits", np.float32, shapes["logits"])
        answer = MaskAnswer(logits, item.object_logit)
    kept = None
    if f"{key}.memory" in state:
        kept = _array(state, f"{key}.memory", np.uint16, shapes["memory"])
    pointer = _array(state, f"{key}.pointer", np.float32, shapes["pointer"])
    return FrameRecord(pointer, kept, item.reverse, answer)


def _array(
    state: Mapping[str, NDArray[Any]], name: str, dtype: DTypeLike, shape: tuple[int | None, ...]
) -> NDArray[Any]:
    """An entry, which must be an array of this type and shape; None is any size."""
    array = state.get(name)
    if array is None:
        raise ValueError(f"{name} is missing")
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != len(shape):
        raise ValueError(f"{name} is {brief(array)}")
    if any(size not in (None, given) for size, given in zip(shape, array.shape, strict=True)):
        raise ValueError(f"{name} has the shape {list(array.shape)}")
    return array
