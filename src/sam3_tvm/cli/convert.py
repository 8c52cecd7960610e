"""``sam3-tvm convert``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from sam3_tvm.cli.options import json_option, output_option
from sam3_tvm.cli.paths import local_path, named_path
from sam3_tvm.cli.terminal import reporting, say, say_json
from sam3_tvm.errors import as_argument
from sam3_tvm.extras import needed

__all__ = ["command"]


def command(
    checkpoint: Annotated[
        str,
        typer.Argument(
            help="Meta's sam3.pt, a folder in Hugging Face's layout, or a hub id such as "
            "facebook/sam3.",
            metavar="CHECKPOINT",
        ),
    ],
    output: Annotated[Path, output_option("The folder to write.", "DIR")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="config.json of transformers, for a sam3.pt of other sizes than SAM 3's.",
            metavar="FILE",
            parser=named_path,
        ),
    ] = None,
    as_json: Annotated[bool, json_option("Print a JSON document.")] = False,
) -> None:
    """Write Meta's checkpoint as transformers', or transformers' as Meta's.

    sam3.pt becomes a folder with config.json, model.safetensors and tokenizer.json; such a folder
    becomes one with sam3.pt. Both can be compiled. The tracker goes along if it is whole. Values
    aren't changed. Each tensor is accounted for: what is missing or unknown is an error. Tokenizers
    come from beside sam3.pt (tokenizer.json, or CLIP's bpe_simple_vocab_16e6.txt.gz), else from
    an installed sam3 or open_clip.

    [bold]Examples[/bold]

    sam3-tvm convert sam3.pt -o sam3-transformers
    sam3-tvm convert facebook/sam3 -o sam3-meta
    """
    local_path(checkpoint)  # a hub id or a path, and no URL
    with needed("compile", "converting"):
        from sam3_tvm.sources.convert import convert

    with reporting() as progress:
        done = convert(checkpoint, output, config=config, progress=progress)
    if as_json:
        say_json({**asdict(done), "path": str(done.path)})
        return
    say(
        f"{done.path}: {done.tensors} tensors, {done.parameters / 1e6:.1f} million parameters, "
        f"as {done.format} names them"
    )
    for what, names in (
        ("of a tracker that isn't whole, left out", done.tracker),
        ("without a counterpart, left out", done.left_out),
        ("computed by the model, left out", done.computed),
    ):
        if names:
            say(f"{len(names)} {what}, such as {names[0]}")
    for line in done.filled:
        say(line)
    say(f"next: sam3-tvm compile {as_argument(done.path)} -o sam3-cpu")
