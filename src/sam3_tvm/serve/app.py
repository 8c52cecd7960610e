"""The application: routes behind the gate, around one service."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import metadata
from typing import Any

from fastapi import FastAPI

from sam3_tvm.runtime import Model
from sam3_tvm.serve.gate import Access, Gate
from sam3_tvm.serve.label_studio import routes as label_studio
from sam3_tvm.serve.label_studio.sources import Sources
from sam3_tvm.serve.limits import Limits
from sam3_tvm.serve.problems import MEDIA_TYPE, handle_problems
from sam3_tvm.serve.routes import cvat, exports, health, page, pictures, videos
from sam3_tvm.serve.service import Service

__all__ = ["create_app"]

_PROBLEM = {"$ref": "#/components/schemas/ProblemAnswer"}

_ABOUT = """SAM 3 compiled with Apache TVM, over HTTP. Send a picture to `/v1/images`, then ask
about it by its id: `segment` finds what phrases name or looks like examples, `click` the object
that is clicked. Send a film to `/v1/videos`, and `track` follows objects through it. Errors are
`application/problem+json` (RFC 9457); `detail` is one line."""


def create_app(
    load: Callable[[], Model],
    limits: Limits | None = None,
    access: Access | None = None,
    *,
    labels: Sources | None = None,
    loaded: Callable[[Exception | None], None] | None = None,
    warm_up: bool = False,
) -> FastAPI:
    """An ASGI application.

    Args:
        load: gives the model; called on a thread when the application starts.
        limits: what is taken.
        access: who may ask; by default this machine alone.
        labels: where pictures of Label Studio's tasks come from; without it this is no backend of
            one.
        loaded: told when the model is there, or why it isn't; by default the latter is logged.
        warm_up: encode a picture before requests are answered; see :meth:`Service.load`.

    Returns:
        The application. ``app.state.service`` is what it holds, from its start on.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(limits or Limits())
        loading = asyncio.create_task(_load(service, load, loaded or _log, warm_up))
        try:
            yield
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError):
                await loading
            await service.close()

    app = _Described(
        title="sam3-tvm",
        summary="Segment anything with concepts",
        description=_ABOUT,
        version=metadata.version("sam3-tvm"),
        lifespan=lifespan,
        # Their pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
    )
    handle_problems(app)
    for routes in (pictures, videos, exports, cvat, health, page):
        app.include_router(routes.router)
    if labels is not None:
        app.state.label_studio = labels
        app.include_router(label_studio.router)
    app.add_middleware(Gate, service=lambda: app.state.service, access=access or Access())
    return app


class _Described(FastAPI):
    """Describes problems under their media type; FastAPI has no word for another than a route's."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            operations = (
                one for path in super().openapi()["paths"].values() for one in path.values()
            )
            for operation in operations:
                for status, told in operation["responses"].items():
                    if status >= "400":
                        told["content"] = {MEDIA_TYPE: {"schema": _PROBLEM}}
        assert self.openapi_schema is not None
        return self.openapi_schema


async def _load(
    service: Service,
    load: Callable[[], Model],
    loaded: Callable[[Exception | None], None],
    warm_up: bool,
) -> None:
    try:
        await service.load(load, warm_up)
    except Exception as error:  # whatever it is, who waits for the model is told
        loaded(error)
    else:
        loaded(None)


def _log(fault: Exception | None) -> None:
    if fault is not None:
        logging.getLogger(__name__).error("the model cannot be loaded", exc_info=fault)
