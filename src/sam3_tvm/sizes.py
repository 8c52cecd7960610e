"""What a model is for, and the sizes that are the same in every call of it.

From them :mod:`sam3_tvm.abi` says what each of its functions is.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TASKS", "ClickSizes", "Sizes", "VideoSizes"]

TASKS = ("concepts", "clicks", "video")
"""What a model may be for: all objects of a kind, the object that is clicked, and following that
through a video. Each takes the functions of those before it; the vision encoder is the first's."""


@dataclass(frozen=True)
class ClickSizes:
    """The static sizes of the part that segments what is clicked, SAM 3's tracker.

    Attributes:
        backbone: width of the vision backbone, whose last features the tracker's neck takes (1024).
        masks: masks that are proposed for a click: one, and those among which an ambiguous click
            chooses (1 + 3).
        without_memory: whether a picture's features are told that there is no memory of earlier
            frames, as those of a film's first frame are. By the function ``without_memory``, which
            is a function for clicks then.
        hidden: width of the tracker's features; 0 if it is the detector's, ``Sizes.hidden``.
    """

    backbone: int
    masks: int
    without_memory: bool = False
    hidden: int = 0


@dataclass(frozen=True)
class VideoSizes:
    """The static sizes of the part that follows objects through a video.

    Attributes:
        channels: width of what is remembered of a frame (64).
        memories: frames that are looked at together, at most: those where the object was shown
            (4), and the last ones (6).
        shown: side of the square in which a mask that shows an object is taken, pixels; 0 if it is
            the picture's (1008).
    """

    channels: int
    memories: int
    shown: int = 0


@dataclass(frozen=True)
class Sizes:
    """The static sizes of one SAM 3 model.

    Attributes:
        image: side of the square input picture, pixels (1008).
        grid: side of the coarsest feature map, in patches; S in the docs (72).
        hidden: width of the detector's prompts, memory and queries; D in the docs (256).
        text_tokens: length to which phrases are padded (32).
        queries: object queries of the detector; Q in the docs (200).
        heads: attention heads of the detector's layers (8).
        points: whether the geometry encoder takes points, beside boxes; not every source's does.
        clicks: of the part that segments what is clicked; None where there is none.
        video: of the part that follows it through a video; None where there is none.
    """

    image: int
    grid: int
    hidden: int
    text_tokens: int
    queries: int
    heads: int
    points: bool = False
    clicks: ClickSizes | None = None
    video: VideoSizes | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """What a model of these sizes is for, of :data:`TASKS`."""
        return TASKS[: 1 + (self.clicks is not None) + (self.video is not None)]
