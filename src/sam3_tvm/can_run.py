"""Whether this machine can run the code of an artifact, asked before any of it is loaded: an
instruction that the CPU lacks would end the process, and a foreign library is "not found" to glibc.
"""

from __future__ import annotations

import platform
from collections.abc import Collection
from pathlib import Path

from sam3_tvm import host
from sam3_tvm import system as system_of
from sam3_tvm.binary import Binary, machine_name, read_binary
from sam3_tvm.errors import ArtifactError
from sam3_tvm.manifest import Target

__all__ = ["check_binary", "check_host"]


def check_host(
    target: Target,
    artifact: str,
    *,
    system: str | None = None,
    machine: str | None = None,
    features: Collection[str] | None = None,
) -> None:
    """Refuse a machine other than the one the code was generated for.

    Args:
        target: what the artifact was compiled for.
        artifact: how to name it in the error.
        system, machine, features: the machine in the words of :func:`platform.system`,
            :func:`platform.machine` and :func:`sam3_tvm.host.features`; by default this one.

    Raises:
        ArtifactError: another operating system or architecture, or a CPU that lacks
            instructions; the message says which.
    """
    advice = "compile it again for this machine (sam3-tvm compile CHECKPOINT -o DIR)"
    arch, here = target.triple.partition("-")[0].lower(), (machine or platform.machine()).lower()
    built = Binary.of_triple(target.triple)
    if built.machine != machine_name(here):
        raise ArtifactError(
            f"{artifact}: built for {arch} processors, and this one is {here}; {advice}"
        )
    running = system or system_of.name()
    if built.system != running:
        raise ArtifactError(
            f"{artifact}: built for {built.system}, and this is {running}; {advice}"
        )
    refused: Collection[str] = ()
    if features is None:
        features, refused = host.features(), host.refused_features()
    if lacking := [f for f in target.cpu_features if f not in features]:
        names = target.level.split("+")
        dropped = [name for name in names[1:] if name.upper() in lacking]
        if len(dropped) == len(lacking):
            both = "+".join(name for name in names if name not in dropped)
            advice += f", or with --target {both} for both machines"
        withheld = [f for f in lacking if f in refused]
        missing = [f for f in lacking if f not in refused]
        says = [f"this CPU lacks {', '.join(missing)}"] if missing else []
        if withheld:
            says.append(
                f"the system grants this process no tile registers, so no {', '.join(withheld)}"
            )
        raise ArtifactError(
            f"{artifact}: built for {target.level}, and {'; '.join(says)}; {advice}"
        )


def check_binary(path: Path) -> None:
    """Refuse native code for another processor or system than this process's, by its header.

    Raises:
        ArtifactError: it is for another one, or can't be read.
    """
    try:
        found, here = read_binary(path), Binary.here()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    if found is not None and found != here:
        theirs, ours = found.unlike(here)
        raise ArtifactError(
            f"{path}: cannot be loaded: it is for {theirs}, and this is {ours}; compile it again "
            "(sam3-tvm compile --target finds the target's own libraries)"
        )
