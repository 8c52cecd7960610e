"""What a session remembers, as arrays by name: to be written to a file and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam3_tvm.rules import VideoRules
from sam3_tvm.runtime.concepts.prompts import PromptError
from sam3_tvm.runtime.video.memory import FrameRecord, MaskAnswer, ObjectMemory, Spans
from sam3_tvm.runtime.video.prompts import FramePrompt

__all__ = ["pack", "unpack"]

_KIND = "sam3-tvm track state 1"
_HEADER = "session"


def pack(
    objects: Mapping[int, ObjectMemory], fingerprint: str, following: int
) -> dict[str, NDArray[Any]]:
    """The objects of a session.

    Args:
        objects: by id, in order.
        fingerprint: of the artifact.
        following: the number of the next frame of live input.
    """
    arrays: dict[str, NDArray[Any]] = {}
    described = []
    for place, (name, memory) in enumerate(objects.items()):
        entry: dict[str, Any] = {"id": name, "passed": memory.passed.runs}
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
    header = {"kind": _KIND, "artifact": fingerprint, "next": following, "objects": described}
    arrays[_HEADER] = np.frombuffer(json.dumps(header).encode(), np.uint8).copy()
    return arrays


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
    state: Mapping[str, NDArray[Any]], fingerprint: str, rules: VideoRules, most_pointers: int
) -> tuple[dict[int, ObjectMemory], int]:
    """The inverse of :func:`pack`: the objects, and the number of the next frame of live input.

    Raises:
        PromptError: a state of another artifact, or something else.
    """
    try:
        header = json.loads(bytes(state[_HEADER]))
        if header["kind"] != _KIND:
            raise PromptError(f"a state of {header['kind']!r}, this reads {_KIND!r}")
        if header["artifact"] != fingerprint:
            raise PromptError("the state is of a session with another artifact")
        objects = {}
        for place, entry in enumerate(header["objects"]):
            memory = ObjectMemory(rules, most_pointers)
            memory.passed = Spans((first, last) for first, last in entry["passed"])
            for kind, records in (("shown", memory.shown), ("tracked", memory.tracked)):
                for item in entry[kind]:
                    records[item["frame"]] = _unpack_record(state, place, item)
            for frame in entry["points"]:
                key = f"{place}.{frame}"
                points, labels = state[f"{key}.points"], state[f"{key}.labels"]
                memory.points[frame] = FramePrompt(points, labels)
            objects[entry["id"]] = memory
        return objects, header["next"]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"this is no state of a session, or a damaged one ({error})") from error


def _unpack_record(
    state: Mapping[str, NDArray[Any]], place: int, item: Mapping[str, Any]
) -> FrameRecord:
    key = f"{place}.{item['frame']}"
    answer = None
    if item["object_logit"] is not None:
        answer = MaskAnswer(state[f"{key}.logits"], item["object_logit"])
    return FrameRecord(state[f"{key}.pointer"], state.get(f"{key}.memory"), item["reverse"], answer)
