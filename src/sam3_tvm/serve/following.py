"""A film that is followed for one client: a line of JSON per frame, as each is done.

It runs on a thread of its own, and computes in its turns: between two frames others' clicks,
prompts and pictures pass. Lines are those of ``sam3-tvm track -o NAME.jsonl``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from sam3_tvm.film.checkpoint import SavedRun, WorkFolder
from sam3_tvm.film.frame import to_line
from sam3_tvm.film.outputs.base import Output
from sam3_tvm.film.run import Run
from sam3_tvm.runtime import Model
from sam3_tvm.runtime.video.open import open_frames
from sam3_tvm.runtime.video.result import FrameResult
from sam3_tvm.serve.films import Film, Films, unplaced
from sam3_tvm.serve.forms.asked import AskTrack
from sam3_tvm.serve.limits import Limits
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.passages import passage_of
from sam3_tvm.serve.problems import Problem, as_problem
from sam3_tvm.serve.turns import Kind, Turns

__all__ = ["Following"]

_T = TypeVar("_T")

# Lines that a client may be behind; then the film waits for it.
_AHEAD = 16


class _Left(Exception):
    """The client has gone."""


class _NoCheckpoints(WorkFolder):
    """For a run that nobody goes on with."""

    def save(self, saved: SavedRun) -> None:
        return


class _Lines(Output):
    """Collects lines until they can be sent."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        self.path = path
        self.lines: list[str] = []
        self._fps: float | None = None
        self._metrics = metrics

    def start(self, fps: float | None, parts: Path, state: Mapping[str, NDArray[Any]]) -> None:
        self._fps = fps

    def write(self, frame: FrameResult) -> None:
        self.lines.append(f"{to_line(frame, self._fps)}\n")
        self._metrics.frames.inc()


