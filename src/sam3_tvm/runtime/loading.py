"""An artifact becomes a model."""

from __future__ import annotations

import os

from sam3_tvm import artifact
from sam3_tvm.runtime.concepts.tokenizer import Tokenizer
from sam3_tvm.runtime.execution.engine import checked_threads
from sam3_tvm.runtime.execution.module import load_functions
from sam3_tvm.runtime.model import Model

__all__ = ["load"]


def load(
    path: str | os.PathLike[str],
    threads: int | None = None,
    integrity: str = "sizes",
    require_signature: str | os.PathLike[str] | None = None,
) -> Model:
    """Load an artifact, made by ``sam3-tvm compile``, to segment pictures with.

    Loading runs native code from the folder: load only what you made or trust.

    Args:
        path: the artifact's folder.
        threads: threads that a model computes with; by default ``TVM_NUM_THREADS`` or
            ``OMP_NUM_THREADS`` from the environment, else the cores that the process may use.
        integrity: ``"sizes"`` checks the length of every file, ``"full"`` its SHA-256 as well.
        require_signature: a public key of minisign's, its file or its text (``"RW..."``). The
            manifest must be signed by it and every file have its SHA-256 before any code of the
            folder is loaded. By default ``SAM3_TVM_SIGNED_BY`` from the environment, or none.

    Raises:
        SignatureError: no signature by that key, or a key that is none.
        ArtifactError: no artifact, a damaged or too new one, or one for another machine.
        Sam3Error: a number of threads that can't be: no integer, or not between 1 and four times
            the machine's CPUs.
    """
    checked_threads(threads)
    opened = artifact.open(path, integrity, require_signature)
    manifest = opened.manifest
    if manifest.left_out:
        opened.check_host()  # so that it is compiled again for this machine
        raise artifact.ArtifactError(
            f"{path}: was compiled without {', '.join(manifest.left_out)}, to be measured; "
            "compile it again to segment pictures"
        )
    rules = manifest.tokenizer
    file, length = opened.path / rules.file, manifest.sizes.text_tokens
    tokenizer = Tokenizer(file, length, rules.pad_id, rules.mask_by_id)
    return Model(load_functions(opened, threads), tokenizer, manifest, opened.fingerprint)
