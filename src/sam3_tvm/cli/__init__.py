"""The command line. A command parses and prints; the work is done by the package's functions."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sam3_tvm.cli.annotate.command import command as _annotate
from sam3_tvm.cli.bench import command as _bench
from sam3_tvm.cli.click import command as _click
from sam3_tvm.cli.compile import command as _compile
from sam3_tvm.cli.convert import command as _convert
from sam3_tvm.cli.demo import command as _demo
from sam3_tvm.cli.doctor import command as _doctor
from sam3_tvm.cli.ending import INTERRUPTED, Ended, end_in_native_code, end_on_signals
from sam3_tvm.cli.evaluate import command as _evaluate
from sam3_tvm.cli.info import command as _info
from sam3_tvm.cli.segment import command as _segment
from sam3_tvm.cli.serve import command as _serve
from sam3_tvm.cli.sign import command as _sign
from sam3_tvm.cli.terminal import complain, say
from sam3_tvm.cli.track.command import command as _track
from sam3_tvm.cli.tune import command as _tune
from sam3_tvm.cli.verify import command as _verify
from sam3_tvm.errors import Sam3Error

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Turns the errors meant for users into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Sam3Error as error:
            complain(f"error: {error}")
            raise typer.Exit(2) from error
        except MemoryError as error:
            reason = f" ({error})" if f"{error}" else ""
            complain(
                f"error: not enough memory{reason}; end other programs, raise the limit, or give "
                "smaller pictures"
            )
            raise typer.Exit(2) from error
        except RuntimeError as error:
            # Of the threading module, which has no error of its own for it.
            if "can't start new thread" not in f"{error}":
                raise
            complain(
                "error: no thread can be started; end other programs, or raise the limits "
                "of processes and memory (ulimit -u, ulimit -v)"
            )
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            complain(INTERRUPTED)
            raise typer.Exit(130) from error
        except Ended as error:
            complain(error.said)
            raise typer.Exit(128 + error.number) from error


app = typer.Typer(
    name="sam3-tvm",
    cls=_Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # A traceback is for a bug of ours, and then the plain one is the one to report.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import sam3_tvm

        say(f"sam3-tvm {sam3_tvm.__version__}")
        raise typer.Exit


@app.callback(
    epilog="Start with: sam3-tvm demo, which compiles a small model that comes with the package "
    "and shows what it finds. With random weights: sam3-tvm compile random:tiny -o out/tiny. Each "
    "command explains itself with --help.",
)
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """SAM 3 compiled with Apache TVM: a checkpoint becomes a folder that runs without PyTorch."""


app.command("demo")(_demo)
app.command("compile")(_compile)
app.command("convert")(_convert)
app.command("segment")(_segment)
app.command("annotate")(_annotate)
app.command("click")(_click)
app.command("track")(_track)
app.command("serve")(_serve)
app.command("verify")(_verify)
app.command("sign")(_sign)
app.command("evaluate")(_evaluate)
app.command("bench")(_bench)
app.command("tune")(_tune)
app.command("info")(_info)
app.command("doctor")(_doctor)


def main() -> None:
    """The entry point ``sam3-tvm``."""
    end_on_signals()
    end_in_native_code()
    # A name or a phrase that the terminal's encoding lacks is spelt out.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Its own name even where the process has another, as under python -m.
    app(prog_name="sam3-tvm")
