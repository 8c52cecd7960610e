"""The folder that a compiled SAM 3 is: written whole or not at all, checked when opened.

    manifest.json     what it is: ABI, target, source, versions, every file's length and SHA-256
    model.so          the compiled functions, a Relax VM executable
    weights.bin/.json tensors, aligned for memory mapping, and where each one is
    tokenizer.json    Hugging Face's tokenizer
    LICENSE.weights   where the source of the weights has one
    libtvm_runtime.*  TVM's runtime, for machines without TVM

An artifact holds native code: opening one for use runs it. The hashes find damage, they do
not make a stranger's folder safe. A signature beside the manifest (:mod:`sam3_tvm.signing`) says
whose it is.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sam3_tvm import weights as weights_format
from sam3_tvm.arithmetic import FLOAT32
from sam3_tvm.can_run import check_binary, check_host
from sam3_tvm.components import Component
from sam3_tvm.errors import ArtifactError, as_argument
from sam3_tvm.json_file import parse_json, read_json, read_regular
from sam3_tvm.manifest import (
    FORMAT,
    Calibration,
    Licence,
    Manifest,
    Source,
    Stages,
    StoredFile,
    Target,
    TokenizerRules,
)
from sam3_tvm.rules import (
    ClickRules,
    ConceptVideoRules,
    Preprocessing,
    ReferenceRules,
    VideoRules,
)
from sam3_tvm.signing import SIGNATURE, check_signature, required_key
from sam3_tvm.sizes import Sizes
from sam3_tvm.unfinished import unfinished_folder
from sam3_tvm.weights import Weights, WeightsWriter, open_weights

__all__ = [
    "FORMAT",
    "LICENCE",
    "MANIFEST",
    "MODEL",
    "TOKENIZER",
    "Artifact",
    "ArtifactError",
    "ArtifactWriter",
    "Calibration",
    "ClickRules",
    "ConceptVideoRules",
    "Licence",
    "Manifest",
    "Preprocessing",
    "ReferenceRules",
    "Source",
    "Stages",
    "StoredFile",
    "Target",
    "TokenizerRules",
    "VideoRules",
    "Weights",
    "WeightsWriter",
    "create",
    "open",
    "open_weights",
    "sha256",
]

MANIFEST = "manifest.json"
"""The file that says what the artifact is."""

MODEL = "model.so"
"""The file with the compiled functions."""

TOKENIZER = "tokenizer.json"
"""The file with the tokenizer."""

LICENCE = "LICENSE.weights"
"""The file with the licence of the weights, where there is one."""

# What other commands leave in an artifact; replacing it may take these along.
_REPORTS = ("verify.json", "bench.json", SIGNATURE)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Artifact:
    """An opened artifact.

    Attributes:
        path: its folder.
        manifest: what it says about itself.
        fingerprint: SHA-256 of the manifest, and through its hashes of every file.
    """

    path: Path
    manifest: Manifest
    fingerprint: str

    def weights(self) -> Weights:
        """Its weights, mapped into memory."""
        return open_weights(self.path)

    def check_host(self) -> None:
        """Refuse a machine that cannot run its code (:func:`~sam3_tvm.can_run.check_host`), and
        native code that isn't for the target, such as TVM's runtime of the machine that compiled.

        Raises:
            ArtifactError: either, in a line.
        """
        check_host(self.manifest.target, f"{self.path}")
        for name in (MODEL, *self.manifest.runtime_libraries):
            check_binary(self.path / name)


class ArtifactWriter:
    """An artifact in the making; :func:`create` hands it out.

    Attributes:
        folder: the temporary folder. What is written there becomes part of the artifact.
        weights: takes the tensors.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = WeightsWriter(folder)
        self._described = False

    def describe(
        self,
        *,
        source: Source,
        target: Target,
        sizes: Sizes,
        components: Mapping[str, Component],
        preprocessing: Preprocessing,
        tokenizer: TokenizerRules,
        licence: Licence,
        versions: Mapping[str, str],
        runtime_libraries: tuple[str, ...],
        arithmetic: Mapping[str, str] | None = None,
        stages: Mapping[str, Stages] | None = None,
        clicks: ClickRules | None = None,
        video: VideoRules | None = None,
        video_concepts: ConceptVideoRules | None = None,
        calibration: Calibration | None = None,
    ) -> Manifest:
        """Finish the weights, hash every file and write the manifest; the last step. Arithmetic is
        float32, and functions are whole, where it isn't said.

        Raises:
            ArtifactError: a file that the manifest names is not in the folder.
        """
        self.weights.close()
        files = {
            path.name: StoredFile(path.stat().st_size, sha256(path))
            for path in sorted(self.folder.iterdir())
        }
        manifest = Manifest(
            sam3_tvm=metadata.version("sam3-tvm"),
            source=source,
            target=target,
            versions=dict(versions),
            sizes=sizes,
            components=dict(components),
            arithmetic=dict(arithmetic or dict.fromkeys(components, FLOAT32.name)),
            stages=dict(stages or {}),
            preprocessing=preprocessing,
            tokenizer=tokenizer,
            licence=licence,
            runtime_libraries=runtime_libraries,
            files=files,
            clicks=clicks,
            video=video,
            video_concepts=video_concepts,
            calibration=calibration,
        )
        if missing := [name for name in _needed(manifest) if name not in files]:
            raise ArtifactError(f"the artifact would lack {', '.join(missing)}")
        text = json.dumps(manifest.to_json(), indent=2) + "\n"
        # What can be written can be read: a manifest that the reader refuses is caught here.
        Manifest.from_json(json.loads(text))
        (self.folder / MANIFEST).write_text(text, encoding="utf-8")
        self._described = True
        return manifest


