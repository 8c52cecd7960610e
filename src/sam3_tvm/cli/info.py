"""``sam3-tvm info``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sam3_tvm.cli.options import ArtifactFolder, JsonForAll
from sam3_tvm.cli.terminal import Table, byte_size, say_json, show, table

if TYPE_CHECKING:
    from sam3_tvm.artifact import Artifact
    from sam3_tvm.components import Component
    from sam3_tvm.manifest import Manifest

__all__ = ["command"]


def command(
    artifact: ArtifactFolder,
    as_json: JsonForAll = False,
) -> None:
    """Say what is in an artifact: where it came from, what it runs on, its functions.

    Opens the manifest and compares the sizes of the files; no code of the artifact is run.

    [bold]Examples[/bold]

    sam3-tvm info out/tiny
    sam3-tvm info out/tiny --json
    """
    from sam3_tvm import artifact as artifacts

    opened = artifacts.open(artifact)
    reason = _why_not_here(opened)
    if as_json:
        say_json(
            {
                "path": f"{opened.path}",
                "fingerprint": opened.fingerprint,
                "runs_here": reason is None,
                "bytes": sum(f.bytes for f in opened.manifest.files.values()),
                "tasks": opened.manifest.sizes.tasks,
                **opened.manifest.to_json(),
            }
        )
        return
    show(f"{opened.path}", _summary(opened, reason))
    show("Functions", _functions(opened))
    show("Files", _files(opened))


def _why_not_here(opened: Artifact) -> str | None:
    """Why this machine can't run the artifact, or None if it can."""
    from sam3_tvm.artifact import ArtifactError

    try:
        opened.check_host()
    except ArtifactError as error:
        return f"{error}"
    return None


def _summary(opened: Artifact, reason: str | None) -> Table:
    manifest = opened.manifest
    source, target, sizes = manifest.source, manifest.target, manifest.sizes
    rules = source.reference
    geometry = "always" if rules.geometry_without_boxes else "with boxes only"
    rows = table("", "")
    versions = {"sam3-tvm": manifest.sam3_tvm, **manifest.versions}
    lines: dict[str, str | list[str]] = {
        "source": f"{source.kind}, checkpoint {source.checkpoint}",
        **({"its files": _digests(source.files)} if source.files else {}),
        "tasks": ", ".join(sizes.tasks),
        "reference rules": f"geometry encoded {geometry}; masks: {rules.mask_resize} are resized; "
        f"boxes alone go with {rules.visual_text!r}; keeps scores above {rules.default_threshold}",
        "target": f"{target.level} ({target.kind}, mcpu {target.mcpu}, {target.triple})",
        "weights": _arithmetic(manifest),
        **({"calibrated": f"{manifest.calibration}"} if manifest.calibration else {}),
        "tiles": target.tiles,
        "needs": " ".join(target.cpu_features) or "nothing beyond the architecture",
        "runs here": reason or "yes",
        "sizes": f"picture {sizes.image} px, grid {sizes.grid}, hidden {sizes.hidden}, "
        f"{sizes.text_tokens} text tokens, {sizes.queries} queries, {sizes.heads} heads",
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
        "licence of the weights": manifest.licence.name or "none stated by the source",
        "fingerprint": opened.fingerprint,
    }
    for name, value in lines.items():
        rows.add_row(name, value)
    return rows


def _digests(files: dict[str, str]) -> list[str]:
    """Files of the checkpoint as ``sha256sum`` lists them."""
    return [f"{digest}  {name}" for name, digest in files.items()]


def _arithmetic(manifest: Manifest) -> list[str]:
    """How functions compute: a line, or a line for each scheme with the functions that have it."""
    schemes = manifest.schemes
    if len(schemes) == 1:
        return [f"{schemes[0]} ({schemes[0].name})"]
    users = {s.name: [f for f, n in manifest.arithmetic.items() if n == s.name] for s in schemes}
    return [f"{s} ({s.name}): {', '.join(users[s.name])}" for s in schemes]


def _functions(opened: Artifact) -> Table:
    rows = table("name", "inputs", "outputs", "dynamic")

    def add(c: Component, *title: str) -> None:
        rows.add_row(
            title,
            [*map(str, c.inputs)],
            [*map(str, c.outputs)],
            [*map(str, c.dims.values())],
        )
        rows.add_section()

    for c in opened.manifest.components.values():
        add(c, c.name)
        if stages := opened.manifest.stages.get(c.name):
            add(stages.image_half(c), stages.image, "(its half per picture)")
            add(stages.prompt_half(c), stages.prompt, "(its half per prompt)")
    return rows


def _files(opened: Artifact) -> Table:
    files = opened.manifest.files
    rows = table("name", "size", "SHA-256", right=("size",))
    for name, stored in files.items():
        rows.add_row(name, byte_size(stored.bytes), stored.sha256[:16])
    rows.add_section()
    rows.add_row("total", byte_size(sum(f.bytes for f in files.values())), "")
    return rows
