"""``verify``: an artifact beside its source in PyTorch, function by function, then end to end.

Functions are compared on seeded random inputs over several sizes of every dynamic
dimension, the smallest and the largest among them. Then real photographs are segmented by
both, through independent preprocessing, tokenizing and post-processing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm import artifact
from sam3_tvm.components import BOXES, PROMPT, Component, abi
from sam3_tvm.errors import Sam3Error
from sam3_tvm.progress import Progress, silent
from sam3_tvm.runtime.image import read_picture
from sam3_tvm.runtime.module import load_functions
from sam3_tvm.runtime.segmenter import Model, load
from sam3_tvm.sources import open_source
from sam3_tvm.sources.base import PromptSpec, ReferenceResult, Source, sample_inputs

__all__ = ["Bounds", "EndToEndRow", "FunctionRow", "VerifyError", "VerifyReport", "verify"]


class VerifyError(Sam3Error):
    """Something that can't be verified: an unknown function, another model than the artifact's."""


@dataclass(frozen=True)
class Bounds:
    """What an artifact must keep; the defaults are those of float32 weights.

    Attributes:
        function: largest error of a function, relative to the reference's largest value; for
            boolean outputs the share of entries that differ.
        iou: smallest intersection over union of a mask with the reference's.
        box_px: largest error of a box edge, pixels.
        score: largest error of a score.
        margin: kept queries must be the reference's, but for those with a score this close to
            the threshold. At most ``score``: beyond it a score is wrong, not unlucky.
    """

    function: float = 1e-4
    iou: float = 0.999
    box_px: float = 0.1
    score: float = 1e-4
    margin: float = 0.0

    @classmethod
    def of(cls, precision: str) -> Bounds:
        """The bounds for weights stored in a precision of :data:`manifest.PRECISIONS`.

        The reference's weights are not rounded, so these measure what rounding does to the
        model. A rounded float16 weight is off by 2e-4 of itself (root mean square), an int8
        weight by 0.7 % of a typical one (values normally distributed, the channel's largest at
        3 deviations), and so is a sum of many. Layers pass that on and add their own, and
        where large terms cancel, as in the logit of presence, it weighs more: ``random:tiny``
        shows up to 2.6e-3 and 3.7e-2, and the bounds are two to three times that. Boxes err
        with their function, 1.2 % of a picture's side in int8. A mask errs where its logits
        lie below the error: a few pixels along an outline of a trained model, one in thirty of
        the noise that random weights draw, and bounds hold for both.
        """
        return _BOUNDS[precision]


_BOUNDS = {
    "float32": Bounds(),
    "float16": Bounds(function=5e-3, iou=0.99, box_px=1.0, score=5e-4, margin=5e-4),
    "int8": Bounds(function=0.1, iou=0.85, box_px=20.0, score=0.02, margin=0.02),
}


@dataclass(frozen=True)
class FunctionRow:
    """One output of one function on one set of inputs.

    Attributes:
        name, output, case: what was compared; the case gives the dynamic sizes.
        max_error, mean_error: absolute.
        relative: what the bound is about: ``max_error`` over the reference's largest value,
            or the share of differing entries of a boolean output.
        bound, ok: whether ``relative`` keeps it.
    """

    name: str
    output: str
    case: str
    max_error: float
    mean_error: float
    relative: float
    bound: float
    ok: bool


@dataclass(frozen=True)
class EndToEndRow:
    """One prompt in one picture.

    Attributes:
        picture, prompt, threshold: what was asked.
        kept: objects found.
        same_kept: whether the reference keeps the same queries, but for the margin.
        iou_mean, iou_min: of masks with the reference's; 1 if nothing was kept.
        box_error_px, score_error: largest.
        ok: whether all bounds are kept.
    """

    picture: str
    prompt: str
    threshold: float
    kept: int
    same_kept: bool
    iou_mean: float
    iou_min: float
    box_error_px: float
    score_error: float
    ok: bool


@dataclass
class VerifyReport:
    """Everything that was compared, and the verdict."""

    artifact: str
    checkpoint: str
    bounds: Bounds
    functions: list[FunctionRow] = field(default_factory=list)
    end_to_end: list[EndToEndRow] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every bound is kept, and something was compared at all."""
        rows: list[FunctionRow | EndToEndRow] = [*self.functions, *self.end_to_end]
        return bool(rows) and all(row.ok for row in rows)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "ok": self.ok}


