"""Before a request is looked at: who may ask, how much may come, and what is counted."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sam3_tvm.serve.label_studio import routes as label_studio
from sam3_tvm.serve.problems import Problem, answer
from sam3_tvm.serve.routes import cvat
from sam3_tvm.serve.service import Service

__all__ = ["Access", "Gate", "is_local"]

# What an orchestrator asks, and the page, whose script asks for the token.
_OPEN = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})

# The page's own files.
_PAGE = "/page/"


def is_local(host: str) -> bool:
    """Whether a host's name or address is this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: that requests have to bring; None for none.
        local: whether the server is for this machine alone. Then names of other machines in
            ``Host``, which a page of another site can lead here (DNS rebinding), and requests
            that such a page makes are refused.
    """

    token: str | None = None
    local: bool = True

    def check(self, path: str, headers: Headers) -> None:
        """Let a request pass.

        Raises:
            Problem: 401, 403 or 421.
        """
        if self.local:
            self._check_host(headers)
        if self.token is not None and path not in _OPEN and not path.startswith(_PAGE):
            given = headers.get("authorization", "")
            if not hmac.compare_digest(_token(given).encode(), self.token.encode()):
                raise Problem(
                    401,
                    "this server asks for its token: Authorization: Bearer TOKEN",
                    headers={"WWW-Authenticate": "Bearer"},
                )

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        if not is_local(_split(f"//{host}")[0] or ""):
            raise Problem(421, "this server is for its own machine: ask for it as 127.0.0.1")
        origin = headers.get("origin")
        foreign = origin is not None and _split(origin)[1] != host.lower()
        if foreign or headers.get("sec-fetch-site") == "cross-site":
            raise Problem(403, "this server takes no requests of other sites' pages")


def _token(authorization: str) -> str:
    """The token, also as the password of whichever user: Label Studio knows no other way."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(given.strip(), validate=True).decode().partition(":")[2]
        except ValueError:
            return ""
    return ""


def _split(url: str) -> tuple[str | None, str]:
    """A URL's host, without and with its port, in lower case."""
    try:
        parts = urlsplit(url)
        return parts.hostname, parts.netloc.lower()
    except ValueError:
        return None, ""


class Gate:
    """ASGI middleware.

    Args:
        app: what is behind it.
        service: gives the service.
        access: who may ask.
    """

    def __init__(self, app: ASGIApp, service: Callable[[], Service], access: Access) -> None:
        self._app = app
        self._service = service
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, headers = self._service(), Headers(scope=scope)
        begun, status = time.perf_counter(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._access.check(scope["path"], headers)
            bounded = _Body(receive, headers, _most(scope["path"], service), service.limits.seconds)
            await self._app(scope, bounded, counted)
        except Problem as problem:
            await answer(problem)(scope, receive, counted)
        finally:
            # The route's pattern: whatever is asked for, there are few of them.
            route = getattr(scope.get("route"), "path", "other")
            service.metrics.requests.labels(route, _method(scope), f"{status}").inc()
            service.metrics.seconds.labels(route).observe(time.perf_counter() - begun)


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
    return scope["method"] if scope["method"] in known else "other"


def _most(path: str, service: Service) -> int:
    """Bytes that a request of this path may bring."""
    limits = service.limits
    if path.startswith("/v1/videos/") and path.endswith("/draw"):
        return limits.lines_bytes
    most = {"/v1/images": limits.picture_bytes, "/v1/videos": limits.film_bytes}
    # A picture in base64, and what is asked about it.
    whole = limits.picture_bytes * 4 // 3 + limits.json_bytes
    most |= dict.fromkeys((cvat.PATH, label_studio.PREDICT), whole)
    return most.get(path, limits.json_bytes)


class _Body:
    """A request's body, no larger and no slower than it may be.

    Raises:
        Problem: an encoding of the content (415), too large as it is announced or comes (413), or
            too slow (408).
    """

    def __init__(self, receive: Receive, headers: Headers, most: int, seconds: float) -> None:
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem(415, "send it as it is, without a Content-Encoding")
        announced = headers.get("content-length", "")
        self._receive = receive
        self._most = most
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._came = 0
        self._whole = False
        if announced.isascii() and announced.isdigit() and int(announced[:20]) > most:
            raise self._too_large()

    async def __call__(self) -> Message:
        if self._whole:  # what comes then is that the client goes
            return await self._receive()
        try:
            left = max(0.0, self._end - time.monotonic())
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError as error:
            raise Problem(
                408, f"the request took longer than {self._seconds:g} s to come in"
            ) from error
        if message["type"] == "http.request":
            self._came += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._came > self._most:
                raise self._too_large()
        return message

    def _too_large(self) -> Problem:
        return Problem(413, f"the request has more than the {self._most:,} bytes that are taken")
