"""The object that is clicked: which of the masks that SAM 3 proposes, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sam3_tvm.abi import CLICKS
from sam3_tvm.errors import ResultError
from sam3_tvm.manifest import Manifest
from sam3_tvm.rules import ClickRules
from sam3_tvm.runtime.clicks.prompts import Click, build_clicks
from sam3_tvm.runtime.execution.image_functions import ImageFunctions
from sam3_tvm.runtime.pictures.arguments import PromptError, brief, is_integer
from sam3_tvm.runtime.pictures.image import Picture
from sam3_tvm.runtime.pictures.kept_picture import KeptPicture
from sam3_tvm.runtime.pictures.masks import LazyMasks, coco_entry
from sam3_tvm.runtime.pictures.overlay import draw_overlay
from sam3_tvm.runtime.pictures.result import PictureResult
from sam3_tvm.runtime.pictures.scores import sigmoid

__all__ = ["ClickResult", "Clicker", "choose_masks"]

_ON, _BESIDE = (60, 200, 90), (220, 50, 50)


def _check_finite(*found: float | NDArray[np.float32]) -> None:
    """Refuse what came of logits that no answer has: numbers beyond what the functions compute in.

    Raises:
        PromptError: not all of it is finite.
    """
    if not all(np.isfinite(one).all() for one in found):
        raise PromptError(
            "mask has logits too large to compute with: it takes those of an earlier answer as "
            "they came"
        )


def choose_masks(
    masks: NDArray[np.float32],
    iou: NDArray[np.float32],
    multimask: bool,
    rules: ClickRules,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Choose among the masks that are proposed for each object.

    The first mask is meant for prompts that leave no doubt, the others for a click that could
    mean several things, such as a shirt or its wearer. Asked for one mask, SAM 2 and 3 take the
    first if it is stable, else the best of the others (section D.1 of the SAM 2 paper,
    https://arxiv.org/abs/2408.00714).

    Args:
        masks: logits [N, K, h, w] of K proposals.
        iou: their predicted IoU [N, K].
        multimask: all but the first, rather than one.
        rules: what counts as stable.

    Returns:
        Logits [N, K - 1, h, w] or [N, 1, h, w], and their predicted IoU.
    """
    if multimask:
        return masks[:, 1:], iou[:, 1:]
    inner = np.count_nonzero(masks[:, 0] > rules.stability_delta, axis=(1, 2))
    outer = np.count_nonzero(masks[:, 0] > -rules.stability_delta, axis=(1, 2))
    # An empty mask is stable. In float32, as the reference divides.
    stability = inner.astype(np.float32) / np.maximum(outer, 1).astype(np.float32)
    stable = np.where(outer > 0, stability, 1) >= np.float32(rules.stability_threshold)
    taken = np.where(stable, 0, 1 + iou[:, 1:].argmax(1))
    rows = np.arange(len(masks))
    return masks[rows, taken][:, None], iou[rows, taken][:, None]


