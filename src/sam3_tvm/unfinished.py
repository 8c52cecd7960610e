"""Folders that appear whole or not at all, and what is known of all that isn't whole yet."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sam3_tvm import system

__all__ = [
    "in_the_making",
    "lock_alone",
    "remove_left_over",
    "remove_unfinished",
    "unfinished_folder",
]

_making: set[Path] = set()


@contextmanager
def in_the_making(path: Path) -> Iterator[None]:
    """Say of a file or folder that it is of no use if this process ends before the body does."""
    _making.add(path)
    try:
        yield
    finally:
        _making.discard(path)


def remove_unfinished() -> None:
    """Remove what is in the making, for a process that ends where it can't unwind."""
    for path in tuple(_making):
        with suppress(OSError):
            path.unlink() if not path.is_dir() else shutil.rmtree(path)


@contextmanager
def unfinished_folder(final: Path) -> Iterator[Path]:
    """A temporary folder beside ``final``, to be renamed to it when all is there.

    What is not renamed by the end of the body is removed. So is what writers of the same ``final``
    left that were killed before they could; a lock tells those from writers that are at work.

    Args:
        final: where the folder is to be; those that lead there are made.

    Raises:
        OSError: it cannot be made.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    remove_left_over(final)
    folder, lock = _begin(final)
    try:
        with in_the_making(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _begin(final: Path) -> tuple[Path, int | None]:
    """The folder, and the descriptor of a lock on it, which ends with this process; None where
    folders can't be locked."""
    name = f".{final.name}.{secrets.token_hex(4)}"
    # Locked before it has the name that is looked for.
    new = final.with_name(f"{name}.new")
    new.mkdir()
    lock = system.descriptor_of_folder(new)
    try:
        if lock is not None:
            system.lock(lock)
        return new.rename(final.with_name(f"{name}.part")), lock
    except BaseException:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(new, ignore_errors=True)
        raise


def remove_left_over(final: Path) -> None:
    """Remove what killed writers of ``final`` left; nothing of those that are at work.

    Raises:
        OSError: the folder that ``final`` is in cannot be read.
    """
    pattern = re.compile(rf"\.{re.escape(final.name)}\.[0-9a-f]{{8}}\.part")
    for path in final.parent.iterdir():
        if not (pattern.fullmatch(path.name) and path.is_dir()):
            continue
        with suppress(OSError):
            lock = system.descriptor_of_folder(path)
            # Without locks nobody can say whether its writer is still at work.
            if lock is None:
                continue
            try:
                if system.lock(lock):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(lock)


def lock_alone(descriptor: int, path: Path) -> bool:
    """Lock an open file until it is closed; False if another process has it, or removed it.

    Where files can't be locked nobody has.

    Args:
        descriptor: of the file.
        path: by which it was opened.
    """
    if system.lock(descriptor) is False:
        return False
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
