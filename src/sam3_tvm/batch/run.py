"""One picture after the other: asked, written, and noted as done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam3_tvm.batch.journal import Journal
from sam3_tvm.batch.outcome import Outcome, Question
from sam3_tvm.batch.outputs import Output
from sam3_tvm.components import AbiError
from sam3_tvm.errors import Sam3Error, UsageError
from sam3_tvm.files import PlaceError
from sam3_tvm.film.faults import Unfinished
from sam3_tvm.runtime import ImageError, Model, PromptError, Result

__all__ = ["Batch", "Failure"]

# Masks of a picture are kept between counting and drawing up to this many bytes; beyond, they
# are made anew for each.
_KEPT_MASK_BYTES = 512 << 20


@dataclass(frozen=True)
class Failure:
    """A picture that was passed over, and why."""

    picture: Path
    file_name: str
    error: Sam3Error


class Batch:
    """Pictures of which the same is asked.

    Args:
        model: what is asked.
        question: what it is asked.
        pictures: paths, in the order in which they come.
        names: how outputs call each.
        outputs: where results go.
        journal: what is done, to be gone on with; None where nothing is to be kept.
        interrupted: whether to end before the next picture.
        warn: told in a line that an interrupted run could not be gone on with.

    Attributes:
        total: how many pictures there are.
        passed: how many were looked at, in an earlier process too.
        complete: whether all were.
    """

    def __init__(
        self,
        model: Model,
        question: Question,
        pictures: Sequence[Path],
        names: Sequence[str],
        outputs: Sequence[Output],
        journal: Journal | None,
        interrupted: Callable[[], bool],
        warn: Callable[[str], object],
    ) -> None:
        self.total = len(pictures)
        self.passed = 0
        self.complete = False
        self._model = model
        self._question = question
        self._pictures = pictures
        self._names = names
        self._outputs = outputs
        self._journal = journal
        self._interrupted = interrupted
        self._warn = warn
        self._wrote = False
        self._settings: dict[str, Any] = {}
        self._done: set[int] = set()

    def begin(self, settings: dict[str, Any], resume: bool) -> list[Outcome]:
        """Begin, or go on with what an interrupted run has done.

        Args:
            settings: what must be the same to go on.
            resume: whether to go on.

        Returns:
            What was done before.

        Raises:
            CannotGoOn: there is nothing to go on with, or it doesn't fit.
            PlaceError: where the journal would be there is something else, or another process is
                at work.
            UsageError: an output cannot be written.
        """
        try:
            return self._begin(settings, resume)
        except BaseException:
            if self._journal is not None:
                self._journal.close()
            raise

    def _begin(self, settings: dict[str, Any], resume: bool) -> list[Outcome]:
        journal = self._journal
        if journal is not None and not resume:
            try:
                journal.check()
            except PlaceError:
                raise
            except UsageError as error:
                self._warn(f"{error}; if this run is interrupted, it cannot be gone on with")
                journal = self._journal = None
        done = journal.load(settings) if resume and journal is not None else []
        for number, output in enumerate(self._outputs):
            states = [states[number] for _, states in done]
            output.begin(states, None if journal is None else journal.path)
        if resume and journal is not None:
            journal.begin(settings, again=True)
        self._settings = settings
        outcomes = [outcome for outcome, _ in done]
        self._wrote = bool(outcomes)
        self._done = {outcome.number for outcome in outcomes}
        self.passed = len(self._done)
        return outcomes

    def run(self, tell: Callable[[Path, int], None]) -> Iterator[Outcome | Failure]:
        """What each picture gives that isn't done yet, when it is written.

        Args:
            tell: called before a picture with it and how many are done.

        Raises:
            UsageError: an output cannot be written further.
        """
        try:
            for number, picture in enumerate(self._pictures):
                if number in self._done:
                    continue
                if self._interrupted():
                    break
                tell(picture, self.passed)
                yield self._picture(number, picture)
                self.passed += 1
            else:
                self.complete = True
            # Cut short before anything was found, a run leaves older files as they are.
            for output in self._outputs if self.complete or self._wrote else []:
                output.finish()
        except UsageError as error:
            raise (Unfinished(error) if self.can_resume else error) from error
        finally:
            if self._journal is not None:
                self._journal.close()
        if self.complete and self._journal is not None:
            self._journal.remove()

    @property
    def can_resume(self) -> bool:
        """Whether there is something to go on from."""
        return self._journal is not None and self._journal.begun

    def _picture(self, number: int, picture: Path) -> Outcome | Failure:
        name = self._names[number]
        try:
            results = self._question.ask(self._model, picture)
            for result in results:
                height, width = result.size
                if isinstance(result, Result) and len(result) * height * width <= _KEPT_MASK_BYTES:
                    result.masks  # noqa: B018 - computed once and kept, for all uses below
            outcome = Outcome.of(number, picture, name, results)
            if self._journal is not None and not self._journal.begun:
                self._journal.begin(self._settings, again=False)
            self._wrote = True
            for output in self._outputs:
                output.write(outcome, results)
        except (AbiError, ImageError, PromptError) as error:
            return Failure(picture, name, error)
        if self._journal is not None:
            self._journal.add(outcome, [output.state() for output in self._outputs])
        return outcome
