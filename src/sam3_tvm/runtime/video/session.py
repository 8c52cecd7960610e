"""Following objects through a film: shown on a frame, found on those before and behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from sam3_tvm.errors import Sam3Error
from sam3_tvm.locks import Lock
from sam3_tvm.runtime.pictures.arguments import PromptError, brief, checked_flag, checked_integer
from sam3_tvm.runtime.pictures.image import Picture, own_picture
from sam3_tvm.runtime.video.arbiter import Arbiter, Independent, Passed, Sighting, shown_as_found
from sam3_tvm.runtime.video.frame import FrameReader, SessionFrame
from sam3_tvm.runtime.video.frames import Frames, FramesError, beyond, read_only
from sam3_tvm.runtime.video.functions import VideoFunctions
from sam3_tvm.runtime.video.memory import ObjectMemory
from sam3_tvm.runtime.video.passes import correct, goes_on, order, read_held
from sam3_tvm.runtime.video.prompts import build_frame_prompt, checked_id
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.runtime.video.state import Remembered, pack, unpack
from sam3_tvm.runtime.video.tracker import ObjectTracker

__all__ = ["TrackSession"]


class TrackSession:
    """Objects of one film, or of live input; made by :meth:`Model.track`.

    Objects are shown with :meth:`add`, and followed with :meth:`propagate`, or with :meth:`step`
    where frames come one by one. Each is followed as it would be alone, from the frame on which
    it is first shown: what is found of it doesn't depend on the others, bit for bit. What is
    remembered of an object doesn't grow with the film.

    An object that is shown on a frame where it was never looked for is taken as the prompt says.
    Where it was found before, a prompt is a correction: it is taken with what is remembered of
    the frames around. Frames with a prompt are answered by what came of it whenever they are
    passed again. (transformers forgets corrections then; SAM 2's own predictor doesn't.)

    Remembered are the frames with prompts, and the frames next to the last one and to those with
    prompts. So a pass may go on where the last ended, or go in either direction from a prompt, or
    from where the last pass began; one that begins elsewhere, or a correction there, can only
    look at the frames with prompts at first. So does one from a prompt that came when the frames
    next to it had been passed and forgotten.

    Methods may be called from several threads; they take turns, frame by frame.

    Args:
        functions: the artifact's.
        frames: the film; None for live input.
        fingerprint: the artifact's; states carry it.
        arbiter: decides over all objects of a frame together; by default each is left as it is.
        live: whether results of phrases are given at once, as of live input.
    """

    def __init__(
        self,
        functions: VideoFunctions,
        frames: Frames | None,
        fingerprint: str,
        arbiter: Arbiter | None = None,
        live: bool = False,
    ) -> None:
        self._functions = functions
        self._frames = frames
        self._fingerprint = fingerprint
        self._tracker = ObjectTracker(functions)
        self._arbiter: Arbiter = Independent() if arbiter is None else arbiter
        self._live = live or frames is None
        self._held: deque[Passed] = deque()
        self._reader = FrameReader(frames)
        self._lock = Lock()
        self._closed = False

    @property
    def objects(self) -> list[int]:
        """The ids of the objects, in the order in which they were first shown."""
        return list(self._tracker.objects)

    @property
    def phrases(self) -> list[str]:
        """What is looked for, in the order of being added."""
        return list(self._arbiter.phrases)

    @property
    def frames(self) -> Frames | None:
        """The film; None for live input."""
        return self._frames

    def __enter__(self) -> TrackSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the film, and forget everything."""
        with self._lock:
            self._closed = True
            if self._frames is not None:
                self._frames.close()
            self._tracker.objects.clear()
            self._held.clear()
            self._reader.current = None

    def add(
        self,
        object_id: int,
        frame: int | None = None,
        points: Any = None,
        point_labels: Any = None,
        box: Any = None,
        mask: Any = None,
        *,
        clear: bool = True,
    ) -> FrameResult:
        """Show an object on a frame, or correct what was found there.

        Args:
            object_id: any integer of 64 bits; a new one makes an object.
            frame: the frame's number, from 0; of live input the latest, or None.
            points: x, y in the frame's pixels, [N, 2].
            point_labels: 1 for a point on the object, 0 for one beside it; by default all 1.
            box: x0, y0, x1, y1 around the object, in the frame's pixels; cut at its edges.
            mask: where the object is, bool or integers [H, W], instead of points and a box.
            clear: whether this replaces what was said of the object on this frame; otherwise
                points are added to those that were given.

        Returns:
            The frame with this object.

        Raises:
            PromptError: a prompt that cannot be used, or a frame that isn't there.
            FramesError: a frame that cannot be read, or the session has been closed.
        """
        name = checked_id(object_id)
        if frame is not None:
            frame = checked_integer("a frame's number", frame)
        clear = checked_flag("clear", clear)
        with self._lock:
            self._check_open()
            shown = self._reader.to_show(frame)
            self._arbiter.check_name(name)
            memory = self._tracker.memory(name)
            prompt = build_frame_prompt(
                points,
                point_labels,
                box,
                mask,
                shown.size,
                side=self._functions.side,
                resized=not self._functions.rules.masks_like_points,
                most=self._functions.most_points,
                earlier=None if clear else memory.points.get(shown.index),
            )
            answer = self._tracker.show(memory, shown, prompt)
            self._tracker.objects[name] = memory
            self._arbiter.take_name(name)
            found = shown_as_found([Sighting(name, memory, answer)])
            correct(self._held, shown.index, found[0])
            side = self._functions.mask_side
            return self._result(Passed(shown.index, shown.rgb, found, side))

    def add_text(self, phrase: str) -> int:
        """Look for all objects that a phrase names, on every frame that is passed from now on.

        They get ids of their own, and are followed like objects that are shown; :meth:`remove`
        forgets one. Detections on later frames confirm them, or speak against them: which are
        new, removed or hidden is decided by ``manifest.video_concepts``.

        Args:
            phrase: such as ``"dog"``.

        Returns:
            The phrase's number, from 0; the same for one that was added before.

        Raises:
            PromptError: a phrase that is no text, or empty.
            MissingExtraError: SciPy isn't installed.
            FramesError: the session has been closed.

        Warns:
            PhraseWarning: a phrase that is longer than the model reads; its end goes unheard.
        """
        with self._lock:
            self._check_open()
            return self._arbiter.add_text(phrase)

    def reserve(self, object_ids: Iterable[int]) -> None:
        """Keep ids for objects that will be shown: no object of a phrase gets one of them.

        Raises:
            PromptError: what is no id, or was that of an object of a phrase.
        """
        with self._lock:
            for name in map(checked_id, object_ids):
                self._arbiter.check_name(name)
                self._arbiter.take_name(name)

    def remove(self, object_id: int) -> None:
        """Forget an object, of whatever origin; it is on no result that is given after.

        Raises:
            PromptError: no object of this id.
        """
        name = checked_integer("an object's id", object_id)
        with self._lock:
            if name not in self._tracker.objects:
                known = ", ".join(map(str, self._tracker.objects)) or "none"
                raise PromptError(f"no object {brief(name)}; there are: {known}")
            del self._tracker.objects[name]
            self._arbiter.remove(name)

    def propagate(
        self,
        start: int | None = None,
        stop: int | None = None,
        reverse: bool = False,
        passed: Callable[[int], None] | None = None,
    ) -> Iterator[FrameResult]:
        """Follow the objects through the film, a frame at a time.

        Objects can be added, corrected and removed between two frames, and phrases be added. With
        phrases, results are held back for ``manifest.video_concepts.hotstart_delay`` frames (but
        for the last ones), in which objects may turn out to be none: what is said between two
        results is heard from the frame on that is passed next, which lies so far ahead; ``passed``
        is called between two frames. A session that is ``live`` gives results at once.

        Args:
            start: the frame at which all objects that are there now are followed from, also
                those that are shown on a later one, and from which on phrases are looked for. By
                default each object is from the earliest on which it was shown, and the pass
                begins with the first of these that it comes to: the earliest, or in reverse the
                latest; with phrases with the film's first frame, or in reverse its last.
            stop: the frame before which to stop, as of ``range``; by default all frames to the
                film's end, or in reverse to its beginning.
            reverse: go backwards.
            passed: called with each frame's number when it was passed, before the next is; a prompt
                on that frame that is added there is heard by the frames after it.

        Yields:
            The frames in the order in which they are passed.

        Raises:
            PromptError: neither objects nor phrases, a start that isn't in the film, or live
                input.
            FramesError: a frame that cannot be read, or the session has been closed.
        """
        if self._frames is None:
            raise PromptError("live input has no frames to go through: give them to step()")
        reverse = checked_flag("reverse", reverse)
        with self._lock:
            self._check_open()
            memories = list(self._tracker.objects.values())
            if not memories and not self._arbiter.phrases:
                raise PromptError(
                    "no objects yet: add() one with points, a box or a mask, or add_text()"
                )
            first, indices = order(
                self._frames, memories, bool(self._arbiter.phrases), start, stop, reverse
            )
        asked = memories if start is not None else ()
        return self._pass(indices, first, reverse, asked, passed)

    def _pass(
        self,
        indices: Iterable[int],
        first: int,
        reverse: bool,
        asked: Sequence[ObjectMemory],
        passed: Callable[[int], None] | None,
    ) -> Iterator[FrameResult]:
        """The frames of these numbers; ``asked`` are followed from the first, wherever shown."""
        with self._lock:
            for memory in asked:
                memory.start = first
            # What another pass left, which had looked so far ahead; passes in several threads
            # each give what they have passed themselves.
            left = goes_on([of.index for of in self._held], first, reverse)
            held = self._held = deque(self._held if left else ())
        ahead = {of.index for of in held}
        index = first
        fault: Sam3Error | None = None  # raised after what was found before it
        for index in indices:
            if index in ahead:
                continue
            with self._lock:
                self._check_open()
                try:
                    frame = self._reader.read(index)
                except IndexError as error:
                    if index == first:
                        raise PromptError(beyond(index, self._frames)) from error
                    break
                except FramesError as error:
                    fault = error
                    break
                held.append(self._advance(frame, reverse, asked))
            if passed is not None:
                try:
                    passed(index)
                except Sam3Error as error:
                    fault = error
                    break
            with self._lock:
                self._check_open()
                if len(held) < (1 if self._live else self._arbiter.delay):
                    continue
                result = self._result(held.popleft())
            yield result
        while held and (held[0].index >= index if reverse else held[0].index <= index):
            with self._lock:
                self._check_open()
                result = self._result(held.popleft())
            yield result
        if fault is not None:
            raise fault

    def step(self, frame: Picture) -> FrameResult:
        """Follow all objects to the next frame of live input.

        Without objects the frame is kept for :meth:`add`, and not looked at.

        Args:
            frame: what :func:`~sam3_tvm.runtime.pictures.image.read_picture` takes, such as an
                array [H, W, 3] of uint8, a PIL image or a path.

        Raises:
            PromptError: a session of a film.
            ImageError: what is no picture.
            FramesError: a frame of another size than those before, or the session has been
                closed.
        """
        if self._frames is not None:
            raise PromptError("a film is passed with propagate(); step() is for live input")
        rgb = read_only(own_picture(frame))
        with self._lock:
            self._check_open()
            taken = self._reader.take(rgb)
            return self._result(self._advance(taken, reverse=False))

    def state(self) -> dict[str, NDArray[Any]]:
        """All that is remembered, as arrays by name: to be saved, and restored in a new session.

        With it go the frames that were passed and of which no result was given yet, as there are
        with phrases. The next pass that begins with the first of them gives them before others.

        Call it between frames. What :func:`safetensors.numpy.save_file` or ``numpy.savez`` write
        comes back bit for bit.

        Raises:
            FramesError: the session has been closed, and remembers nothing.
        """
        with self._lock:
            self._check_open()
            held = [(of.index, list(of.shown)) for of in self._held]
            phrases = self._arbiter.state()
            remembered = Remembered(self._tracker.objects, self._reader.following, phrases, held)
            return pack(remembered, self._fingerprint)

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a :meth:`state` of the same artifact and film; replaces all objects.

        Raises:
            PromptError: a state of another artifact, or something else.
            FramesError: the session has been closed.
        """
        with self._lock:
            self._check_open()
            found = unpack(state, self._fingerprint, self._functions)
            held = read_held(found.held, self._reader, self._functions.mask_side)
            self._arbiter.restore(found.phrases)
            self._tracker.objects, self._held = found.objects, held
            self._reader.following, self._reader.current = found.following, None

    def _check_open(self) -> None:
        if self._closed:
            raise FramesError("the session has been closed: begin another with track()")

    def _advance(
        self, frame: SessionFrame, reverse: bool, asked: Sequence[ObjectMemory] = ()
    ) -> Passed:
        """Look for all objects on a frame, let the arbiter decide, and remember what it leaves."""
        once = self._frames is None or self._frames.only_forwards
        sightings = self._tracker.look(frame, reverse, asked)
        verdict = self._arbiter.arbitrate(frame, sightings, reverse=reverse, live=self._live)
        self._tracker.remember(frame, verdict.remembered, reverse, once)
        self._tracker.begin(frame, verdict.new)
        for name in verdict.removed:
            del self._tracker.objects[name]
        return Passed(frame.index, frame.rgb, verdict.shown, self._functions.mask_side)

    def _result(self, passed: Passed) -> FrameResult:
        return self._arbiter.result(passed, self._functions.resize)
