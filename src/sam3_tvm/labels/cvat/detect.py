"""An auto-annotation function for cvat-cli: what phrases name becomes masks or polygons.

``cvat-cli task auto-annotate ID --function-module sam3_tvm.labels.cvat.detect
-p artifact=str:sam3-cpu -p text=str:dog,cat``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam3_tvm.errors import UsageError
from sam3_tvm.extras import needed
from sam3_tvm.labels.cvat.masks import encode
from sam3_tvm.labels.outlines import mask_outlines
from sam3_tvm.runtime import Model, load

with needed("cvat", "a function for CVAT"):
    import cvat_sdk.auto_annotation as cvat

if TYPE_CHECKING:
    from cvat_sdk.models import LabeledShapeRequest
    from PIL.Image import Image

__all__ = ["Detector", "create"]

_THRESHOLD = 0.5


class Detector:
    """A detection function, as cvat-sdk has it.

    Args:
        model: that finds.
        labels: the phrase for each label.
        threshold: where whoever calls gives none: objects with a higher score are kept.

    Attributes:
        spec: the labels, for the SDK.
    """

    def __init__(self, model: Model, labels: dict[str, str], threshold: float = _THRESHOLD) -> None:
        self._model = model
        self._phrases = list(labels.values())
        self._threshold = threshold
        # Masks, or what they are converted to, go into labels of either type.
        self.spec = cvat.DetectionFunctionSpec(
            labels=[cvat.label_spec(name, number) for number, name in enumerate(labels)]
        )

    def detect(
        self, context: cvat.DetectionFunctionContext, image: Image
    ) -> list[LabeledShapeRequest]:
        """All objects of every phrase, best first: a mask each, or where CVAT asks for polygons
        one for each part of it, without holes.

        Raises:
            Sam3Error: a phrase that cannot be used.
        """
        threshold = self._threshold if context.conf_threshold is None else context.conf_threshold
        shapes = []
        for number, result in enumerate(
            self._model.segment(image, self._phrases, threshold=threshold)
        ):
            for one in result:
                mask = one.masks[0]
                if not mask.any():
                    continue
                if context.conv_mask_to_poly:
                    rings = mask_outlines(mask, "cvat")
                    shapes += [cvat.polygon(number, ring.ravel().tolist()) for ring in rings]
                else:
                    shapes.append(cvat.mask(number, encode(mask)))
        return shapes


def create(
    artifact: str, text: str, threshold: float = _THRESHOLD, threads: int | None = None
) -> Detector:
    """What cvat-cli calls, with what ``-p`` gives.

    Args:
        artifact: its folder.
        text: labels, with commas between them; ``label=phrase`` where what is looked for is
            called otherwise.
        threshold: objects with a higher score are kept, 0 to 1.
        threads: by default as many as the artifact runs on.

    Raises:
        UsageError: no labels, or one twice.
        ArtifactError: an artifact that cannot be loaded.
    """
    pairs = [one.partition("=") for one in text.split(",") if one.strip()]
    labels = {name.strip(): (phrase or name).strip() for name, _, phrase in pairs}
    if not labels or len(labels) < len(pairs) or not all((*labels, *labels.values())):
        raise UsageError(
            f"text={text!r}: labels are taken, each once, with commas between them, such as "
            "dog,vehicle=red car"
        )
    return Detector(load(artifact, threads=threads), labels, threshold)