def verify(
    path: str | os.PathLike[str],
    *,
    images: Sequence[str | os.PathLike[str]] = (),
    functions: Sequence[str] | None = None,
    progress: Progress = silent,
) -> VerifyReport:
    """Compare an artifact with its source in PyTorch.

    Args:
        path: the artifact.
        images: pictures for the end to end part; by default the photographs of the package.
        functions: compare these functions only, and nothing end to end.
        progress: told of each function, size and picture.

    Raises:
        VerifyError: a function that isn't in the artifact, or a source that now gives a model
            of other sizes.
        Sam3Error: an artifact or a source that can't be opened.
    """
    opened = artifact.open(path)
    opened.check_host()
    manifest = opened.manifest
    names = list(manifest.components) if functions is None else list(functions)
    if unknown := [n for n in names if n not in manifest.components]:
        raise VerifyError(
            f"no function {unknown[0]!r}; the artifact has {', '.join(manifest.components)}"
        )
    source = open_source(manifest.source.checkpoint)
    if source.sizes != manifest.sizes:
        raise VerifyError(
            f"{manifest.source.checkpoint} has other sizes now than when it was compiled: "
            f"{source.sizes}, the artifact has {manifest.sizes}; compile it again"
        )
    bounds = Bounds.of(manifest.target.weights)
    report = VerifyReport(str(path), manifest.source.checkpoint, bounds)
    pictures = [Path(p) for p in images] or list(_photographs())
    cases = [(name, case) for name in names for case in _cases(name, source)]
    total = len(cases) + (0 if functions is not None else len(pictures))

    call = load_functions(opened)
    for done, (name, dims) in enumerate(cases):
        progress(f"{name} {_label(dims)}", done, total)
        component = manifest.components[name]
        report.functions += _compare_function(source, call, component, dims, report.bounds)
    if functions is None:
        model, reference = load(path), source.reference_segmenter()
        for done, picture in enumerate(pictures, len(cases)):
            progress(f"{picture.name} end to end", done, total)
            rgb = read_picture(picture)
            prompts = _prompts(rgb)
            report.end_to_end += _compare_picture(
                model, picture.name, rgb, prompts, reference.segment(rgb, prompts), report.bounds
            )
    progress("done", total, total)
    return report


def _photographs() -> Iterator[Path]:
    folder = resources.files("sam3_tvm") / "assets" / "photos"
    yield from sorted(p for p in Path(str(folder)).iterdir() if p.suffix == ".jpg")


