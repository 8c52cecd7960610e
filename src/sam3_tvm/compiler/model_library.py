"""``model.so``: the compiled functions as a shared library."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sam3_tvm.compiler.faults import CompileError, names_memory
from sam3_tvm.linking import Linker, LinkError

__all__ = ["link_library"]


def link_library(
    executable: Any, path: Path, linker: Linker, imports: Mapping[str, bytes] | None = None
) -> None:
    """Write the compiled functions as a shared library.

    Args:
        executable: of TVM.
        path: the library.
        linker: what links it.
        imports: libraries to link it with, by name.

    Raises:
        CompileError: the C compiler fails, which linked a moment ago: for want of room, as a rule.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="sam3-tvm-") as folder:
            libraries = []
            for name, content in (imports or {}).items():
                (Path(folder) / name).write_bytes(content)
                libraries.append(str(Path(folder) / name))
            linked = replace(linker, libraries=tuple(libraries))
            executable.export_library(str(path), fcompile=linked)
    except LinkError as error:
        raise CompileError(
            f"{path.name} can't be linked by {error}: is there room in {tempfile.gettempdir()} "
            "and in the output's folder?"
        ) from error
    except (RuntimeError, OSError) as error:
        # TVM writes objects and libraries to a temporary folder before the linker is called.
        if names_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise CompileError(
            f"{path.name} can't be written ({reason}): is there room in {tempfile.gettempdir()} "
            "and in the output's folder?"
        ) from error
