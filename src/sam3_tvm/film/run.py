"""Follows objects through a film: shows them as their frames come, and writes what is found.

Those that phrases name are looked for on every frame. Results may come late then: prompts are
heard as their frames are passed, not as the results come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from sam3_tvm.errors import Sam3Error, UsageError
from sam3_tvm.film.checkpoint import SavedRun, WorkFolder
from sam3_tvm.film.faults import Unfinished
from sam3_tvm.film.frame import from_line
from sam3_tvm.film.outputs.base import Output
from sam3_tvm.film.passage import Passage, ShownPrompt, read_mask
from sam3_tvm.film.tally import Tally
from sam3_tvm.runtime.pictures.arguments import PromptError
from sam3_tvm.runtime.video.frames import Frames, beyond
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.runtime.video.session import TrackSession

__all__ = ["Run"]

# A checkpoint after so many frames, or after so many seconds if that comes first.
_CHECKPOINT_FRAMES = 100
_CHECKPOINT_SECONDS = 60.0


class _Stopped(Exception):
    """Somebody asks for the end before the first result."""


class Run:
    """One run through a film, begun anew or gone on with.

    Args:
        session: on the film, without objects and phrases.
        frames: the film.
        passage: what to pass.
        outputs: where to write; not started yet.
        folder: for what isn't finished.
        interrupted: asked after each frame whether to stop.
        report: told after each frame how many are done.
    """

    def __init__(
        self,
        session: TrackSession,
        frames: Frames,
        passage: Passage,
        outputs: Sequence[Output],
        folder: WorkFolder,
        interrupted: Callable[[], bool],
        report: Callable[[int], None],
    ) -> None:
        self._session = session
        self._frames = frames
        self._passage = passage
        self._outputs = outputs
        self._folder = folder
        self._interrupted = interrupted
        self._report = report
        self._done = 0
        self._following = passage.first
        self._saved = time.monotonic()
        self._resumed = False
        self.tally = Tally()
        self.last: int | None = None

    def carry_out(self, saved: SavedRun | None) -> bool:
        """Go through the film and leave the outputs whole; whether the end was reached.

        What is needed to go on is kept beside the outputs where they can be gone on with.

        Args:
            saved: where to go on; None to begin anew.

        Raises:
            Sam3Error: as :meth:`prepare` and :meth:`go`; what was found before is written.
        """
        try:
            return self._carry_out(saved)
        finally:
            self._folder.close()

    def _carry_out(self, saved: SavedRun | None) -> bool:
        try:
            self.prepare(saved)
        except Sam3Error:
            self.abandon()
            if saved is None:
                self._folder.remove()
            raise
        try:
            complete = self._goes_to_the_end()
            if complete or self.tally.frames:
                self.finish()
            else:
                self.abandon()  # an older output stays
        except UsageError as error:  # an output that cannot be written
            self._give_up()
            if not self.can_resume:
                raise
            raise Unfinished(error) from error
        except Sam3Error as error:
            try:
                self.finish()
            except UsageError as other:
                raise UsageError(f"{error}; {other}") from other
            finally:
                self._folder.remove()
            raise UsageError(f"{error}; what was found before is written: {self.tally}") from error
        except BaseException:
            self._give_up()
            raise
        if complete or not self.can_resume:
            self._folder.remove()
        return complete

    def prepare(self, saved: SavedRun | None) -> None:
        """Show the first objects, then begin to write; what is wrong with either shows here.

        Raises:
            Sam3Error: a prompt that cannot be used, or an output that cannot be written.

        Warns:
            PhraseWarning: a phrase that is longer than the model reads.
        """
        if saved is not None:
            self._session.restore(saved.session)
            self._following = saved.following
            self.last = self._following - 1
            self._resumed = True
            self.tally = Tally(**saved.counts)
            self._done = self.tally.frames
        else:
            if not self._has(self._passage.first):
                raise PromptError(beyond(self._passage.first, self._frames))
            for phrase in self._passage.phrases:
                self._session.add_text(phrase)
            if self._passage.phrases:
                # Otherwise an object of a phrase would have the id when its frame comes.
                self._session.reserve({shown.object_id for shown in self._passage.shown})
            # Those beside the way are heard before it begins.
            for shown in self._passage.shown:
                if self._is_beside(shown.frame) or shown.frame == self._passage.first:
                    self._show(shown)
            self._folder.clear()
        # What may be refused comes before the first output is touched.
        parts = [self._folder.parts(number) for number in range(len(self._outputs))]
        for number, output in enumerate(self._outputs):
            state = {} if saved is None else saved.outputs[number]
            output.start(self._frames.fps, parts[number], state)

    def go(self) -> bool:
        """Pass the frames; whether the end was reached, rather than stopped before.

        When it is stopped in the forward pass, a checkpoint is written.

        Raises:
            Sam3Error: a frame that cannot be read, a prompt that cannot be used, or an output
                that cannot be written.
        """
        passage = self._passage
        if passage.backward and not self._resumed and not self._go_back():
            return False
        if not passage.forward:
            return True
        end = None if passage.most is None else passage.first + passage.most
        if self._is_over(end):
            return True
        for frame in self._follow(self._following, end, reverse=False):
            self._write(frame)
            self._following = frame.index + 1
            self._tell()
            stop = self._interrupted()
            if stop or self._is_due():
                self._save()
            if stop:
                return False
        return True

    def _goes_to_the_end(self) -> bool:
        try:
            return self.go()
        except _Stopped:
            return False

    @property
    def can_resume(self) -> bool:
        """Whether a checkpoint was written."""
        return self._folder.has_checkpoint

    def unheard(self) -> list[ShownPrompt]:
        """What is said on frames that the film turned out not to have."""
        forward = self._passage.forward
        return [s for s in self._passage.shown if forward and s.frame >= self._following]

    def finish(self) -> None:
        """Make the outputs whole, each that can be.

        Raises:
            UsageError: the first that cannot be written.
        """
        faults = []
        for output in self._outputs:
            try:
                output.finish()
            except UsageError as error:
                output.abandon()
                faults.append(error)
        if faults:
            raise faults[0]

    def abandon(self) -> None:
        """Close the outputs as they are."""
        for output in self._outputs:
            output.abandon()

    def _give_up(self) -> None:
        """Leave outputs as they are, and what is needed to go on where there is a checkpoint."""
        self.abandon()
        if not self.can_resume:
            self._folder.remove()

    def _go_back(self) -> bool:
        """Pass the frames backwards, then write them in the order of the film."""
        passage = self._passage
        stop = None if passage.most is None else passage.first - passage.most
        if passage.forward and stop is not None:
            stop -= 1  # the first frame is written by the forward pass, and not counted here
        complete = True
        fault: Sam3Error | None = None
        with self._folder.spool() as spool:
            try:
                for frame in self._follow(passage.first, stop, reverse=True):
                    if not (passage.forward and frame.index == passage.first):
                        spool.add(frame)
                        self._tell()
                    if self._interrupted():
                        complete = False
                        break
            except _Stopped:
                complete = False
            except Sam3Error as error:
                fault = error  # after what was found so far is written
            for index, line in reversed(spool):
                self._write(from_line(line, self._frames.read(index)))
        if fault is not None:
            raise fault
        return complete

    def _follow(self, first: int, stop: int | None, reverse: bool) -> Iterator[FrameResult]:
        """The frames from ``first`` on, each with what is said on it.

        An object that is new on a frame is shown before the frame is passed, so that it is among
        those found there; what is said of one that was followed so far corrects what was found.
        Both are said between two frames, however late their results come.
        """
        by_frame: dict[int, list[ShownPrompt]] = {}
        for shown in self._passage.shown:
            # The first frame's were said in prepare().
            if shown.frame != self._passage.first:
                by_frame.setdefault(shown.frame, []).append(shown)
        step = -1 if reverse else 1

        def passed(index: int) -> None:
            for shown in by_frame.get(index, ()):
                if not self._passage.is_new(shown, reverse):
                    self._show(shown)
            coming = index + step
            if stop is not None and (coming - stop) * step >= 0:
                return
            for shown in by_frame.get(coming, ()):
                if self._passage.is_new(shown, reverse) and self._has(coming):
                    self._show(shown)
            # Where results come late, many frames are passed before the first.
            if not given and index != first and self._interrupted():
                raise _Stopped

        given = False
        for frame in self._session.propagate(first, stop, reverse, passed):
            given = True
            yield frame

    def _has(self, index: int) -> bool:
        """Whether the film has this frame; not every film says how many it has."""
        try:
            self._frames.read(index)
        except IndexError:
            return False
        return True

    def _show(self, shown: ShownPrompt) -> FrameResult:
        return self._session.add(
            shown.object_id,
            shown.frame,
            points=shown.points or None,
            point_labels=shown.point_labels or None,
            box=shown.box,
            mask=None if shown.mask is None else read_mask(shown.mask),
        )

    def _is_beside(self, frame: int) -> bool:
        """Whether a frame lies behind the first one, in a direction that isn't passed."""
        passage = self._passage
        if frame > passage.first:
            return not passage.forward
        return frame < passage.first and not passage.backward

    def _is_over(self, end: int | None) -> bool:
        """Whether an interrupted run had passed the last frame already."""
        if not self._resumed:
            return False
        ends = [n for n in (end, self._frames.count) if n is not None]
        # A file may have fewer frames than it says, or not say it.
        return any(self._following >= n for n in ends) or not self._has(self._following)

    def _write(self, frame: FrameResult) -> None:
        for output in self._outputs:
            output.write(frame)
        self.tally.add(frame)
        self.last = frame.index

    def _tell(self) -> None:
        self._done += 1
        self._report(self._done)

    def _is_due(self) -> bool:
        done = self._following - self._passage.first
        return (
            done % _CHECKPOINT_FRAMES == 0 or time.monotonic() - self._saved > _CHECKPOINT_SECONDS
        )

    def _save(self) -> None:
        states = [output.state() for output in self._outputs]
        counts = {"frames": self.tally.frames, "objects": self.tally.objects}
        session = self._session.state()
        self._folder.save(SavedRun(self._following, session, states, counts))
        self._saved = time.monotonic()
