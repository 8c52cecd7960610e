"""What an artifact says about itself: the contents of its ``manifest.json``.

The manifest is plain JSON, parsed strictly (:mod:`sam3_tvm.strict_json`). ``format`` goes up with
every change that an older reader would misunderstand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, get_type_hints

from sam3_tvm.abi import abi
from sam3_tvm.arithmetic import SCHEMES, Arithmetic
from sam3_tvm.components import (
    Component,
    Dim,
    TensorSpec,
    abi_to_json,
    spec_to_json,
)
from sam3_tvm.errors import ArtifactError
from sam3_tvm.rules import (
    ClickRules,
    ConceptVideoRules,
    Preprocessing,
    ReferenceRules,
    VideoRules,
)
from sam3_tvm.sizes import Sizes
from sam3_tvm.strict_json import check_keys, expect, optional_entries, parse, place, shown

__all__ = [
    "FORMAT",
    "Calibration",
    "Licence",
    "Manifest",
    "Source",
    "Stages",
    "StoredFile",
    "Target",
    "TokenizerRules",
]

FORMAT = 7
"""The only one that is read: compiling again is cheaper than code for what was once written. New in
6: ``video_concepts``, and memories are made from masks of four times the side of the model's."""


_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """Where the model came from.

    Attributes:
        kind: of the source, such as ``"transformers"``.
        checkpoint: as it was named.
        reference: the rules that it follows.
        files: SHA-256 in hexadecimal of the files that its weights were read from, and of its
            configuration, by name; empty for random weights.
    """

    kind: str
    checkpoint: str
    reference: ReferenceRules
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if odd := [name for name, digest in self.files.items() if not _SHA256.fullmatch(digest)]:
            raise ArtifactError(f"source.files has no SHA-256 for {shown(odd[0])}")


@dataclass(frozen=True)
class Target:
    """What the code was generated for.

    Attributes:
        kind: TVM's target kind, such as ``"llvm"``.
        level: the instruction set level in words, such as ``"x86-64-v3"``.
        mcpu: LLVM's name of the processor.
        triple: LLVM's triple, such as ``"x86_64-unknown-linux-gnu"``.
        cpu_features: what the processor must have: what LLVM uses of the level, and what kernels
            use beyond it, in the spelling of :func:`sam3_tvm.host.features`.
        tiles: where the sizes that its kernels are cut by are from: ``"defaults"``, or which
            database of tuned ones.
    """

    kind: str
    level: str
    mcpu: str
    triple: str
    cpu_features: tuple[str, ...]
    tiles: str = "defaults"


@dataclass(frozen=True)
class TokenizerRules:
    """How phrases become token ids and a mask.

    Attributes:
        file: the tokenizer's file (Hugging Face's ``tokenizer.json``).
        pad_id: the id that pads phrases.
        mask_by_id: whether that id is masked wherever it stands, in a phrase, too, as Meta's text
            encoder has it; else what follows the phrase is masked, whatever its id.
    """

    file: str
    pad_id: int
    mask_by_id: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.pad_id < 1 << 31:
            raise ArtifactError(f"tokenizer.pad_id is {self.pad_id}, not 0 or more, of 31 bits")


@dataclass(frozen=True)
class Licence:
    """The licence of the weights: its file in the artifact and its name, where there is one."""

    file: str | None
    name: str | None


@dataclass(frozen=True)
class Calibration:
    """What pictures decided about int8.

    Attributes:
        pictures, prompts: how many there were, and how many prompts were asked of each.
        bound: of the error at its function's end that a layer may make and stay in int8.
        smoothed: by function, the layer norms whose channels were scaled, by their parameters.
        excepted: by function, the linear layers that are not in int8.
    """

    pictures: int
    prompts: int
    bound: float
    smoothed: dict[str, tuple[str, ...]]
    excepted: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if min(self.pictures, self.prompts) < 1 or self.bound < 0:
            raise ArtifactError(
                f"calibration says that it was on {self.pictures} pictures with {self.prompts} "
                f"prompts each, up to an error of {self.bound}"
            )

    def __str__(self) -> str:
        norms = sum(map(len, self.smoothed.values()))
        layers = [layer for each in self.excepted.values() for layer in each]
        count = f"{self.pictures} picture{'s' * (self.pictures != 1)}"
        said = ", ".join(layers) or "none"
        return f"on {count}: {norms} norms smoothed, not in int8 (error above {self.bound}): {said}"


