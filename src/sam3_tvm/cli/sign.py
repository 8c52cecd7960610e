"""``sam3-tvm sign``."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated

import typer

from sam3_tvm.cli.options import ArtifactFolder
from sam3_tvm.cli.paths import named_path
from sam3_tvm.cli.terminal import say
from sam3_tvm.errors import as_argument, one_line

__all__ = ["command"]

_PASSWORD = "SAM3_TVM_KEY_PASSWORD"


def command(
    artifact: ArtifactFolder,
    key: Annotated[
        Path,
        typer.Option(help="The file of minisign's secret key.", metavar="FILE", parser=named_path),
    ],
    new_key: Annotated[
        bool,
        typer.Option(
            "--new-key", help="Make the key first, and FILE.pub, for those who check signatures."
        ),
    ] = False,
) -> None:
    """Sign an artifact, so that others can ask for your signature before they load it.

    Checks every file, then writes manifest.json.minisig. The key's password is asked
    for, or taken from SAM3_TVM_KEY_PASSWORD; empty for a key without one. verify
    --integrity --key checks the signature, load(require_signature=...) and
    SAM3_TVM_SIGNED_BY do before any code is loaded. Needs the extra \\[sign].

    [bold]Examples[/bold]

    sam3-tvm sign sam3-cpu --key maker.key --new-key
    sam3-tvm sign sam3-cpu --key maker.key
    """
    from sam3_tvm import artifact as artifacts
    from sam3_tvm import signing
    from sam3_tvm.json_file import read_regular

    # Whoever signs asks for no signature yet.
    opened = artifacts.open(artifact, integrity="full", environment={})
    if new_key:
        public = signing.new_key(key, _password(twice=True))
        say(f"{key}: the secret key, to be kept; {public}: the public one, to be handed out")
    made = opened.manifest
    comment = f"sam3-tvm {made.sam3_tvm}, {made.source.checkpoint} for {made.target.level}"
    raw = read_regular(opened.path / artifacts.MANIFEST)
    if hashlib.sha256(raw).hexdigest() != opened.fingerprint:
        raise artifacts.ArtifactError(f"{opened.path}: was changed while it was being checked")
    comment = one_line(comment)[:200]
    signing.sign(opened.path, raw, key, comment, lambda: _password(twice=False))
    say(f"signed {opened.path}: {comment}")
    say(f"next: sam3-tvm verify {as_argument(opened.path)} --integrity --key PUBLIC-KEY")


def _password(twice: bool) -> str:
    given = os.environ.get(_PASSWORD)
    if given is not None:
        return given
    return str(
        typer.prompt(
            "password of the key",
            default="",
            show_default=False,
            hide_input=True,
            confirmation_prompt=twice,
            err=True,
        )
    )
