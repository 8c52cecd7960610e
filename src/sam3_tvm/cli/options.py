"""Arguments and options that several commands have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sam3_tvm.cli.paths import local_path, named_path

__all__ = [
    "ArtifactFolder",
    "JsonForAll",
    "JsonForTables",
    "Threads",
    "json_option",
    "output_option",
]


def json_option(says: str) -> Any:
    """The option ``--json``, with its help."""
    return typer.Option("--json", help=says)


def output_option(says: str, metavar: str) -> Any:
    """The option ``-o`` or ``--output``, with its help."""
    return typer.Option("-o", "--output", help=says, metavar=metavar, parser=named_path)


ArtifactFolder = Annotated[
    Path, typer.Argument(help="The artifact's folder.", metavar="DIR", parser=local_path)
]

Threads = Annotated[
    int | None,
    typer.Option(min=1, help="Threads to compute with; by default every core.", metavar="N"),
]

JsonForTables = Annotated[bool, json_option("Print one JSON document instead of tables.")]

JsonForAll = Annotated[bool, json_option("Print one JSON document instead.")]