@dataclass(frozen=True)
class StoredFile:
    """A file of the artifact: its length in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        if self.bytes < 0:
            raise ArtifactError(f"files says that one has {self.bytes} bytes")


@dataclass(frozen=True)
class Stages:
    """How a function is compiled in two halves: one per picture, one per prompt.

    Attributes:
        image: name of the compiled function that the picture alone decides. It returns the kept
            tensors.
        image_inputs: names of the whole function's inputs that it takes, in order.
        kept: the tensors between the halves, in order.
        prompt: name of the compiled function that gives the whole function's outputs.
        prompt_inputs: names of the whole function's inputs that it takes, in order, after the
            kept tensors.
    """

    image: str
    image_inputs: tuple[str, ...]
    kept: tuple[TensorSpec, ...]
    prompt: str
    prompt_inputs: tuple[str, ...]

    def image_half(self, whole: Component) -> Component:
        """The signature of the first half of function ``whole``."""
        inputs = tuple(spec for spec in whole.inputs if spec.name in self.image_inputs)
        return Component(self.image, inputs, self.kept, whole.task)

    def prompt_half(self, whole: Component) -> Component:
        """The signature of the second half of function ``whole``."""
        inputs = tuple(spec for spec in whole.inputs if spec.name in self.prompt_inputs)
        return Component(self.prompt, (*self.kept, *inputs), whole.outputs, whole.task)

    def to_json(self) -> dict[str, Any]:
        """The stages as plain data."""
        return {**asdict(self), "kept": [spec_to_json(spec) for spec in self.kept]}


@dataclass(frozen=True)
class Manifest:
    """Everything ``manifest.json`` says.

    Attributes:
        sam3_tvm: version of the package that wrote the artifact.
        source, target: where the model came from and what it was compiled for.
        versions: versions of the packages used, by distribution name.
        sizes: the model's static sizes.
        components: the compiled functions' signatures, with the bounds of their dimensions.
        arithmetic: in which numbers each of them computes, the names of
            :data:`sam3_tvm.arithmetic.SCHEMES` by their names.
        stages: the halves of those that are compiled in two, by name.
        preprocessing, tokenizer: how pictures and phrases become tensors.
        licence: the licence of the weights.
        runtime_libraries: TVM's runtime libraries in the artifact, in loading order.
        files: every other file of the artifact by name.
        clicks: how a click's mask is chosen; None where ``sizes.clicks`` is.
        video: what is remembered of a video; None where ``sizes.video`` is.
        video_concepts: how objects of phrases are found and held to one another in a video; None
            where ``sizes.video`` is.
        calibration: what pictures decided about int8; None where none were asked.
    """

    sam3_tvm: str
    source: Source
    target: Target
    versions: dict[str, str]
    sizes: Sizes
    components: dict[str, Component]
    arithmetic: dict[str, str]
    stages: dict[str, Stages]
    preprocessing: Preprocessing
    tokenizer: TokenizerRules
    licence: Licence
    runtime_libraries: tuple[str, ...]
    files: dict[str, StoredFile]
    clicks: ClickRules | None = None
    video: VideoRules | None = None
    video_concepts: ConceptVideoRules | None = None
    calibration: Calibration | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain data."""
        data = {"format": FORMAT, **asdict(self)}
        if self.calibration is None:
            del data["calibration"]
        data["components"] = abi_to_json(self.components)
        data["stages"] = {name: stages.to_json() for name, stages in self.stages.items()}
        return data

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """The inverse of :meth:`to_json`.

        Raises:
            ArtifactError: no manifest of format :data:`FORMAT`, an entry that is
                missing, unknown or of the wrong type, or functions other than those the
                runtime calls.
        """
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise ArtifactError("it has no format number, so it is not an artifact's manifest")
        if data["format"] > FORMAT:
            raise ArtifactError(
                f"it has format {data['format']} and this sam3-tvm reads {FORMAT}: "
                "upgrade sam3-tvm (pip install -U sam3-tvm)"
            )
        if data["format"] < FORMAT:
            raise ArtifactError(
                f"it has format {data['format']}, of an older sam3-tvm, and this one reads "
                f"{FORMAT}: compile the checkpoint again"
            )
        rest = {k: v for k, v in data.items() if k != "format"}
        hints = get_type_hints(cls)
        check_keys(rest, {*hints}, "the manifest", optional_entries(cls))
        del hints["components"]
        values = {n: parse(kind, rest[n], n) for n, kind in hints.items() if n in rest}
        manifest = cls(**values, components=_components(rest["components"]))
        manifest._check()
        return manifest

    @property
    def schemes(self) -> list[Arithmetic]:
        """The schemes by which its functions compute, from the finest to the coarsest."""
        return [scheme for name, scheme in SCHEMES.items() if name in self.arithmetic.values()]

    @property
    def left_out(self) -> list[str]:
        """Functions of the ABI that it lacks, without which it can't do all of its tasks."""
        return [name for name in abi(self.sizes) if name not in self.components]

    def _check(self) -> None:
        if self.preprocessing.image_size != self.sizes.image:
            raise ArtifactError(
                f"preprocessing makes pictures of {self.preprocessing.image_size} px, "
                f"the model takes {self.sizes.image} px"
            )
        if (self.clicks is None) != (self.sizes.clicks is None):
            raise ArtifactError("it has one of clicks and sizes.clicks, which go together")
        if (self.video is None) != (self.sizes.video is None):
            raise ArtifactError("it has one of video and sizes.video, which go together")
        if (self.video_concepts is None) != (self.video is None):
            raise ArtifactError("it has one of video and video_concepts, which go together")
        if self.video is not None and self.clicks is None:
            raise ArtifactError("it is for video, but not for clicks, which that takes")
        if self.video is not None and self.sizes.video is not None:
            remembered = self.video.shown_frames + self.video.last_frames
            if remembered != self.sizes.video.memories:
                raise ArtifactError(
                    f"video looks back on {remembered} frames, the model takes memories of "
                    f"{self.sizes.video.memories}"
                )
        for name in self.files:
            if name in ("", ".", "..") or any(c in name for c in "/\\:\0"):
                raise ArtifactError(f"files names {name!r}, which is no plain file name")
        # The artifact may narrow bounds, and leave functions out that are not to be measured;
        # names, dtypes and sizes are what the runtime is written for.
        known = abi(self.sizes)
        if not self.components.keys() & known.keys():
            raise ArtifactError(f"components has no function {next(iter(known))}")
        for name, found in self.components.items():
            if name in known:
                _check_signature(found, known[name])
        if self.arithmetic.keys() != self.components.keys():
            odd = min(self.arithmetic.keys() ^ self.components.keys())
            raise ArtifactError(f"arithmetic and components don't both name {odd}")
        for name, scheme in self.arithmetic.items():
            if scheme not in SCHEMES:
                raise ArtifactError(
                    f"arithmetic.{name} is one of {', '.join(SCHEMES)}, not {scheme!r}: "
                    "upgrade sam3-tvm (pip install -U sam3-tvm)"
                )
        for name, stages in self.stages.items():
            _check_stages(name, stages, self.components)


