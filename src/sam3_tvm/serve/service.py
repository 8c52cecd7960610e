"""What a server holds: the model, pictures, films, and who computes next."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

import numpy as np

from sam3_tvm.runtime import Exemplar, Model
from sam3_tvm.serve.answers import Form, click_answer, logits_from, segment_answer
from sam3_tvm.serve.aside import Aside
from sam3_tvm.serve.encodings import Encodings
from sam3_tvm.serve.exports import ExportFormat, exported
from sam3_tvm.serve.films import Film, Films
from sam3_tvm.serve.following import Following
from sam3_tvm.serve.forms.asked import AskClick, AskExport, AskSegment, AskTrack, Like, signed
from sam3_tvm.serve.limits import Limits
from sam3_tvm.serve.metrics import Metrics
from sam3_tvm.serve.problems import Problem
from sam3_tvm.serve.showing import drawn_film, frame_jpeg
from sam3_tvm.serve.store import Store, Stored
from sam3_tvm.serve.turns import Kind, Turns

__all__ = ["Service"]


class Service:
    """Made in the event loop that it serves in.

    Args:
        limits: what is taken.

    Attributes:
        limits: as given.
        metrics: what is counted.
        turns: who computes next.
        store: encoded pictures.
        encodings: how they come there.
        films: that clients sent.
        drawing: of films, beside the turns.
        showing: of single frames, likewise.
        exporting: of results, likewise.
        draining: whether the server is about to end; see :meth:`drain`.
    """

    def __init__(self, limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self.limits = limits
        self.metrics = Metrics()
        most = dict.fromkeys(Kind, limits.waiting) | {Kind.FRAME: limits.films_followed}
        self.turns = Turns(most, self.metrics)
        self.store = Store(limits.encoded_bytes, self.metrics)
        self.encodings = Encodings(
            lambda: self.model,
            self.turns,
            self.store,
            self.metrics,
            decoded_bytes=3 * limits.pixels,  # one of the largest
        )
        self.films = Films(limits)
        self.draining = False
        self._films_end: float | None = None
        self._followed: weakref.WeakSet[Following] = weakref.WeakSet()
        self._model: Model | None = None
        self._unloadable = False
        self._film_threads = ThreadPoolExecutor(
            limits.films_followed, thread_name_prefix="sam3-tvm-film"
        )
        # The lines of each film that waits to be drawn are in memory.
        self.drawing = Aside("draw", limits.films_followed, limits.films)
        self.showing = Aside("show", limits.films_followed, limits.waiting)
        self.exporting = Aside("export", 2, limits.waiting)

    @property
    def model(self) -> Model:
        """The model.

        Raises:
            Problem: it isn't loaded yet, or cannot be (503).
        """
        if self._unloadable:
            raise Problem(503, "the model cannot be loaded; the server's log says why")
        if self._model is None:
            raise Problem(503, "the model is being loaded", retry_after=2)
        return self._model

    def check_loaded(self) -> None:
        """Refuse what comes before the model is there.

        Raises:
            Problem: as :attr:`model`.
        """
        _ = self.model

    async def load(self, load: Callable[[], Model], warm_up: bool = False) -> None:
        """Load the model.

        Args:
            load: gives it.
            warm_up: encode a picture with it before it answers: memory is touched then, and how
                long a picture takes is known.

        Raises:
            Exception: what ``load`` raises; then requests are told that there is no model.
        """
        try:
            model = await asyncio.to_thread(load)
            if warm_up:
                begun = time.perf_counter()
                await asyncio.to_thread(self._warm_up, model)
                self.turns.expect(Kind.PICTURE, time.perf_counter() - begun)
        except Exception:  # which the caller gets
            self._unloadable = True
            raise
        self._model = model

    def _warm_up(self, model: Model) -> None:
        # As pictures will be encoded: in memory of their own.
        with self.turns.giving_way(Kind.PICTURE):
            model.encode_image(np.zeros((64, 64, 3), np.uint8))

    async def segment(self, name: str, asked: AskSegment, form: Form) -> bytes:
        """What a picture has of what is asked for; see :meth:`Model.segment`.

        Raises:
            Problem: no such picture, or too many prompts.
            PromptError: what cannot be looked for.
        """
        model, stored = self.model, self.store.get(name)
        examples = [(one, self.store.get(one.image)) for one in asked.like]
        self._check_prompts(asked)
        boxes, box_labels = signed(asked.boxes, asked.negative_boxes)
        points, point_labels = signed(asked.points, asked.negative_points)

        def call() -> bytes:
            found = model.segment(
                stored.encoded,
                asked.phrases or None,
                boxes,
                box_labels,
                asked.threshold,
                points=points,
                point_labels=point_labels,
                nms=asked.nms,
                like=[_exemplar(model, *example) for example in examples] or None,
            )
            results = found if isinstance(found, list) else [found]
            picture = stored.encoded.picture
            drawn = form is Form.PNG and asked.draw and picture is not None
            return segment_answer(results, form, picture.read() if drawn and picture else None)

        return await self.turns.run(Kind.PROMPT, call)

    async def click(self, name: str, asked: AskClick, form: Form) -> bytes:
        """The masks that answer clicks; see :meth:`Model.click`.

        Raises:
            Problem: no such picture, or logits that are none.
            PromptError: clicks that cannot be used.
        """
        model, stored = self.model, self.store.get(name)
        mask = None
        if asked.mask is not None:
            mask = logits_from(asked.mask, 4 * model.manifest.sizes.grid)
        points, labels = signed(asked.points, asked.negative_points)

        def call() -> bytes:
            result = model.click(stored.encoded, points, labels, asked.box, mask, asked.multimask)
            assert not isinstance(result, list), "one object was asked for"
            return click_answer(result, form, asked.draw, asked.logits)

        return await self.turns.run(Kind.CLICK, call)

    def follow(self, film: Film, asked: AskTrack) -> Following:
        """A film, to be followed."""
        if len(asked.phrases) + len(asked.objects) > self.limits.prompts:
            raise self._too_many(len(asked.phrases) + len(asked.objects))
        following = Following(
            self.model,
            film,
            self.films,
            asked,
            self.limits,
            self.turns,
            self.metrics,
            self._film_threads,
        )
        self._followed.add(following)
        if self._films_end is not None:
            following.end_by(self._films_end)
        return following

    async def draw(self, film: Film, lines: Iterable[bytes]) -> BinaryIO:
        """The frames that lines tell of, with masks on them; see :func:`drawn_film`.

        Cancelled, it ends after the frame at hand.
        """
        return await self.drawing.run(lambda stopped: drawn_film(film, lines, self.films, stopped))

    async def show(self, film: Film, index: int) -> bytes:
        """A frame of a film; see :func:`frame_jpeg`."""
        return await self.showing.run(lambda stopped: frame_jpeg(film, index))

    async def export(self, asked: AskExport, form: ExportFormat) -> bytes:
        """Results in a dataset's format; see :func:`exported`.

        Cancelled, it ends after the object at hand.
        """
        most = self.limits.pixels
        return await self.exporting.run(lambda stopped: exported(asked, form, most, stopped))

    def drain(self, seconds: float) -> None:
        """Tell that the server is about to end; also from a signal's handler.

        Films that take longer than ``seconds`` from now end then, with a line that says so.
        """
        self.draining = True
        self._films_end = end = time.monotonic() + seconds

        def bound() -> None:
            for following in [*self._followed]:
                following.end_by(end)

        self._loop.call_soon_threadsafe(bound)

    async def close(self) -> None:
        """End what runs, after the call at hand, and remove what is on the disk."""
        self.draining = True
        aside = (self.drawing.close, self.showing.close, self.exporting.close)
        ends = (self._film_threads.shutdown, *aside, self.encodings.close, self.turns.close)
        for threads in ends:
            await asyncio.to_thread(threads)
        self.films.close()

    def _check_prompts(self, asked: AskSegment) -> None:
        lists: Sequence[Sequence[object]] = (
            asked.phrases,
            asked.boxes,
            asked.negative_boxes,
            asked.points,
            asked.negative_points,
            *(one.boxes for one in asked.like),
            *(one.negative_boxes for one in asked.like),
        )
        if (count := sum(map(len, lists))) > self.limits.prompts:
            raise self._too_many(count)

    def _too_many(self, count: int) -> Problem:
        return Problem(
            422, f"{count} prompts in one request: at most {self.limits.prompts} are taken"
        )


def _exemplar(model: Model, like: Like, stored: Stored) -> Exemplar:
    boxes, labels = signed(like.boxes, like.negative_boxes)
    # Which would encode pictures, in the turn of a prompt.
    return model.exemplar(stored.encoded, boxes or [], labels, name=like.name, views=False)
