"""What an artifact says of itself, and what it carries beside code and weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata

from sam3_tvm import artifact
from sam3_tvm.arithmetic import Arithmetic
from sam3_tvm.compiler.runtime_library import RuntimeLibrary
from sam3_tvm.compiler.targets.cpu import CpuTarget
from sam3_tvm.components import Component
from sam3_tvm.sources.base import Source

__all__ = ["describe"]


def describe(
    writer: artifact.ArtifactWriter,
    source: Source,
    components: Mapping[str, Component],
    split: Mapping[str, artifact.Stages | None],
    schemes: Mapping[str, Arithmetic],
    target: CpuTarget,
    runtime: RuntimeLibrary,
    calibration: artifact.Calibration | None,
) -> None:
    """Write the tokenizer, the licence and TVM's runtime beside the code, and the manifest.

    Args:
        writer: of the artifact, whose code and weights are written.
        source: the checkpoint.
        components, split, schemes: the functions, their halves and their arithmetic, by name.
        target: what they were compiled for, with the features that they use.
        runtime: TVM's runtime for it.
        calibration: what pictures decided, if they did.
    """
    (writer.folder / artifact.TOKENIZER).write_text(source.tokenizer_json(), encoding="utf-8")
    licence = artifact.Licence(None, None)
    if source.licence is not None:
        (writer.folder / artifact.LICENCE).write_text(source.licence.text, encoding="utf-8")
        licence = artifact.Licence(artifact.LICENCE, source.licence.name)
    (writer.folder / runtime.name).write_bytes(runtime.content)
    packages = ("apache-tvm", "apache-tvm-ffi", "torch", "transformers")
    writer.describe(
        source=artifact.Source(
            source.kind,
            source.checkpoint,
            source.reference,
            {path.name: artifact.sha256(path) for path in source.files},
        ),
        target=artifact.Target(
            "llvm",
            target.name,
            target.mcpu,
            target.triple,
            target.needs(),
            target.tiles_origin,
        ),
        sizes=source.sizes,
        components=components,
        arithmetic={name: scheme.name for name, scheme in schemes.items()},
        stages={name: stages for name, stages in split.items() if stages is not None},
        preprocessing=source.preprocessing,
        tokenizer=artifact.TokenizerRules(artifact.TOKENIZER, source.pad_id, source.mask_by_id),
        licence=licence,
        clicks=source.clicks,
        video=source.video,
        video_concepts=source.video_concepts,
        calibration=calibration,
        versions={package: metadata.version(package) for package in packages},
        runtime_libraries=(runtime.name,),
    )
