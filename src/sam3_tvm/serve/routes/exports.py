"""Results in formats of datasets."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sam3_tvm.serve.exports import ExportFormat
from sam3_tvm.serve.forms.asked import AskExport
from sam3_tvm.serve.presence import answered
from sam3_tvm.serve.routes.common import ServiceOf, problems

__all__ = ["router"]

router = APIRouter(prefix="/v1/export", tags=["exports"])


@router.post(
    "/{form}",
    summary="Write results in a dataset's format",
    response_class=Response,
    responses={
        200: {"content": {one.media_type.partition(";")[0]: {} for one in ExportFormat}},
        **problems(400, 401, 406, 408, 413, 415, 422, 429, 503, 507),
    },
)
async def export(
    form: ExportFormat, asked: AskExport, request: Request, service: ServiceOf
) -> Response:
    """Results as `segment` and `click` give them, or those of them that somebody chose.

    `coco`: annotations.json. `yolo`: the lines of a label file, for segmentation; `yolo.zip` has
    data.yaml, too. `geojson`: outlines, in pixels. `png`: each object's number in its pixels. They
    are written as `sam3-tvm annotate` writes them.
    """
    with service.exporting.place():
        work = service.export(asked, form)
        content = await answered(request, work, service.limits.seconds)
    return Response(content, media_type=form.media_type)
