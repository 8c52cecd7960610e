"""``sam3-tvm demo``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sam3_tvm.assets import demonstration
from sam3_tvm.cli.options import output_option
from sam3_tvm.cli.terminal import say
from sam3_tvm.errors import MissingExtraError
from sam3_tvm.extras import missing

__all__ = ["command"]


def command(
    context: typer.Context,
    output: Annotated[
        Path, output_option("The folder for the artifact (shapes) and the pictures (demo).", "DIR")
    ] = Path("out"),
) -> None:
    """Compile the demonstration model, segment three pictures and follow a film with it.

    Runs the commands that it prints. The model and the pictures come with the package. Compiling
    needs the extra \\[compile], the film \\[video], without which it is left out.

    [bold]Examples[/bold]

    sam3-tvm demo
    sam3-tvm demo -o /tmp/shapes-demo
    """
    if lacking := missing("compile"):
        raise MissingExtraError(
            f"the demonstration compiles a model, and {lacking[0]}, which that needs, "
            "is not installed: pip install 'sam3-tvm[demo]'"
        )
    checkpoint, examples = demonstration()
    artifact, found = output / "shapes", output / "demo"

    def run(*arguments: str | Path) -> None:
        """One command, as a shell would be given it; ends this one, too, where it fails."""
        words = [f"{word}" for word in arguments]
        say(f"$ sam3-tvm {shlex.join(words)}")
        code = context.find_root().command.main(words, prog_name="sam3-tvm", standalone_mode=False)
        if code:
            raise typer.Exit(code)

    run("compile", checkpoint, "-o", artifact)
    run("segment", artifact, examples / "hexagons.jpg", "--text", "green hexagons", "-o", found)
    run("segment", artifact, examples / "stars.jpg", "--box", "64,20,180,133", "-o", found)
    negative = ("--negative-box", "320,41,374,96")
    run("segment", artifact, examples / "outlines.jpg", "--text", "hexagon", *negative, "-o", found)
    lacking = missing("video")
    if not lacking:
        film = examples / "film.mp4"
        outputs = ("-o", found / "film.mp4", "-o", found / "film.png")
        run("track", artifact, film, "--text", "red star", *outputs)
    say("")
    say(
        f"The pictures: {found / 'hexagons.png'} (a phrase), {found / 'stars.png'} (a box around "
        f"one), {found / 'outlines.png'} (a phrase, and a box around what is not meant)."
    )
    if lacking:
        say(
            f"The film is left out, since {' and '.join(lacking)} "
            f"{'is' if len(lacking) == 1 else 'are'} missing: "
            "pip install 'sam3-tvm[video]'"
        )
    else:
        say(f"The film: {found / 'film.mp4'}, and {found / 'film.png'} (twelve of its frames).")
