"""Files that a command writes: refused before the work, written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sam3_tvm.errors import UsageError

__all__ = ["OutputFile"]


class OutputFile:
    """A file to be written when the work is done.

    Args:
        path: where it goes. What is there is replaced.
        option: the option that named it, for messages.

    Raises:
        UsageError: its folder does not exist or may not be written to, or it is a folder itself.
    """

    def __init__(self, path: Path, option: str) -> None:
        self.path = path
        folder = path.absolute().parent
        if not folder.is_dir():
            raise UsageError(
                f"{path}: its folder does not exist; make it, or choose another with {option}"
            )
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; {option} takes a file")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(
                f"{path}: its folder may not be written to; choose another with {option}"
            )

    def write(self, save: Callable[[Path], object]) -> None:
        """Let ``save`` write under a temporary name beside the file, then rename.

        Raises:
            UsageError: the disk is full, or the folder has become unwritable.
        """
        partial = self.path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            save(partial)
            partial.replace(self.path)
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be written ({error.strerror or error})"
            ) from error
        finally:
            with suppress(OSError):  # a disk that has become read-only says so even of nothing
                partial.unlink(missing_ok=True)

    def write_text(self, text: str) -> None:
        """Write text in UTF-8, whole or not at all.

        Raises:
            UsageError: as :meth:`write`.
        """
        self.write(lambda path: path.write_text(text, encoding="utf-8"))
