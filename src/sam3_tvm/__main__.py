"""``python -m sam3_tvm``: the command ``sam3-tvm``, by whichever Python is at hand."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The entry point ``sam3-tvm``, which says in a line that an installation for programs alone
    has no command line."""
    try:
        from sam3_tvm.cli import main as run

        run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("typer", "rich"):
            raise
        print(
            f"error: the command line needs {package}, which is not installed: "
            "pip install typer rich",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
