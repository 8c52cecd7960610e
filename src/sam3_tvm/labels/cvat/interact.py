"""An interaction function for an agent of cvat-cli: a click, or a box, becomes a mask.

``cvat-cli function run-agent ID --function-module sam3_tvm.labels.cvat.interact
-p artifact=str:sam3-cpu``. The agent keeps the encoded picture between clicks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam3_tvm.extras import needed
from sam3_tvm.labels.cvat.masks import encode
from sam3_tvm.runtime import EncodedImage, Model, load

with needed("cvat", "a function for CVAT"):
    import cvat_sdk.auto_annotation as cvat
    import cvat_sdk.models as models

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Interactor", "create"]


class Interactor:
    """An interaction function, as cvat-sdk has it.

    Args:
        model: that is clicked on.

    Attributes:
        spec: what it takes, for the SDK: points on and beside the object, a box, or both.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self.spec = cvat.InteractionFunctionSpec(
            min_pos_points=0, min_neg_points=0, min_bounding_boxes=0
        )

    def preprocess_image(
        self, context: cvat.InteractionFunctionContext, image: Image
    ) -> EncodedImage:
        """Encode a picture, for any number of clicks."""
        return self._model.encode_image(image)

    def detect(
        self,
        context: cvat.InteractionFunctionContext,
        pp_image: EncodedImage,
        prompts: cvat.InteractionPrompts,
    ) -> list[cvat.InteractionResultShape]:
        """The best mask, with its score as its confidence; nothing if it is empty.

        Raises:
            PromptError: clicks that cannot be used, such as none at all.
        """
        points = [*prompts.pos_points, *prompts.neg_points]
        labels = [1] * len(prompts.pos_points) + [0] * len(prompts.neg_points)
        box = prompts.bounding_box
        result = self._model.click(
            pp_image, points or None, labels or None, None if box is None else [*box[0], *box[1]]
        )
        assert not isinstance(result, list), "one object was asked for"
        mask = result.masks[result.best]
        if not mask.any():
            return []
        score = models.AttributeValRequest(
            spec_id=cvat.InteractionResultAttributes.CONFIDENCE.value,
            value=f"{float(result.iou[result.best]):.4f}",
        )
        shape = cvat.InteractionResultShape(type="mask", points=encode(mask), attributes=[score])
        return [shape]


def create(artifact: str, threads: int | None = None) -> Interactor:
    """What cvat-cli calls, with what ``-p`` gives.

    Args:
        artifact: its folder, with the task of clicks.
        threads: by default as many as the artifact runs on.

    Raises:
        ArtifactError: an artifact that cannot be loaded.
    """
    return Interactor(load(artifact, threads=threads))
