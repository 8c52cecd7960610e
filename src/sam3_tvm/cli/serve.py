"""``sam3-tvm serve``."""

from __future__ import annotations

import math
import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sam3_tvm.cli.options import ArtifactFolder, Threads
from sam3_tvm.cli.terminal import complain, say
from sam3_tvm.errors import UsageError
from sam3_tvm.extras import needed

__all__ = ["command"]

_TOKEN = "SAM3_TVM_TOKEN"

# As Label Studio's own backends have it.
_KEY = "LABEL_STUDIO_API_KEY"

_MIB = 1 << 20


def command(
    artifact: ArtifactFolder,
    host: Annotated[
        str,
        typer.Option(
            help="The address to listen on. One that other machines reach needs --token or "
            "--no-auth.",
            metavar="HOST",
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port; 0 takes a free one.", metavar="PORT", min=0, max=65535)
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            help="Requests have to bring it: Authorization: Bearer TOKEN. Others on this machine "
            f"see what is typed here; {_TOKEN} in the environment does the same.",
            metavar="TOKEN",
        ),
    ] = None,
    no_auth: Annotated[
        bool,
        typer.Option("--no-auth", help="Let whoever reaches the server use it."),
    ] = False,
    cache: Annotated[
        int,
        typer.Option(help="Memory for encoded pictures, MiB.", metavar="MIB", min=1),
    ] = 2048,
    queue: Annotated[
        int,
        typer.Option(
            help="Clicks, phrases, and new pictures that may be under way, each; one more is "
            "answered with 429.",
            metavar="N",
            min=1,
        ),
    ] = 32,
    max_bytes: Annotated[
        int, typer.Option(help="Of a picture's file, MiB.", metavar="MIB", min=1)
    ] = 32,
    max_pixels: Annotated[
        int, typer.Option(help="Of a picture, or a film's frame.", metavar="N", min=1)
    ] = 50_000_000,
    max_prompts: Annotated[
        int, typer.Option(help="Phrases, boxes and points of one request.", metavar="N", min=1)
    ] = 64,
    max_film: Annotated[
        int, typer.Option(help="Of a film's file, MiB.", metavar="MIB", min=1)
    ] = 512,
    max_films: Annotated[int, typer.Option(help="That are kept.", metavar="N", min=1)] = 8,
    max_frames: Annotated[
        int, typer.Option(help="That one request passes.", metavar="N", min=1)
    ] = 10_000,
    timeout: Annotated[
        float,
        typer.Option(
            help="Seconds for a request to come in, again to be answered, and to finish in after "
            "SIGTERM.",
            metavar="SECONDS",
            min=1,
            max=86_400,
        ),
    ] = 300.0,
    label_studio: Annotated[
        str | None,
        typer.Option(
            help="Be an ML backend of the Label Studio at URL, under /label-studio; pictures of "
            f"its tasks are read from it, with the access token in {_KEY}.",
            metavar="URL",
        ),
    ] = None,
    label_studio_files: Annotated[
        Path | None,
        typer.Option(
            help="Be one, and read its local files from FOLDER, its LOCAL_FILES_DOCUMENT_ROOT.",
            metavar="FOLDER",
        ),
    ] = None,
    threads: Threads = None,
) -> None:
    """Serve a page for the browser, and answer programs over HTTP.

    In a browser, things in pictures and films are found, clicked and followed at
    its address; programs ask the same by requests. One model serves all.

    A picture is sent once and encoded once; then it is asked about by its id.
    Clicks pass ahead of phrases, and these ahead of new pictures and films.

    SIGTERM or Ctrl-C ends it: what runs is finished and answered, nothing else
    is taken. /openapi.json describes all of it, /metrics is for Prometheus.

    [bold]Examples[/bold]

    sam3-tvm serve sam3-cpu
    sam3-tvm serve sam3-cpu --port 0 --cache 8192
    sam3-tvm serve sam3-cpu --label-studio http://localhost:8080
    SAM3_TVM_TOKEN=$(openssl rand -hex 32) sam3-tvm serve sam3-cpu --host 0.0.0.0
    """
    with needed("serve", "serve"):
        from sam3_tvm.serve.gate import Access, is_local
        from sam3_tvm.serve.label_studio.sources import Sources, check_url
        from sam3_tvm.serve.limits import Limits
        from sam3_tvm.serve.process import listening, serve

    token = token if token is not None else os.environ.get(_TOKEN)
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise UsageError(
            f"--token and {_TOKEN} take printable ASCII without spaces, such as "
            "`openssl rand -hex 32` gives"
        )
    if token is not None and no_auth:
        raise UsageError("--token and --no-auth: give one of them")
    local = is_local(host)
    if not local and token is None and not no_auth:
        raise UsageError(
            f"--host {host} lets other machines in: give --token TOKEN (or {_TOKEN} in the "
            "environment), which they have to bring, or --no-auth"
        )
    if math.isnan(timeout):  # which is within any range for typer
        raise UsageError("--timeout is a number of seconds from 1 to 86400, not nan")
    labels = None
    if label_studio_files is not None and not label_studio_files.is_dir():
        raise UsageError(f"--label-studio-files {label_studio_files}: no such folder")
    if label_studio is not None or label_studio_files is not None:
        url = None if label_studio is None else check_url(label_studio)
        labels = Sources(url, os.environ.get(_KEY), label_studio_files)
    limits = Limits(
        picture_bytes=max_bytes * _MIB,
        pixels=max_pixels,
        prompts=max_prompts,
        encoded_bytes=cache * _MIB,
        waiting=queue,
        seconds=timeout,
        film_bytes=max_film * _MIB,
        films=max_films,
        frames=max_frames,
    )
    listener = listening(host, port)
    import sam3_tvm

    def ready(url: str) -> None:
        bearer = ' -H "Authorization: Bearer $TOKEN"' if token is not None else ""
        say(f"serving {artifact} at {url} (Ctrl-C ends it); from a picture to a mask:")
        send = f"curl -s{bearer} -F file=@photo.jpg {url}/v1/images"
        say(f"  id=$({send} | grep -o '[0-9a-f]\\{{64\\}}')")
        say(
            f"  curl -s{bearer} -H 'Accept: image/png' --json '{{\"phrases\": [\"dog\"]}}' "
            f"{url}/v1/images/$id/segment -o mask.png"
        )
        say(f"or open {url} in a browser")
        if labels is not None:
            say(f"for Label Studio (Settings, Model, Connect Model): {url}/label-studio")

    serve(
        partial(sam3_tvm.load, artifact, threads=threads),
        listener,
        limits,
        Access(token, local and token is None),
        ready,
        lambda: complain("stopping when what runs is answered; Ctrl-C again to stop at once"),
        timeout,
        labels,
    )
