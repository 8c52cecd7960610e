"""Looking for objects on a frame, and remembering what an arbiter left of them."""

from __future__ import annotations

from collections.abc import Sequence

from sam3_tvm.runtime.video.arbiter import NewObject, Sighting
from sam3_tvm.runtime.video.frame import SessionFrame
from sam3_tvm.runtime.video.functions import FrameOutput, VideoFunctions
from sam3_tvm.runtime.video.memory import FrameRecord, MaskAnswer, ObjectMemory
from sam3_tvm.runtime.video.prompts import FramePrompt

__all__ = ["ObjectTracker"]


class ObjectTracker:
    """The objects of a session.

    Args:
        functions: the artifact's.

    Attributes:
        objects: what is remembered of each, by id, in the order in which they came.
    """

    def __init__(self, functions: VideoFunctions) -> None:
        self._functions = functions
        self.objects: dict[int, ObjectMemory] = {}

    def memory(self, name: int) -> ObjectMemory:
        """What is remembered of an object; of one that isn't there yet nothing."""
        known = self.objects.get(name)
        if known is not None:
            return known
        return ObjectMemory(self._functions.rules, self._functions.most_pointers)

    def show(self, memory: ObjectMemory, frame: SessionFrame, prompt: FramePrompt) -> MaskAnswer:
        """Find an object where a prompt shows it, and remember the frame and the prompt."""
        features = frame.features(self._functions)
        first_time = frame.index not in memory.passed
        before = memory.tracked.get(frame.index)
        reverse = before is not None and before.reverse
        if prompt.mask is not None:
            output = self._functions.take(features, prompt.mask)
        else:
            recalled = None if first_time else memory.recall(frame.index, reverse)
            output = self._functions.look(features, recalled, prompt)
        kept = self._functions.remember(features, output, prompted=True)
        record = FrameRecord(output.pointer, kept, reverse, output.answer)
        memory.keep(frame.index, record, conditioning=first_time)
        if prompt.mask is None:
            memory.points[frame.index] = prompt
        else:
            memory.points.pop(frame.index, None)
        return output.answer

    def look(
        self, frame: SessionFrame, reverse: bool, asked: Sequence[ObjectMemory] = ()
    ) -> list[Sighting]:
        """Find the objects on a frame; of none of them anything is remembered yet.

        Args:
            frame: the frame.
            reverse: whether frames come in falling order.
            asked: objects that are looked for wherever they were shown; others only from there on.
        """
        found = []
        for name, memory in self.objects.items():
            if memory not in asked and not memory.is_come_to(frame.index, reverse):
                continue
            answer, pointer = memory.answer(frame.index), None
            shown = memory.shown.get(frame.index) if memory.phrase is not None else None
            if answer is None:
                features = frame.features(self._functions)
                output = self._functions.look(features, memory.recall(frame.index, reverse))
                answer, pointer = output.answer, output.pointer
            elif shown is not None:
                # A frame on which a phrase's object was conditioned, which is passed again: what
                # is remembered of it depends on the other objects that there are now.
                pointer = shown.pointer
            found.append(Sighting(name, memory, answer, pointer, conditioning=shown is not None))
        return found

    def remember(
        self, frame: SessionFrame, sightings: Sequence[Sighting], reverse: bool, once: bool
    ) -> None:
        """Remember objects on a frame, and forget what none to come looks at.

        Args:
            frame: the frame.
            sightings: the objects, as an arbiter left them.
            reverse: whether frames come in falling order.
            once: whether frames come once alone.
        """
        for seen in sightings:
            self._remember(frame, seen, reverse)
            anchors = () if once else seen.memory.anchors
            seen.memory.forget(frame.index, reverse, anchors, once)

    def _remember(self, frame: SessionFrame, seen: Sighting, reverse: bool) -> None:
        if seen.pointer is None:
            return
        features = frame.features(self._functions)
        if seen.mask is not None:
            kept = self._functions.remember_mask(features, seen.mask)
        else:
            output = FrameOutput(seen.answer, seen.pointer)
            kept = self._functions.remember(features, output, prompted=seen.certain)
        answer = seen.answer if seen.conditioning else None
        record = FrameRecord(seen.pointer, kept, reverse, answer)
        if seen.conditioning and frame.index not in seen.memory.shown:
            seen.memory.passed.add(frame.index)
        seen.memory.keep(frame.index, record, seen.conditioning)

    def begin(self, frame: SessionFrame, new: Sequence[NewObject]) -> None:
        """Follow objects from a frame on that phrases found there."""
        features = frame.features(self._functions)
        for one in new:
            output = self._functions.take(features, one.mask)
            kept = self._functions.remember(features, output, prompted=True)
            memory = ObjectMemory(self._functions.rules, self._functions.most_pointers, one.phrase)
            # Those that begin in a reverse pass are remembered like others that were shown.
            record = FrameRecord(output.pointer, kept, False, output.answer)
            memory.keep(frame.index, record, conditioning=True)
            self.objects[one.name] = memory
