"""``verify``: an artifact beside its source in PyTorch, function by function, then end to end.

Functions are compared on seeded random inputs over several sizes of every dynamic
dimension, the smallest and the largest among them. Then real photographs are segmented by
both, objects in a pan over one of them followed, and phrases looked for in a drawn film, through
independent preprocessing, tokenizing and post-processing.

Several artifacts of one checkpoint (its precisions, or CPU levels) are held against one run of
the reference, which takes longest: more than a minute a picture at SAM 3's size on two cores.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any, overload

from sam3_tvm import artifact
from sam3_tvm.abi import abi
from sam3_tvm.arithmetic import SCHEMES
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.execution.module import load_functions
from sam3_tvm.runtime.loading import load
from sam3_tvm.runtime.pictures.image import read_picture
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import ConceptFrame, Source
from sam3_tvm.verify.clicks import click_prompts, compare_click
from sam3_tvm.verify.end_to_end import compare_picture, picture_prompts
from sam3_tvm.verify.functions import (
    Case,
    compare_function,
    function_cases,
    label,
    run_reference,
)
from sam3_tvm.verify.phrases import compare_phrases, phrase_film, why_not_compared
from sam3_tvm.verify.report import Bounds, VerifyError, VerifyReport
from sam3_tvm.verify.video import LEAST_FRAMES, MOST_FRAMES, compare_film, film_of, film_prompts

__all__ = ["PARTS", "photographs", "verify"]

PARTS = ("functions", "pictures", "films")
"""What can be compared: functions on random inputs; pictures end to end, by phrase and by click;
the pan over a photograph and the film by phrase."""

# Of a pan over a photograph.
_FRAMES = 10


@overload
def verify(
    path: str | os.PathLike[str],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    functions: Sequence[str] | None = None,
    frames: int | None = None,
    parts: Collection[str] = PARTS,
    progress: Progress = silent,
) -> VerifyReport: ...


@overload
def verify(
    path: list[str] | list[Path] | tuple[str | os.PathLike[str], ...],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    functions: Sequence[str] | None = None,
    frames: int | None = None,
    parts: Collection[str] = PARTS,
    progress: Progress = silent,
) -> list[VerifyReport]: ...


def verify(
    path: Any,
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    functions: Sequence[str] | None = None,
    frames: int | None = None,
    parts: Collection[str] = PARTS,
    progress: Progress = silent,
) -> VerifyReport | list[VerifyReport]:
    """Compare artifacts with their source in PyTorch.

    Args:
        path: an artifact; or a list of them, all of one checkpoint, which are compared with one
            run of the reference.
        images: pictures for the end to end part; by default the photographs of the package.
        functions: compare these functions only, and nothing end to end.
        frames: of each film, 3 to 2,000; by default 10 of the pan over a photograph and, by phrase,
            8 to 24.
        parts: those of :data:`PARTS` to compare; ``functions`` given leave out all but functions.
        progress: told of each function, size, picture and artifact.

    Returns:
        A report; a list of them, in order, if ``path`` is a list.

    Raises:
        VerifyError: no artifact, artifacts of several checkpoints, a function that isn't in
            them, a part that there isn't, too few frames or too many, or any of what isn't for
            video, or a source that now gives a model of other sizes.
        ImageError: a picture that can't be read; nothing was compared then.
        Sam3Error: an artifact or a source that can't be opened.
    """
    several = isinstance(path, list | tuple)
    reports = _verify([*path] if several else [path], images, functions, frames, parts, progress)
    return reports if several else reports[0]


@dataclass
class _Subject:
    """An artifact beside the reference, and what is known of it so far."""

    opened: artifact.Artifact
    report: VerifyReport

    @property
    def bounds(self) -> Bounds:
        return self.report.bounds

    def bounds_of(self, function: str) -> Bounds:
        return Bounds.of(SCHEMES[self.opened.manifest.arithmetic[function]])


def _verify(
    paths: Sequence[str | os.PathLike[str]],
    images: Sequence[str | os.PathLike[str]],
    functions: Sequence[str] | None,
    frames: int | None,
    parts: Collection[str],
    progress: Progress,
) -> list[VerifyReport]:
    if frames is not None and not LEAST_FRAMES <= frames <= MOST_FRAMES:
        raise VerifyError(f"a film has {LEAST_FRAMES} to {MOST_FRAMES} frames, not {frames}")
    if unknown := [n for n in parts if n not in PARTS]:
        raise VerifyError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    subjects = _open(paths)
    manifest = subjects[0].opened.manifest
    if manifest.sizes.video is None and frames is not None:
        raise VerifyError(f"{paths[0]}: isn't for video, so no film of {frames} frames is compared")
    if manifest.sizes.video is None and {*parts} == {"films"}:
        raise VerifyError(f"{paths[0]}: isn't for video, so there are no films to compare")
    names = list(manifest.components) if functions is None else list(functions)
    if unknown := [n for n in names if n not in manifest.components]:
        raise VerifyError(
            f"no function {unknown[0]!r}; the artifact has {', '.join(manifest.components)}"
        )
    asked = {"functions"} if functions is not None else {*parts}
    photographed = [Path(p) for p in images] or list(photographs())
    chosen = photographed if "pictures" in asked else []
    filmed = photographed[:1] if "films" in asked and manifest.sizes.video is not None else []
    for picture in chosen or filmed:
        read_picture(picture)  # what is wrong with one shows before the functions are compared
    source = open_source(manifest.source.checkpoint, manifest.sizes.tasks, manifest.sizes.image)
    if source.sizes != manifest.sizes:
        raise VerifyError(
            f"{manifest.source.checkpoint} has other sizes now than when it was compiled: "
            f"{source.sizes}, the artifact has {manifest.sizes}; compile it again"
        )
    if source.video_concepts != manifest.video_concepts:
        raise VerifyError(
            f"{manifest.source.checkpoint} has other rules for films by phrase now than when it "
            f"was compiled: {_difference(source.video_concepts, manifest.video_concepts)}; "
            "compile it again"
        )
    compared = names if "functions" in asked else []
    cases = [(name, case) for name in compared for case in function_cases(name, source)]
    unsearched = why_not_compared(source) if filmed else None
    searched = filmed if unsearched is None else []
    # A step of the reference, then one of each artifact.
    count = len(cases) + len(chosen) + len(filmed) + len(searched)
    total = count * (1 + len(subjects))
    steps = _Steps(progress, total, named=len(subjects) > 1)
    _compare_functions(source, subjects, cases, steps)
    if chosen:
        _compare_pictures(source, subjects, chosen, steps)
    if filmed:
        _compare_film(source, subjects, filmed[0], frames, steps)
    if searched:
        _compare_phrases(source, subjects, frames, steps)
    for subject in subjects if unsearched is not None else ():
        subject.report.left_out.append(f"films by phrase: {unsearched}")
    progress("done", total, total)
    return [subject.report for subject in subjects]


def _compare_functions(
    source: Source,
    subjects: Sequence[_Subject],
    cases: Sequence[tuple[str, Case]],
    steps: _Steps,
) -> None:
    tables = [load_functions(subject.opened) for subject in subjects]
    # The contract's own: what inputs hold is no part of what a manifest says.
    components = abi(source.sizes)
    for name, case in cases:
        component, what = components[name], f"{name} {label(case.dims)}"
        steps.begin(f"{what}: PyTorch")
        inputs, wanted = run_reference(source, component, case.dims)
        for subject, call in zip(subjects, tables, strict=True):
            steps.begin(what, subject)
            for dims in case.compared:
                subject.report.functions += compare_function(
                    call, component, dims, inputs, wanted, subject.bounds_of(name)
                )
        # A gigabyte at SAM 3's size, which the next case has use for.
        del inputs, wanted


def _compare_pictures(
    source: Source, subjects: Sequence[_Subject], pictures: Sequence[Path], steps: _Steps
) -> None:
    segmenter, clicker = source.reference_segmenter(), source.reference_clicker()
    models = [load(subject.opened.path) for subject in subjects]
    for picture in pictures:
        what = f"{picture.name} end to end"
        steps.begin(f"{what}: PyTorch")
        rgb = read_picture(picture)
        prompts = picture_prompts(rgb, source.sizes.points)
        wanted = segmenter.segment(rgb, prompts)
        clicks = click_prompts(rgb) if clicker is not None else []
        clicked = clicker.click(rgb, clicks) if clicker is not None else []
        for subject, model in zip(subjects, models, strict=True):
            steps.begin(what, subject)
            image = model.encode_image(rgb)
            rows, left_out = compare_picture(
                model, picture.name, image, prompts, wanted, subject.bounds
            )
            subject.report.end_to_end += rows
            subject.report.left_out += left_out
            for click, answer in zip(clicks, clicked, strict=True):
                subject.report.clicks.append(
                    compare_click(model, picture.name, image, click, answer, subject.bounds)
                )
        del wanted, clicked


def _compare_film(
    source: Source, subjects: Sequence[_Subject], picture: Path, frames: int | None, steps: _Steps
) -> None:
    tracker = source.reference_tracker()
    assert tracker is not None, "a source for video has one"
    film = film_of(read_picture(picture), frames or _FRAMES)
    name = f"pan over {picture.name}"
    steps.begin(f"{name}: PyTorch")
    height, width = film[0].shape[:2]
    prompts = film_prompts((height, width))
    wanted = list(tracker.track(film, prompts))
    for subject in subjects:
        steps.begin(name, subject)
        model = load(subject.opened.path)
        rows, left_out = compare_film(model, name, film, prompts, wanted, subject.bounds)
        subject.report.frames += rows
        subject.report.left_out += left_out


def _compare_phrases(
    source: Source, subjects: Sequence[_Subject], frames: int | None, steps: _Steps
) -> None:
    reference = source.reference_concept_tracker()
    assert reference is not None, "or there is a reason why nothing is compared"
    steps.begin("film by phrase: PyTorch")
    film = phrase_film(source, frames)

    def is_compared(subject: _Subject) -> bool:
        return subject.bounds.margin == 0 or not film.exact_only

    wanted: list[ConceptFrame] = []
    if any(map(is_compared, subjects)):  # minutes at SAM 3's size
        rules = film.rules(source.video_concepts)
        wanted = list(reference.find(film.frames, film.phrases, rules))
    for subject in subjects:
        steps.begin("film by phrase", subject)
        if not is_compared(subject):
            subject.report.left_out.append(
                "films by phrase: the weights are random, and scores lie closer together than "
                f"{subject.opened.manifest.schemes[-1].name} keeps them"
            )
            continue
        if not any(frame.objects for frame in wanted):
            subject.report.left_out.append(
                "objects by phrase: the reference finds none in the film"
            )
        model = load(subject.opened.path)
        rows, why = compare_phrases(model, film, wanted, subject.bounds)
        subject.report.phrase_frames += rows
        if why is not None:
            subject.report.left_out.append(why)


def _difference(ours: Any, theirs: Any) -> str:
    """The first rule in which two sets of them differ, in words."""
    for name, value in asdict(ours).items() if ours is not None else ():
        before = getattr(theirs, name, None)
        if before != value:
            return f"{name} is {value}, the artifact has {before}"
    return "the artifact has some"


def _open(paths: Sequence[str | os.PathLike[str]]) -> list[_Subject]:
    """The artifacts, which must be of one checkpoint."""
    if not paths:
        raise VerifyError("no artifact to verify")
    subjects: list[_Subject] = []
    for path in paths:
        opened = artifact.open(path)
        opened.check_host()
        manifest = opened.manifest
        first = subjects[0].opened.manifest if subjects else manifest
        for what, ours, others in (
            ("checkpoint", manifest.source.checkpoint, first.source.checkpoint),
            ("sizes", manifest.sizes, first.sizes),
        ):
            if ours != others:
                raise VerifyError(
                    f"{path} has {what} {ours}, {paths[0]} has {others}: artifacts of one "
                    "checkpoint can be verified together"
                )
        bounds = Bounds.of(manifest.schemes[-1])
        report = VerifyReport(str(path), manifest.source.checkpoint, bounds)
        subjects.append(_Subject(opened, report))
    return subjects


class _Steps:
    """Counts the steps, and names the artifact in them where there are several."""

    def __init__(self, progress: Progress, total: int, named: bool) -> None:
        self.progress = progress
        self.total = total
        self.named = named
        self.done = 0

    def begin(self, what: str, subject: _Subject | None = None) -> None:
        if subject is not None:
            what = f"{what}: {subject.report.artifact if self.named else 'the artifact'}"
        self.progress(what, self.done, self.total)
        self.done += 1


def photographs() -> Iterator[Path]:
    """Those that come with the package."""
    folder = resources.files("sam3_tvm") / "assets" / "photos"
    yield from sorted(p for p in Path(str(folder)).iterdir() if p.suffix == ".jpg")
