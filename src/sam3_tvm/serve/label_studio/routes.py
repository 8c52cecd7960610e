"""The routes that Label Studio asks a model for: ``/health``, ``/setup`` and ``/predict``."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from sam3_tvm.serve.forms.fields import EXAMPLE_PNG
from sam3_tvm.serve.label_studio.predicting import predicted, version
from sam3_tvm.serve.label_studio.sources import Sources
from sam3_tvm.serve.presence import answered
from sam3_tvm.serve.routes.common import ServiceOf, problems

__all__ = ["PREDICT", "PREFIX", "router"]

PREFIX = "/label-studio"
PREDICT = f"{PREFIX}/predict"

router = APIRouter(prefix=PREFIX, tags=["Label Studio"])


# Label Studio adds fields with its versions: those that aren't known are left alone.
class AskSetup(BaseModel):
    """What Label Studio sends when a project connects; its token and host are not used."""

    label_schema: str = Field(alias="schema", default="")

    model_config = ConfigDict(json_schema_extra={"examples": [{"schema": "<View></View>"}]})


class Task(BaseModel):
    """A task of Label Studio's."""

    id: int | None = None
    data: dict[str, Any]


class Params(BaseModel):
    """What goes with a prediction."""

    context: dict[str, Any] | None = Field(
        description="What the labeller has drawn; then one task is sent.", default=None
    )


class AskPredict(BaseModel):
    """What Label Studio asks."""

    tasks: list[Task] = Field(max_length=1024)
    label_config: str = Field(max_length=1 << 20)
    params: Params = Params()

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tasks": [{"id": 1, "data": {"image": f"data:image/png;base64,{EXAMPLE_PNG}"}}],
                    "label_config": '<View><Image name="image" value="$image"/>'
                    '<BrushLabels name="brush" toName="image"><Label value="Dog"/></BrushLabels>'
                    "</View>",
                }
            ]
        }
    )


def _sources(request: Request) -> Sources:
    sources: Sources = request.app.state.label_studio
    return sources


@router.get("/health", summary="Whether predictions are made", responses=problems(401, 503))
async def health(service: ServiceOf) -> dict[str, str]:
    """In Label Studio's words."""
    service.check_loaded()
    return {"status": "UP", "model_class": f"sam3-tvm {metadata.version('sam3-tvm')}"}


@router.post("/setup", summary="Connect a project", responses=problems(400, 401, 422, 503))
async def setup(asked: AskSetup, service: ServiceOf) -> dict[str, str]:
    """The version of the model, by which Label Studio knows its predictions."""
    return {"model_version": version(service.model)}


@router.post("/webhook", summary="Nothing is learnt", responses=problems(401))
async def webhook() -> dict[str, str]:
    """Label Studio tells of every annotation; this model isn't trained by it."""
    return {"status": "ok"}


@router.post(
    "/predict",
    summary="Predict tasks, or answer a labeller",
    responses=problems(400, 401, 404, 408, 413, 415, 422, 429, 502, 503),
)
async def predict(
    asked: AskPredict,
    request: Request,
    service: ServiceOf,
    sources: Annotated[Sources, Depends(_sources)],
) -> dict[str, Any]:
    """Without a context, every label of the configuration is looked for. With one, key points and
    boxes are clicks on one object, and a text is looked for.
    """
    tasks = [(one.id, one.data) for one in asked.tasks]
    work = predicted(service, sources, asked.label_config, tasks, asked.params.context)
    return {"results": await answered(request, work, service.limits.seconds)}