class ClickResult(PictureResult):
    """The masks that answer the clicks on one object, in the model's order.

    Masks are made when they are first asked for.

    Attributes:
        click: what was clicked.
        size: height and width of the picture, pixels.
        iou: float32 [K], what the model thinks the IoU of each mask with the object is.
        logits: float32 [K, 4S, 4S], masks as the model gives them; one of them is ``mask`` of a
            next click that refines it.
        object_score: probability that there is an object at all, 0 to 1.
    """

    def __init__(
        self,
        click: Click,
        iou: NDArray[np.float32],
        object_score: float,
        masks: LazyMasks,
        picture: KeptPicture | None = None,
    ) -> None:
        super().__init__(masks, picture)
        self.click = click
        self.iou = iou
        self.object_score = object_score

    def to_dict(self) -> dict[str, Any]:
        click = {name: getattr(self.click, name) for name in ("points", "labels", "box", "mask")}
        found = {"iou": self.iou, "object_score": self.object_score}
        return {"click": click, **found, **super().to_dict()}

    @property
    def best(self) -> int:
        """Which mask has the highest predicted IoU."""
        return int(self.iou.argmax())

    def _chosen(self, mask: Any) -> int:
        if not is_integer(mask) or not -len(self) <= mask < len(self):
            raise ResultError(f"mask says which of {len(self)}, counted from 0, not {brief(mask)}")
        return int(mask)

    def __len__(self) -> int:
        return len(self.iou)

    def __repr__(self) -> str:
        height, width = self.size
        count = f"{len(self)} mask{'' if len(self) == 1 else 's'}"
        return f"ClickResult({count}, best {self.iou[self.best]:.2f}, {width}x{height})"

    def _drawn(self) -> Image.Image:
        return self.overlay()

    def _about(self) -> dict[str, Any]:
        return {
            **self.click.described(),
            "object_score": self.object_score,
            "best": self.best,
        }

    def _confidence(self) -> NDArray[np.float32]:
        return self.iou

    def _labels(self) -> dict[str, Sequence[Any]]:
        return {"mask": range(len(self)), "iou": self.iou.tolist()}

    def overlay(
        self, picture: Picture | None = None, *, mask: int | None = None, opacity: float = 0.45
    ) -> Image.Image:
        """The picture with a mask, the box and the points drawn over it.

        Args:
            picture: what to draw on, of the same size; by default the picture that was clicked,
                as it was then: a file is read again.
            mask: which mask, counted from 0; by default the best.
            opacity: of the mask's colour, 0 to 1.

        Raises:
            ImageError: the picture isn't known (features loaded from a file), cannot be read,
                has changed since, or has another size.
            ResultError: an opacity that is no number from 0 to 1, or no such mask.
        """
        chosen = self.best if mask is None else self._chosen(mask)
        rgb = self._canvas(picture)
        box = self.click.box
        image = draw_overlay(
            rgb,
            [self.masks[chosen]],
            None if box is None else box.astype(np.float32)[None],
            [(f"{self.iou[chosen]:.2f}",)],
            opacity=opacity,
        )
        draw = ImageDraw.Draw(image)
        radius = max(3, round((self.size[0] * self.size[1]) ** 0.5 / 100))
        for (x, y), label in zip(self.click.points, self.click.labels, strict=True):
            colour = _ON if label else _BESIDE
            draw.circle((x, y), radius, fill=colour, outline=(255, 255, 255))
        return image

    def to_coco(self) -> list[dict[str, Any]]:
        """The masks in COCO's results format.

        Returns:
            One dictionary per mask: ``segmentation`` (compressed run-length encoding with
            ``size`` [height, width] and ``counts`` as a string), ``bbox`` of the mask (x, y, width,
            height in pixels), ``score``, its predicted IoU, and ``area`` (pixels).
        """
        return [
            {**coco_entry(mask), "score": float(iou)}
            for mask, iou in zip(self.masks, self.iou, strict=True)
        ]


class Clicker:
    """Answers clicks on encoded pictures.

    Args:
        call: calls the artifact's functions.
        on_image: those that take features of the picture.
        manifest: sizes and rules.
    """

    def __init__(
        self,
        call: Callable[..., tuple[NDArray[Any], ...]],
        on_image: ImageFunctions,
        manifest: Manifest,
    ) -> None:
        self._call = call
        self._on_image = on_image
        self._manifest = manifest
        self._side = 4 * manifest.sizes.grid

    def build(
        self, points: Any, point_labels: Any, box: Any, mask: Any, size: tuple[int, int]
    ) -> tuple[list[Click], bool]:
        """The objects of a call; see :func:`~sam3_tvm.runtime.clicks.prompts.build_clicks`.

        Raises:
            PromptError: clicks that cannot be used, or an artifact without the functions for any.
        """
        if self._manifest.clicks is None:
            raise PromptError(
                "this artifact is not for clicks: compile a checkpoint that holds SAM 3's tracker, "
                "with --tasks concepts,clicks"
            )
        most = self._manifest.components["prompt_encoder"].dims[CLICKS.name].max
        return build_clicks(points, point_labels, box, mask, size, side=self._side, most=most)

    def decode(
        self,
        features: Any,
        clicks: Sequence[Click],
        size: tuple[int, int],
        multimask: bool,
        picture: KeptPicture | None,
    ) -> list[ClickResult]:
        """Masks for objects of one picture.

        One object at a time: its few tokens look at the whole picture, so that a batch would
        take more to repeat the picture's features than it saves. And each gets the masks that it
        would get alone, whatever the number of the others' clicks.

        Raises:
            PromptError: a mask of logits so large that nothing comes of them.
        """
        rules = self._manifest.clicks
        assert rules is not None, "build refuses clicks then"
        results = []
        for click in clicks:
            sparse, dense = self._call("prompt_encoder", *click.inputs(size, self._side))
            # What follows, an artifact for video has: pointers, which pictures don't need.
            masks, iou, logit, *_ = self._on_image("click_decoder", features, sparse, dense)
            (chosen,), (scores,) = choose_masks(masks, iou, multimask, rules)
            score = float(sigmoid(logit.astype(np.float64))[0, 0])
            if click.mask is not None:
                _check_finite(score, scores, chosen)
            found = LazyMasks(size, chosen, self._resize)
            results.append(ClickResult(click, scores, score, found, picture))
        return results

    def _resize(self, logits: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.bool_]:
        (resized,) = self._call("resize_click_masks", logits, size)
        return resized