@contextmanager
def create(path: str | os.PathLike[str]) -> Iterator[ArtifactWriter]:
    """Write an artifact: in a temporary folder beside ``path``, renamed when all went well.

    After an error or an interrupt ``path`` is as it was and the temporary folder is gone. An
    artifact already at ``path`` is replaced by two renames, with an instant between them in
    which neither is there.

    Args:
        path: the folder to make: absent, empty, or an artifact to be replaced.

    Raises:
        ArtifactError: ``path`` is something else, holds files that are no part of an
            artifact, or cannot be written.
    """
    final = Path(os.path.realpath(path))
    _check_replaceable(final)
    with ExitStack() as until_the_end:
        try:
            folder = until_the_end.enter_context(unfinished_folder(final))
        except OSError as error:
            raise ArtifactError(f"{final}: cannot be written ({error.strerror})") from error
        try:
            writer = ArtifactWriter(folder)
            try:
                yield writer
            finally:
                writer.weights.close()
            if not writer._described:
                raise ArtifactError(f"{final}: nothing was described, so no artifact was written")
            _check_replaceable(final)
            _replace(folder, final)
        except OSError as error:
            # Those of the place written to. Others, such as an unreadable source, are not ours.
            if error.errno in _NO_ROOM:
                raise ArtifactError(f"{final}: cannot be written ({error.strerror})") from error
            raise