class Following:
    """Follows a film; :meth:`begin`, then :meth:`lines`, and :meth:`stop` whatever happens.

    What it waits for, a turn or room for a line, it waits for until its end at most.

    Args:
        model: to follow with.
        film: held until :meth:`stop` is over.
        films: where it is kept.
        asked: what to follow.
        limits: of frames and time.
        turns: to compute in.
        metrics: what is counted.
        threads: to run it on.
    """

    def __init__(
        self,
        model: Model,
        film: Film,
        films: Films,
        asked: AskTrack,
        limits: Limits,
        turns: Turns,
        metrics: Metrics,
        threads: Executor,
    ) -> None:
        self._model = model
        self._film = film
        self._films = films
        self._asked = asked
        self._limits = limits
        self._turns = turns
        self._metrics = metrics
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD)
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._thread: asyncio.Future[None] | None = None
        # What the thread waits for in the loop, until when, and whether it is to stop.
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left = False
        # Since when it has a turn.
        self._since: float | None = None
        self._end = time.monotonic() + limits.film_seconds
        # Whether the server ends, and this with it.
        self._ending = False

    async def begin(self) -> None:
        """Start, until the first objects have been shown.

        Raises:
            Problem: what cannot be followed.
        """
        self._metrics.following.inc()
        self._thread = self._loop.run_in_executor(self._threads, self._work)
        await self._begun

    async def lines(self) -> AsyncIterator[str]:
        """A line per frame; where something goes wrong, a last one with the ``error``."""
        while (line := await self._lines.get()) is not None:
            yield line
            self._room.release()

    def end_by(self, end: float) -> None:
        """End with a line that says so before the server does; in the loop.

        Args:
            end: by the monotonic clock.
        """
        self._end = min(self._end, end)
        self._ending = True
        if self._task is not None:
            self._bound(self._task)

    async def stop(self) -> None:
        """Stop after the frame at hand, and wait for that."""
        self._left = True
        if self._task is not None:
            self._task.cancel()
        if self._thread is not None:
            thread, self._thread = self._thread, None
            try:
                await asyncio.shield(thread)
            finally:
                self._metrics.following.dec()
                if self._begun.done() and not self._begun.cancelled():
                    self._begun.exception()  # which nobody may be left to ask for

    def _work(self) -> None:
        """What the thread does."""
        try:
            with unplaced(self._film.path), self._turns.giving_way(Kind.FRAME):
                self._follow()
            self._wait(self._tell(None))
        except _Left:
            pass
        except Exception as error:  # of a thread, which nobody else hears of
            problem = as_problem(error)
            if problem.status_code == 500:
                logging.getLogger(__name__).exception("following a film failed")
            with suppress(_Left):
                self._wait(self._tell(problem))

    async def _tell(self, problem: Problem | None) -> None:
        """End the lines, after what went wrong."""
        if problem is not None and not self._begun.done():
            self._begun.set_exception(problem)
            return
        if problem is not None:
            self._lines.put_nowait(json.dumps({"error": problem.document()}) + "\n")
        self._lines.put_nowait(None)

    async def _offer(self, line: str) -> None:
        """Hand a line on when there is room for it."""
        await self._room.acquire()
        self._lines.put_nowait(line)

    def _is_over(self) -> bool:
        """Whether its time is; when the server ends, whether another frame goes beyond it."""
        frame = self._turns.seconds(Kind.FRAME) if self._ending else None
        return time.monotonic() + (frame or 0.0) > self._end

    def _late(self) -> Problem:
        if self._ending:
            return Problem(503, "the server is about to end: go on with start when it is back")
        seconds = self._limits.film_seconds
        return Problem(
            503, f"this took longer than {seconds:g} s, the most that is taken: go on with start"
        )

    async def _say_begun(self) -> None:
        if not self._begun.done():
            self._begun.set_result(None)

    def _follow(self) -> None:
        with (
            open_frames(self._film.path) as frames,
            self._films.work_folder() as folder,
        ):
            passage = passage_of(self._asked, frames, self._limits.frames)
            session = self._model.track(frames, live=passage.live)
            output = _Lines(Path(folder) / "lines.jsonl", self._metrics)
            work = _NoCheckpoints(output.path, {})

            def between() -> bool:
                self._give_back()
                self._send(output)
                if self._is_over():
                    raise self._late()
                self._take()
                return False

            run = Run(session, frames, passage, [output], work, between, lambda done: None)
            try:
                self._take()
                run.prepare(None)
                self._wait(self._say_begun())
                run.go()
            finally:
                self._give_back()
                with suppress(_Left):
                    self._send(output)
                work.close()
        if unheard := run.unheard():
            first = unheard[0]
            raise Problem(
                422,
                f"object {first.object_id} is shown on frame {first.frame}, which the film turned "
                f"out not to have: it ended after frame {run.last}",
            )

    def _send(self, output: _Lines) -> None:
        lines, output.lines = output.lines, []
        for line in lines:
            self._wait(self._offer(line))

    def _take(self) -> None:
        self._wait(self._turns.take(Kind.FRAME))
        self._since = time.perf_counter()

    def _give_back(self) -> None:
        if self._since is not None:
            seconds, self._since = time.perf_counter() - self._since, None
            self._loop.call_soon_threadsafe(self._turns.give_back, Kind.FRAME, seconds)

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of what is done in the loop; for the thread.

        Raises:
            _Left: the client has gone, before or while.
            Problem: it would have to wait beyond its end.
        """

        async def guarded() -> _T:
            if self._left:
                work.close()
                raise _Left
            self._task = asyncio.current_task()
            assert self._task is not None
            self._bound(self._task)
            try:
                return await work
            except asyncio.CancelledError:
                raise (_Left() if self._left else self._late()) from None
            finally:
                self._task = None
                if self._timer is not None:
                    self._timer.cancel()

        return asyncio.run_coroutine_threadsafe(guarded(), self._loop).result()

    def _bound(self, task: asyncio.Task[Any]) -> None:
        """Cancel a task at the end; one that needn't wait is done before, however late it is."""
        if self._timer is not None:
            self._timer.cancel()
        left = max(0.0, self._end - time.monotonic())
        self._timer = self._loop.call_later(left, task.cancel)