def _cases(name: str, source: Source) -> list[dict[str, int]]:
    """Values of a function's dynamic dimensions: smallest, odd, largest.

    The largest batch of the ABI is for servers with the memory; three rows show that rows
    don't mix. A picture of SAM 3's size takes PyTorch more than a minute, so at that size
    two pictures are the largest batch of the vision encoder.
    """
    sizes = source.sizes
    component = abi(sizes)[name]
    large = sizes.image > 512
    smallest = {d.name: d.min for d in component.dims.values()}
    odd = {
        "batch": 3,
        "boxes": 5,
        "prompt": 37,
        "queries": max(1, sizes.queries // 2 - 1),
        "masks": 3,
        "height": 481,
        "width": 639,
    }
    largest = {
        "batch": 2,
        "boxes": BOXES.max,
        "prompt": PROMPT.max,
        "queries": sizes.queries,
        "masks": 7,
        "height": 1200,
        "width": 1600,
    }
    wanted = [smallest, odd, largest]
    if large:
        odd["batch"] = 2
        largest["batch"] = 1
        wanted = [smallest, largest] if name == "vision_encoder" else wanted
        if name == "vision_encoder":
            largest["batch"] = 2
    cases = [{d: case[d] for d in component.dims} for case in wanted]
    return [c for i, c in enumerate(cases) if c not in cases[:i]]


def _label(dims: Mapping[str, int]) -> str:
    return " ".join(f"{name}={value}" for name, value in dims.items())


def _compare_function(
    source: Source, call: Any, component: Component, dims: Mapping[str, int], bounds: Bounds
) -> list[FunctionRow]:
    inputs = sample_inputs(component, dims, source.vocabulary_size(), seed=sum(dims.values()))
    with source.patched(), torch.no_grad():
        wanted = source.component(component.name)(*inputs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    got = call(component.name, *(x if isinstance(x, tuple) else x.numpy() for x in inputs))
    return [
        _function_row(component.name, spec.name, _label(dims), ours, reference.numpy(), bounds)
        for spec, ours, reference in zip(component.outputs, got, wanted, strict=True)
    ]


def _function_row(
    name: str,
    output: str,
    case: str,
    ours: NDArray[Any],
    reference: NDArray[Any],
    bounds: Bounds,
) -> FunctionRow:
    if ours.shape != reference.shape or ours.dtype != reference.dtype:
        raise VerifyError(
            f"{name}.{output} ({case}): {ours.dtype}{ours.shape}, "
            f"the reference gives {reference.dtype}{reference.shape}"
        )
    if ours.dtype == np.bool_:
        share = float(np.mean(ours != reference)) if ours.size else 0.0
        worst, mean, relative = float(share > 0), share, share
    else:
        error = np.abs(ours - reference)
        worst = float(error.max(initial=0.0))
        mean = float(error.mean(dtype=np.float64)) if error.size else 0.0
        # NaN anywhere fails every comparison below, as it should.
        relative = worst / max(float(np.abs(reference).max(initial=0.0)), 1e-30)
    ok = relative <= bounds.function
    return FunctionRow(name, output, case, worst, mean, relative, bounds.function, ok)


def _prompts(rgb: NDArray[np.uint8]) -> list[PromptSpec]:
    """Prompts for a picture: words, words with a box, and boxes of both labels alone."""
    height, width = rgb.shape[:2]

    def box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        return (x0 * width, y0 * height, x1 * width, y1 * height)

    left, right = box(0.1, 0.2, 0.45, 0.7), box(0.55, 0.4, 0.9, 0.95)
    return [
        PromptSpec("a person's face"),
        PromptSpec("cat", (left,), (1,)),
        PromptSpec(None, (left, right, box(0.0, 0.0, 1.0, 1.0)), (1, 0, 1)),
    ]


def _compare_picture(
    model: Model,
    name: str,
    rgb: NDArray[np.uint8],
    prompts: Sequence[PromptSpec],
    wanted: Sequence[ReferenceResult],
    bounds: Bounds,
) -> list[EndToEndRow]:
    image = model.encode_image(rgb)
    rows = []
    for prompt, reference in zip(prompts, wanted, strict=True):
        for threshold in dict.fromkeys((0.5, _threshold(reference.scores))):
            result = model.segment(
                image,
                text=prompt.text,
                boxes=list(prompt.boxes) or None,
                box_labels=list(prompt.labels) or None,
                threshold=max(0.0, threshold - bounds.margin),
            )
            rows.append(_end_to_end_row(name, prompt, threshold, result, reference, bounds))
    return rows


def _threshold(scores: NDArray[np.float32], most: int = 12) -> float:
    """A threshold that keeps between one query and ``most``, in the widest gap between scores.

    Random weights know nothing of 0.5; and where two scores lie closer than the arithmetic's
    noise, which one is kept says nothing.
    """
    best = np.sort(scores.astype(np.float64))[::-1][: most + 1]
    gaps = best[:-1] - best[1:]
    at = int(np.argmax(gaps))
    return float((best[at] + best[at + 1]) / 2)


def _end_to_end_row(
    name: str,
    prompt: PromptSpec,
    threshold: float,
    result: Any,
    reference: ReferenceResult,
    bounds: Bounds,
) -> EndToEndRow:
    """Compare what the reference keeps; ``result`` is ours at the threshold less the margin."""
    kept = np.flatnonzero(reference.scores > threshold)
    allowed = np.flatnonzero(reference.scores > threshold - bounds.margin)
    ours = result.queries[result.scores > threshold]
    same = set(kept) <= set(result.queries) and set(ours) <= set(allowed)
    ious, box_error, score_error = np.ones(1), 0.0, 0.0
    if same and len(kept):
        compared = result[np.isin(result.queries, kept)]
        order = compared.queries
        theirs = reference.masks(order)
        ious = np.array([_iou(a, b) for a, b in zip(compared.masks, theirs, strict=True)])
        box_error = float(np.abs(compared.boxes - reference.boxes[order]).max())
        score_error = float(np.abs(compared.scores - reference.scores[order]).max())
    ok = (
        same
        and float(ious.min()) >= bounds.iou
        and box_error <= bounds.box_px
        and score_error <= bounds.score
    )
    return EndToEndRow(
        picture=name,
        prompt=str(prompt),
        threshold=threshold,
        kept=len(ours),
        same_kept=same,
        iou_mean=float(ious.mean()),
        iou_min=float(ious.min()),
        box_error_px=box_error,
        score_error=score_error,
        ok=ok,
    )


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 for two empty ones."""
    union = int(np.count_nonzero(a | b))
    return int(np.count_nonzero(a & b)) / union if union else 1.0
