"""What a source of SAM 3 hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sam3_tvm.errors import Sam3Error, one_line
from sam3_tvm.rules import (
    ClickRules,
    ConceptVideoRules,
    Preprocessing,
    ReferenceRules,
    VideoRules,
)
from sam3_tvm.sizes import Sizes
from sam3_tvm.sources.image_size import VisionShape

__all__ = [
    "ClickReference",
    "ClickReferenceResult",
    "ClickSpec",
    "ConceptFrame",
    "ConceptVideoReference",
    "Licence",
    "PromptSpec",
    "Reference",
    "ReferenceResult",
    "ShowSpec",
    "Source",
    "SourceError",
    "VideoReference",
    "VideoReferenceFrame",
    "pixel_values",
    "read_licence",
]


class SourceError(Sam3Error):
    """A checkpoint that can't be found, read or understood."""

    def __str__(self) -> str:
        return one_line(super().__str__())


@dataclass(frozen=True)
class Licence:
    """The licence of the weights, to be carried by every artifact made of them."""

    name: str
    text: str


@dataclass(frozen=True)
class PromptSpec:
    """A phrase, example boxes (x0, y0, x1, y1, pixels) and points (x, y, pixels), both with
    labels 1 or 0; or some of these."""

    text: str | None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    labels: tuple[int, ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()

    def __str__(self) -> str:
        phrase = f"'{self.text}'" if self.text else "visual"
        boxes, points = (
            "".join("+" if label else "-" for label in labels)
            for labels in (self.labels, self.point_labels)
        )
        return f"{phrase} {boxes} {points and f'points {points}'}".replace("  ", " ").strip()

    @property
    def arguments(self) -> dict[str, Any]:
        """What :meth:`sam3_tvm.Model.segment` takes to look for it, by name."""
        return {
            "text": self.text,
            "boxes": list(self.boxes) or None,
            "box_labels": list(self.labels) or None,
            "points": list(self.points) or None,
            "point_labels": list(self.point_labels) or None,
        }


@dataclass(frozen=True)
class ReferenceResult:
    """Every query of one prompt, as the reference sees it.

    Attributes:
        scores: float32 ``[Q]``, query score x presence.
        boxes: float32 ``[Q, 4]``, x0, y0, x1, y1 in the picture's pixels.
        masks: from query numbers ``[K]`` to their masks at the picture's size, bool
            ``[K, H, W]``.
    """

    scores: NDArray[np.float32]
    boxes: NDArray[np.float32]
    masks: Callable[[NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class ClickSpec:
    """What is said of one object: points (x, y, pixels) with labels 1 or 0, a box (x0, y0, x1, y1,
    pixels), or both; and how it is to be answered.

    Attributes:
        points, labels, box: as said.
        multimask: by all masks that this could mean, or by one.
        refined: by a second call, which is given the best mask of the first.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    multimask: bool = True
    refined: bool = False

    def __str__(self) -> str:
        clicked = "".join("+" if label else "-" for label in self.labels)
        words = [f"click {clicked}"] if clicked else []
        words += ["box"] if self.box else []
        words += ["" if self.multimask else "one mask", "refined" if self.refined else ""]
        return ", ".join(word for word in words if word)


@dataclass(frozen=True)
class ClickReferenceResult:
    """A click's masks, as the reference sees them.

    Attributes:
        iou: float32 ``[K]``, predicted.
        masks: bool ``[K, H, W]``, at the picture's size.
    """

    iou: NDArray[np.float32]
    masks: NDArray[np.bool_]


class ClickReference(Protocol):
    """The source's own end to end result for clicks."""

    def click(
        self, rgb: NDArray[np.uint8], prompts: Sequence[ClickSpec]
    ) -> list[ClickReferenceResult]:
        """The masks of each prompt in a picture ``[H, W, 3]`` of 8-bit RGB."""
        ...


@dataclass(frozen=True)
class ShowSpec:
    """What is said of one object on one frame: points (x, y, pixels) with labels 1 or 0, a box (x0,
    y0, x1, y1, pixels), both of these, or a mask, bool ``[H, W]``."""

    object_id: int
    frame: int
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None

    def __str__(self) -> str:
        said = "".join("+" if label else "-" for label in self.labels)
        words = [f"points {said}"] if said else []
        words += ["box"] if self.box is not None else []
        words += ["mask"] if self.mask is not None else []
        return f"{' and '.join(words)} on frame {self.frame}"


@dataclass(frozen=True)
class VideoReferenceFrame:
    """The objects on one frame, as the reference sees them.

    Attributes:
        index: the frame's number.
        objects: ids.
        masks: bool ``[N, H, W]``.
        scores: float32 ``[N]``, probability that each is there.
        leads: float32 ``[N]``, by how much the mask that was taken exceeds the next in predicted
            IoU; infinite where no other was in question. None where it isn't told.
        next_masks: bool ``[N, H, W]``, those; empty where there is none.
    """

    index: int
    objects: list[int]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    leads: NDArray[np.float32] | None = None
    next_masks: NDArray[np.bool_] | None = None


class VideoReference(Protocol):
    """The source's own end to end result for films."""

    def track(
        self, frames: Sequence[NDArray[np.uint8]], prompts: Sequence[ShowSpec]
    ) -> Iterator[VideoReferenceFrame]:
        """All objects on all frames ``[H, W, 3]`` of 8-bit RGB, each shown once."""
        ...


@dataclass(frozen=True)
class ConceptFrame:
    """The objects of phrases on one frame, as the reference gives them.

    Attributes:
        index: the frame's number.
        objects: ids, rising.
        phrases: the phrase that found each.
        masks: bool ``[N, H, W]``.
        scores: float32 ``[N]``, of the detections by which they were found.
        removed: ids of all objects that were removed so far.
        suppressed: ids of the objects that are hidden on this frame.
        claimed: bool ``[N, H, W]``, the masks before each pixel was left to one object of a phrase.
        ranks: float32 ``[N]``; the one of the highest got it.
    """

    index: int
    objects: list[int]
    phrases: list[str]
    masks: NDArray[np.bool_]
    scores: NDArray[np.float32]
    removed: frozenset[int]
    suppressed: frozenset[int]
    claimed: NDArray[np.bool_]
    ranks: NDArray[np.float32]


class ConceptVideoReference(Protocol):
    """The source's own end to end result for films by phrase."""

    def find(
        self,
        frames: Sequence[NDArray[np.uint8]],
        phrases: Sequence[str],
        rules: ConceptVideoRules,
    ) -> Iterator[ConceptFrame]:
        """All that phrases name on all frames ``[H, W, 3]`` of 8-bit RGB."""
        ...


class Reference(Protocol):
    """The source's own end to end result for pictures."""

    def segment(
        self, rgb: NDArray[np.uint8], prompts: Sequence[PromptSpec]
    ) -> list[ReferenceResult]:
        """All queries of each prompt in a picture ``[H, W, 3]`` of 8-bit RGB."""
        ...


class Source(Protocol):
    """One way to get at SAM 3's components in PyTorch."""

    kind: str
    checkpoint: str
    sizes: Sizes
    """Those of what is wanted of the checkpoint; see :func:`sam3_tvm.sources.open_source`."""
    clicks: ClickRules | None
    """How a click's mask is chosen; None where ``sizes.clicks`` is."""
    video: VideoRules | None
    """What is remembered of a video; None where ``sizes.video`` is."""
    video_concepts: ConceptVideoRules | None
    """How objects of phrases are held to one another in a video; None where ``sizes.video`` is."""
    vision: VisionShape
    """What decides how much its vision encoder computes."""
    preprocessing: Preprocessing
    licence: Licence | None
    reference: ReferenceRules
    files: Sequence[Path]
    """The files that the weights were read from, and its configuration where there is one; empty
    for random weights."""
    pad_id: int
    """Token id that pads phrases."""
    mask_by_id: bool
    """Whether that id is masked wherever it stands, or only after a phrase."""

    def component(self, name: str) -> torch.nn.Module:
        """The module of one component, whose forward takes and gives what the ABI says."""
        ...

    def patched(self) -> AbstractContextManager[None]:
        """The scope in which components can be run and exported."""
        ...

    def tokenizer_json(self) -> str:
        """The tokenizer, in the format of the ``tokenizers`` library."""
        ...

    def vocabulary_size(self) -> int:
        """Number of token ids."""
        ...

    def reference_segmenter(self) -> Reference:
        """The source's model end to end, for comparison."""
        ...

    def reference_clicker(self) -> ClickReference | None:
        """The source's model for clicks, end to end; None where ``sizes.clicks`` is."""
        ...

    def reference_tracker(self) -> VideoReference | None:
        """The source's model for video, end to end; None where ``sizes.video`` is."""
        ...

    def reference_concept_tracker(self) -> ConceptVideoReference | None:
        """The source's model for films by phrase, end to end; None where ``sizes.video`` is, and
        of a source whose model isn't one to compare with."""
        ...


def pixel_values(rgb: NDArray[np.uint8], rules: Preprocessing) -> torch.Tensor:
    """What both references make of a picture.

    Args:
        rgb: 8-bit RGB ``[H, W, 3]``.
        rules: the side, and how values are scaled.

    Returns:
        float32 ``[1, 3, side, side]``.
    """
    picture = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None]
    side = (rules.image_size, rules.image_size)
    resized = torch.nn.functional.interpolate(picture, size=side, mode="bilinear", antialias=True)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (rules.mean, rules.std))
    return (resized.float() * rules.rescale - mean) / std


def read_licence(folder: Path) -> Licence | None:
    """The licence file of a checkpoint folder, if it has one."""
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt"):
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            lines = [line.strip("# ") for line in text.splitlines() if line.strip("# ")]
            return Licence(lines[0] if lines else name, text)
    return None