def _components(data: Any) -> dict[str, Component]:
    """The functions by name, in the order of the list that a manifest has of them."""
    found: dict[str, Component] = {}
    for i, entry in enumerate(expect(list, data, "components", "a list")):
        name = entry.get("name") if isinstance(entry, dict) else None
        where = place("components", name) if isinstance(name, str) else f"components[{i}]"
        component = parse(Component, entry, where)
        if component.name in found:
            raise ArtifactError(f"components has {component.name!r} twice")
        found[component.name] = component
    return found


def _check_signature(found: Component, wanted: Component) -> None:
    """Hold a function against the one of that name that the runtime calls."""
    for side in ("inputs", "outputs"):
        where = f"components.{found.name}.{side}"
        have, want = getattr(found, side), getattr(wanted, side)
        names = [[spec.name for spec in specs] for specs in (have, want)]
        if names[0] != names[1]:
            raise ArtifactError(
                f"{where} are {shown(', '.join(names[0]))}, where this sam3-tvm calls it with "
                f"other {side}: {', '.join(names[1])}"
            )
        for i, (a, b) in enumerate(zip(have, want, strict=True)):
            if a.dtype != b.dtype:
                raise ArtifactError(f"{where}[{i}].dtype is {shown(a.dtype)}, not {b.dtype!r}")
            _check_shape(a.shape, b.shape, f"{where}[{i}].shape")


def _check_shape(
    found: tuple[int | Dim, ...], wanted: tuple[int | Dim, ...] | None, where: str
) -> None:
    """Hold a shape's sizes against the contract's, and its bounds against reason."""
    if wanted is not None and len(found) != len(wanted):
        raise ArtifactError(f"{where} has {len(found)} axes, not {len(wanted)}")
    for axis, size in enumerate(found):
        want = None if wanted is None else wanted[axis]
        if isinstance(size, Dim):
            if not 0 <= size.min <= size.max:
                raise ArtifactError(f"{where}[{axis}] is {_said(size)}, which are no bounds")
            if want is not None and size.name != getattr(want, "name", want):
                raise ArtifactError(f"{where}[{axis}] is {_said(size)}, where {want} belongs")
        elif size < 0 or (want is not None and size != want):
            raise ArtifactError(f"{where}[{axis}] is {size}, where {want or 'a size'} belongs")


def _said(size: Dim) -> str:
    return shown(f"{size}")[1:-1]


def _check_stages(name: str, stages: Stages, components: Mapping[str, Component]) -> None:
    if name not in components:
        raise ArtifactError(f"stages names {name!r}, which is no function")
    known = {spec.name: spec for spec in components[name].inputs}
    for given in (*stages.image_inputs, *stages.prompt_inputs):
        if given not in known:
            raise ArtifactError(f"stages.{name} takes {given!r}, which {name} has not")
    if late := [given for given in stages.image_inputs if not known[given].per_image]:
        raise ArtifactError(f"stages.{name}.image_inputs has {late[0]!r}, which no picture gives")
    if taken := {stages.image, stages.prompt} & set(components):
        raise ArtifactError(f"stages.{name} uses the name {min(taken)!r} of another function")
    for i, spec in enumerate(stages.kept):
        _check_shape(spec.shape, None, f"stages.{name}.kept[{i}].shape")