def open(
    path: str | os.PathLike[str],
    integrity: str = "sizes",
    require_signature: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Artifact:
    """Open an artifact's folder and check it. No code in it is run.

    Args:
        path: the folder.
        integrity: ``"sizes"`` compares every file's length with the manifest, ``"full"`` its
            SHA-256 too, which reads everything once.
        require_signature: a public key of minisign's, its file or its text (``"RW..."``), by which
            the manifest must be signed; by default what ``SAM3_TVM_SIGNED_BY`` says. Then
            ``integrity`` is ``"full"``, and the folder may hold no file that isn't named.
        environment: where that is looked up.

    Raises:
        SignatureError: no signature by that key, or a key that is none.
        MissingExtraError: one is required, and the extra [sign] is missing.
        ArtifactError: no such folder, no artifact, a manifest that cannot be read or is newer
            than this package, a file that is missing, cut, or not the one that was written.
        ValueError: any other ``integrity``.
    """
    if integrity not in ("sizes", "full"):
        raise ValueError(f"integrity is 'sizes' or 'full', not {integrity!r}")
    folder = Path(path)
    if not os.path.isdir(folder):
        raise ArtifactError(f"{folder}: {_no_folder(folder)}")
    try:
        raw = read_regular(folder / MANIFEST)
    except OSError as error:
        hint = "compile it first" if os.path.exists(folder / "config.json") else "compile one there"
        kind = "a checkpoint" if os.path.exists(folder / "config.json") else "a folder"
        raise ArtifactError(
            f"{folder}: {kind} without a readable {MANIFEST}, so not an artifact; {hint} with "
            "'sam3-tvm compile CHECKPOINT -o DIR'"
        ) from error
    key = required_key(require_signature, environment)
    if key is not None:
        # Before anything in it is believed.
        check_signature(folder, raw, key)
    try:
        manifest = Manifest.from_json(parse_json(raw, strict=True))
    except ValueError as error:
        raise ArtifactError(
            f"{folder / MANIFEST}: not readable JSON ({error}); compile it again"
        ) from error
    except ArtifactError as error:
        raise ArtifactError(f"{folder / MANIFEST}: {error}") from error
    if missing := [name for name in _needed(manifest) if name not in manifest.files]:
        raise ArtifactError(f"{folder / MANIFEST}: files lacks {', '.join(missing)}")
    for name, stored in manifest.files.items():
        # The index says what kernels are given, and takes no time to read.
        full = integrity == "full" or key is not None or name == weights_format.INDEX
        _check_file(folder / name, stored, full=full)
    if key is not None:
        # A loader looks for libraries in the folder of the one that it loads.
        named = {*manifest.files, MANIFEST, *_REPORTS}
        if others := sorted({entry.name for entry in folder.iterdir()} - named):
            raise ArtifactError(
                f"{folder / others[0]}: isn't named by the signed {MANIFEST}: move it elsewhere"
            )
    return Artifact(folder, manifest, hashlib.sha256(raw).hexdigest())


def _no_folder(path: Path) -> str:
    """What a path that is no folder is instead, and what to do."""
    compile_it = f"'sam3-tvm compile CHECKPOINT -o {as_argument(path.name)}' makes an artifact"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return f"does not exist; {compile_it}"
    except OSError as error:  # such as a name that is too long
        return f"cannot be read ({error.strerror}); {compile_it}"
    return "is a file, and an artifact is a folder; give one that 'sam3-tvm compile' made"


def _needed(manifest: Manifest) -> list[str]:
    """The files without which an artifact is none."""
    names = [MODEL, weights_format.DATA, weights_format.INDEX, manifest.tokenizer.file]
    names += manifest.runtime_libraries
    if manifest.licence.file is not None:
        names.append(manifest.licence.file)
    return names


def _check_file(path: Path, stored: StoredFile, *, full: bool) -> None:
    advice = "copy it again or compile it again"
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise ArtifactError(f"{path}: is no regular file; {advice}")
        size = about.st_size
        if size != stored.bytes:
            raise ArtifactError(
                f"{path}: has {size} bytes where {stored.bytes} were written; {advice}"
            )
        if full and sha256(path) != stored.sha256:
            raise ArtifactError(f"{path}: is not the file that was written; {advice}")
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; {advice}") from error


def sha256(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_replaceable(path: Path) -> None:
    """Refuse whatever replacing would destroy and that isn't an artifact."""
    advice = "choose another folder"
    try:
        # Of links there are only those in a circle left.
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise ArtifactError(f"{path}: exists and is not a folder; {advice}")
        present = {p.name for p in path.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:  # such as a name that is too long
        raise ArtifactError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
    if not present:
        return
    try:
        data = read_json(path / MANIFEST)
        ours = {*data["files"], MANIFEST, *_REPORTS}
        known = type(data["format"]) is int and "sam3_tvm" in data
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ArtifactError(f"{path}: is not empty and not an artifact; {advice}")
    if foreign := sorted(present - ours):
        raise ArtifactError(
            f"{path}: holds files that are no part of the artifact ({', '.join(foreign[:3])}); "
            f"move them or {advice}"
        )


def _replace(folder: Path, final: Path) -> None:
    """Move ``folder`` to ``final``, away with what was there, or leave all as it was."""
    if not final.exists():
        folder.rename(final)
        return
    aside = folder.with_suffix(".old")
    try:
        final.rename(aside)
    except OSError as error:
        raise ArtifactError(
            f"{final}: cannot be replaced ({error.strerror}); is it in use? choose another folder"
        ) from error
    try:
        folder.rename(final)
    except BaseException:
        aside.rename(final)
        raise
    shutil.rmtree(aside, ignore_errors=True)
