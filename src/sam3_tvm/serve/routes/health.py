"""Whether the server lives, answers, what it can do, and what it counted."""

from __future__ import annotations

from dataclasses import asdict
from importlib import metadata

from fastapi import APIRouter, Response

from sam3_tvm.serve.forms.answered import Health, Info, Working
from sam3_tvm.serve.metrics import MEDIA_TYPE
from sam3_tvm.serve.problems import Problem
from sam3_tvm.serve.routes.common import ServiceOf, problems
from sam3_tvm.serve.turns import Kind

__all__ = ["router"]

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Whether the server lives")
async def healthz() -> Health:
    """Always, as long as it answers."""
    return Health(status="ok")


@router.get("/readyz", summary="Whether requests are answered", responses=problems(503))
async def readyz(service: ServiceOf) -> Health:
    """Not while the model is being loaded, nor when the server is about to end."""
    if service.draining:
        raise Problem(503, "the server is about to end")
    service.check_loaded()
    return Health(status="ready")


@router.get("/v1", summary="What the server can do", responses=problems(401, 503))
async def info(service: ServiceOf) -> Info:
    """And how long that takes: what a client tells who waits for it."""
    turns = service.turns
    kinds = {
        kind.value: Working(seconds=turns.seconds(kind), under_way=turns.under_way(kind))
        for kind in Kind
    }
    return Info(
        version=metadata.version("sam3-tvm"),
        tasks=list(service.model.manifest.sizes.tasks),
        kinds=kinds,
        limits=asdict(service.limits),
    )


@router.get(
    "/metrics",
    summary="What was counted, for Prometheus",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}, **problems(401)},
)
async def metrics(service: ServiceOf) -> Response:
    """In Prometheus' text format."""
    return Response(service.metrics.text(), media_type=MEDIA_TYPE)
