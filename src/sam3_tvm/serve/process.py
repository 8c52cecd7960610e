"""The server as a process: its socket, its signals, and its end."""

from __future__ import annotations

import logging
import signal
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI
from PIL import Image

from sam3_tvm import system
from sam3_tvm.errors import UsageError
from sam3_tvm.runtime import Model, PhraseWarning
from sam3_tvm.serve.app import create_app
from sam3_tvm.serve.gate import Access
from sam3_tvm.serve.label_studio.sources import Sources
from sam3_tvm.serve.limits import Limits

__all__ = ["listening", "serve"]

_BACKLOG = 128

# Of the seconds in which what runs is finished, those that are left for films to say that they are
# not: a share, and at most so many.
_SAYING, _MOST_SAYING = 0.2, 5.0


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 lets the system choose.

    Raises:
        UsageError: the port is in use, or the host is none of this machine's.
    """
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:  # the latter of a name that no host can have
        # Python adds the address in brackets, which the line has already.
        said = getattr(error, "strerror", None) or "no host has such a name"
        reason = said.partition(" (while ")[0].lower()
        raise UsageError(
            f"{host}:{port} cannot be listened on ({reason}): choose another with --port or "
            "--host; --port 0 takes a free one"
        ) from error


def serve(
    load: Callable[[], Model],
    listener: socket.socket,
    limits: Limits,
    access: Access,
    ready: Callable[[str], None],
    stopping: Callable[[], None],
    grace: float,
    labels: Sources | None = None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP; then finish what runs, and return.

    Args:
        load: gives the model.
        listener: as :func:`listening` gives it; closed here.
        limits: what is taken.
        access: who may ask.
        ready: told the URL when the model is there.
        stopping: told when a signal came.
        grace: seconds in which what runs is finished then.
        labels: where pictures of Label Studio's tasks come from.

    Raises:
        Exception: what ``load`` raises.
    """
    # A broken form is its client's, who is told.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    # Answers say what was read of a phrase.
    warnings.filterwarnings("ignore", category=PhraseWarning)
    # The library's own limit, which is Pillow's for the process.
    Image.MAX_IMAGE_PIXELS = limits.pixels // 2
    faults: list[Exception] = []

    def loaded(fault: Exception | None) -> None:
        if fault is None:
            ready(_url(listener))
        else:
            faults.append(fault)
            server.should_exit = True

    app = create_app(load, limits, access, labels=labels, loaded=loaded, warm_up=True)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=round(grace),
    )
    server = _Server(config, app, stopping)
    with listener:
        server.run(sockets=[listener])
    if faults:
        raise faults[0]


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Ends by itself after a signal; uvicorn's own would die of it when all is done."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._stopping = stopping

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # What a parent has ignored (nohup) stays so.
        heard = system.asks_for_an_end()
        numbers = [n for n in heard if signal.getsignal(n) != signal.SIG_IGN]
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            if (service := getattr(self._app.state, "service", None)) is not None:
                grace = self.config.timeout_graceful_shutdown or 0
                service.drain(grace - min(_SAYING * grace, _MOST_SAYING))
            self._stopping()
        super().handle_exit(sig, frame)
