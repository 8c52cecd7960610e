"""What ``verify`` found, and the bounds that it holds an artifact to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.errors import Sam3Error

__all__ = [
    "Bounds",
    "ClickRow",
    "EndToEndRow",
    "FrameRow",
    "FunctionRow",
    "PhraseRow",
    "VerifyError",
    "VerifyReport",
]


class VerifyError(Sam3Error):
    """Something that can't be verified: an unknown function, another model than the artifact's."""


@dataclass(frozen=True)
class Bounds:
    """What an artifact must keep; the defaults are those of float32 weights.

    Attributes:
        function: largest error of a function, relative to the reference's largest value (of
            logits at least to 1); for boolean outputs the share of entries that differ.
        iou: smallest intersection over union of a mask with the reference's.
        pixels: of a film's mask that may differ whatever its size: one, since a logit may be zero
            to within rounding, and things are followed until they have a handful of pixels.
        box_px: largest error of a box edge, pixels.
        score: largest error of a score.
        margin: kept queries must be the reference's, but for those with a score this close to
            the threshold. At most ``score``: beyond it a score is wrong, not unlucky.
    """

    function: float = 1e-4
    iou: float = 0.999
    pixels: int = 1
    box_px: float = 0.1
    score: float = 1e-4
    margin: float = 0.0

    @classmethod
    def of(cls, arithmetic: Arithmetic) -> Bounds:
        """The bounds of a function, or of a model whose coarsest function computes so.

        The reference's weights are not rounded, so these measure what rounding does to the
        model. A rounded float16 weight is off by 2e-4 of itself (root mean square), an int8
        weight by 0.7 % of a typical one (values normally distributed, the channel's largest at
        3 deviations), and so is a sum of many. In bfloat16 a weight and what it multiplies are
        both off by 1.6e-3, their product by 2.3e-3. Layers pass that on and add their own, and
        where large terms cancel, as in the logit of presence, it weighs more: ``random:tiny``
        shows up to 2.6e-3, 3.7e-2 and, in bfloat16, 1.3e-2, and the bounds are two to three times
        that. Boxes err with their function, 1.2 % of a picture's side in int8. A mask errs where
        its logits lie below the error: a few pixels along an outline of a trained model, one in
        thirty of the noise that random weights draw, and bounds hold for both.

        A score is the sigmoid of what five functions in a chain gave: of a find the vision encoder,
        the text or geometry encoder, DETR's encoder and decoder, and scoring; of an object in a
        film the vision encoder, the neck, the memory encoder, memory attention and the decoder.
        Errors of 3e-2 each that don't know of each other, and a slope of 1/4 at most, make 1.7e-2
        of it in bfloat16. The trained demonstration model shows 7e-3 in pictures and 8e-3 in
        films, where PyTorch, rounding alike, is off by 9e-3 and 1.2e-2.

        Where activations are int8 as well, both factors of a product are off by about as much, and
        the bounds are twice those of int8 weights: the trained demonstration model shows a mask at
        an IoU of 0.79, a small thing half hidden in a film.
        """
        return _BOUNDS[arithmetic.name]


_BOUNDS = {
    "float32": Bounds(),
    "float16-weights": Bounds(function=5e-3, iou=0.99, box_px=1.0, score=5e-4, margin=5e-4),
    "bfloat16": Bounds(function=3e-2, iou=0.87, box_px=6.0, score=1.7e-2, margin=5e-3),
    "int8-weights": Bounds(function=0.1, iou=0.85, box_px=20.0, score=0.02, margin=0.02),
    "int8": Bounds(function=0.2, iou=0.7, box_px=40.0, score=0.04, margin=0.04),
}
_BOUNDS["bfloat16-features"] = _BOUNDS["bfloat16"]


@dataclass(frozen=True)
class FunctionRow:
    """One output of one function on one set of inputs.

    Attributes:
        name, output, case: what was compared; the case gives the dynamic sizes.
        max_error, mean_error: absolute.
        relative: what the bound is about: ``max_error`` over the reference's largest value, of
            logits over no less than 1, or the share of differing entries of a boolean output.
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


@dataclass(frozen=True)
class ClickRow:
    """One object that was clicked in one picture.

    Attributes:
        picture, prompt: what was asked.
        masks: how many answered.
        iou_mean, iou_min: of masks with the reference's.
        score_error: largest, of a predicted IoU.
        ok: whether all bounds are kept.
    """

    picture: str
    prompt: str
    masks: int
    iou_mean: float
    iou_min: float
    score_error: float
    ok: bool


@dataclass(frozen=True)
class FrameRow:
    """One frame of a film in which objects were followed.

    Attributes:
        film, frame: where.
        objects: the ids that the artifact gives.
        same_objects: whether the reference gives the same.
        areas: of the reference's masks, as fractions of the frame.
        iou_mean, iou_min: of masks with the reference's; 1 where there is no object.
        score_error: largest, of the probability that an object is there.
        ok: whether all bounds are kept.
    """

    film: str
    frame: int
    objects: list[int]
    same_objects: bool
    areas: list[float]
    iou_mean: float
    iou_min: float
    score_error: float
    ok: bool

    @property
    def names(self) -> list[str]:
        """The objects, in words."""
        return [f"{name}" for name in self.objects]


@dataclass(frozen=True)
class PhraseRow(FrameRow):
    """One frame of a film that was searched for phrases.

    Attributes:
        phrases: that found the objects; ``same_objects`` is of both.
        score_error: largest, of the score by which an object was found.
    """

    phrases: list[str]

    @property
    def names(self) -> list[str]:
        """The objects, each with the phrase that found it."""
        return [f"{name} {of}" for name, of in zip(self.objects, self.phrases, strict=True)]


Row = FunctionRow | EndToEndRow | ClickRow | FrameRow | PhraseRow
"""One comparison."""


@dataclass
class VerifyReport:
    """Everything that was compared, and the verdict.

    Attributes:
        artifact, checkpoint: what was compared with what.
        bounds: what the artifact must keep end to end, by its coarsest arithmetic; each function
            has those of its own.
        functions, end_to_end, clicks, frames, phrase_frames: the comparisons.
        left_out: what was not compared though it could be thought to be, and why.
    """

    artifact: str
    checkpoint: str
    bounds: Bounds
    functions: list[FunctionRow] = field(default_factory=list)
    end_to_end: list[EndToEndRow] = field(default_factory=list)
    clicks: list[ClickRow] = field(default_factory=list)
    frames: list[FrameRow] = field(default_factory=list)
    phrase_frames: list[PhraseRow] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """All comparisons."""
        films: list[Row] = [*self.frames, *self.phrase_frames]
        return [*self.functions, *self.end_to_end, *self.clicks, *films]

    @property
    def ok(self) -> bool:
        """Whether every bound is kept, and something was compared at all."""
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def broken(self) -> int:
        """Comparisons that break a bound."""
        return sum(not row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {**asdict(self), "ok": self.ok}
