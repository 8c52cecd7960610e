"""What an artifact says about itself: the contents of its ``manifest.json``.

The manifest is plain JSON, parsed strictly: a missing, unknown or mistyped entry is an error
that names its place. ``format`` goes up with every change that an older reader would
misunderstand.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Set
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from sam3_tvm.abi import Sizes, abi
from sam3_tvm.components import (
    Component,
    TensorSpec,
    abi_from_json,
    abi_to_json,
    spec_from_json,
    spec_to_json,
)
from sam3_tvm.errors import Sam3Error

__all__ = [
    "FORMAT",
    "PRECISIONS",
    "ArtifactError",
    "ClickRules",
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
]

FORMAT = 4
"""2: functions may be split in two stages; those of format 1 are whole. 3: the geometry encoder may
take points (``sizes.points``). 4: there may be functions for clicks (``sizes.clicks``, ``clicks``)
and for video (``sizes.video``, ``video``); artifacts without them are written as format 3."""

PRECISIONS = ("float32", "float16", "int8")
"""How weights may be stored. int8 is symmetric, with a float32 scale per output channel."""


class ArtifactError(Sam3Error):
    """An artifact that is missing, damaged, too new, or made for another machine."""


@dataclass(frozen=True)
class ReferenceRules:
    """Where reference implementations differ, and what this artifact's reference does.

    Attributes:
        geometry_without_boxes: whether geometry is encoded (its CLS token) without any box.
        mask_resize: what is interpolated to the picture's size: ``"probabilities"`` (sigmoid,
            then resize) or ``"logits"`` (resize, then sigmoid). Built into ``resize_masks``.
        visual_text: the phrase that goes with boxes alone.
        default_threshold: the score above which the reference keeps an object.
    """

    geometry_without_boxes: bool
    mask_resize: str
    visual_text: str
    default_threshold: float

    def __post_init__(self) -> None:
        if self.mask_resize not in ("probabilities", "logits"):
            raise ArtifactError(
                f"mask_resize is 'probabilities' or 'logits', not {self.mask_resize!r}"
            )


@dataclass(frozen=True)
class ClickRules:
    """How one mask is chosen for a click: the first if it is stable, else the best of the others.

    A mask's stability is the IoU of the mask at a threshold a little above and a little below
    that of its outline. The best is the one of the highest predicted IoU.

    Attributes:
        stability_delta: how far the thresholds lie from 0, in logits.
        stability_threshold: the least stability of a stable mask, 0 to 1.
    """

    stability_delta: float
    stability_threshold: float

    def __post_init__(self) -> None:
        # Written so that NaN fails, too.
        if not self.stability_delta >= 0:
            raise ArtifactError(f"clicks.stability_delta is {self.stability_delta}, not 0 or more")
        if not 0 <= self.stability_threshold <= 1:
            raise ArtifactError(
                f"clicks.stability_threshold is {self.stability_threshold}, not between 0 and 1"
            )


@dataclass(frozen=True)
class VideoRules:
    """What a video's objects are remembered by, and how one mask of a frame is chosen.

    Attributes:
        shown_frames: frames on which an object was shown whose memories are looked at together,
            the nearest.
        last_frames: frames just before (or, backwards, behind) whose memories are, too.
        pointer_frames: the current frame and those before it that give object pointers; fewer in
            a shorter film.
        multimask_points: least and most points on a frame for which the best mask of all but the
            first is taken; others get the first, if it is stable.
        multimask_tracking: whether that goes for frames without a prompt and corrections, too.
        absent_logit: every logit of the mask of an object that isn't there.
    """

    shown_frames: int
    last_frames: int
    pointer_frames: int
    multimask_points: tuple[int, int]
    multimask_tracking: bool
    absent_logit: float

    def __post_init__(self) -> None:
        least = {"shown_frames": 1, "last_frames": 0, "pointer_frames": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ArtifactError(f"video.{name} is {getattr(self, name)}, not {bound} or more")
        if min(self.multimask_points) < 0:
            raise ArtifactError(f"video.multimask_points has {min(self.multimask_points)} points")


@dataclass(frozen=True)
class Source:
    """Where the model came from: the kind of source, the checkpoint, the rules it follows."""

    kind: str
    checkpoint: str
    reference: ReferenceRules


@dataclass(frozen=True)
class Target:
    """What the code was generated for.

    Attributes:
        kind: TVM's target kind, such as ``"llvm"``.
        level: the instruction set level in words, such as ``"x86-64-v3"``.
        mcpu: LLVM's name of the processor.
        triple: LLVM's triple, such as ``"x86_64-unknown-linux-gnu"``.
        cpu_features: what the processor must have, in NumPy's spelling (``"X86_V3"``, ``"ASIMD"``).
        weights: the precision in which its kernels read their weights, one of
            :data:`PRECISIONS`. Artifacts written before there was a choice don't say.
        tiles: where the sizes that its kernels are cut by are from: ``"defaults"``, or which
            database of tuned ones.
    """

    kind: str
    level: str
    mcpu: str
    triple: str
    cpu_features: tuple[str, ...]
    weights: str = "float32"
    tiles: str = "defaults"

    def __post_init__(self) -> None:
        if self.weights not in PRECISIONS:
            raise ArtifactError(
                f"target.weights is {', '.join(PRECISIONS)}, not {self.weights!r}: "
                "upgrade sam3-tvm (pip install -U sam3-tvm)"
            )


@dataclass(frozen=True)
class Preprocessing:
    """From 8-bit RGB to the network's input: ``(x * rescale - mean) / std`` per channel.

    Attributes:
        image_size: side of the square to which every picture is resized, pixels.
        mean, std: one value per channel, in the scale after ``rescale``.
        rescale: factor on 8-bit values (1 / 255).
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rescale: float

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or len(self.std) != 3 or 0 in self.std:
            raise ArtifactError("preprocessing needs three means and three non-zero deviations")


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


@dataclass(frozen=True)
class Licence:
    """The licence of the weights: its file in the artifact and its name, where there is one."""

    file: str | None
    name: str | None


@dataclass(frozen=True)
class StoredFile:
    """A file of the artifact: its length in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


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
        return Component(self.image, inputs, self.kept)

    def prompt_half(self, whole: Component) -> Component:
        """The signature of the second half of function ``whole``."""
        inputs = tuple(spec for spec in whole.inputs if spec.name in self.prompt_inputs)
        return Component(self.prompt, (*self.kept, *inputs), whole.outputs)

    def to_json(self) -> dict[str, Any]:
        """The stages as plain data."""
        return {**asdict(self), "kept": [spec_to_json(spec) for spec in self.kept]}

    @classmethod
    def from_json(cls, data: Any, where: str) -> Stages:
        """The inverse of :meth:`to_json`; ``where`` names the entry in errors."""
        entries = _expect(dict, data, where, "an object")
        _check_keys(entries, {f.name for f in fields(cls)}, where)
        hints = {k: v for k, v in get_type_hints(cls).items() if k != "kept"}
        values = {k: _parse(v, entries[k], f"{where}.{k}") for k, v in hints.items()}
        try:
            kept = tuple(map(spec_from_json, entries["kept"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{where}.kept cannot be read ({error!r})") from error
        return cls(**values, kept=kept)


@dataclass(frozen=True)
class Manifest:
    """Everything ``manifest.json`` says.

    Attributes:
        sam3_tvm: version of the package that wrote the artifact.
        created: when, ISO 8601 with time zone.
        source, target: where the model came from and what it was compiled for.
        versions: versions of the packages used, by distribution name.
        sizes: the model's static sizes.
        components: the compiled functions' signatures, with the bounds of their dimensions.
        stages: the halves of those that are compiled in two, by name; none in format 1.
        preprocessing, tokenizer: how pictures and phrases become tensors.
        licence: the licence of the weights.
        runtime_libraries: TVM's runtime libraries in the artifact, in loading order.
        files: every other file of the artifact by name.
        clicks: how a click's mask is chosen; None where ``sizes.clicks`` is.
        video: what is remembered of a video; None where ``sizes.video`` is.
    """

    sam3_tvm: str
    created: str
    source: Source
    target: Target
    versions: dict[str, str]
    sizes: Sizes
    components: dict[str, Component]
    stages: dict[str, Stages]
    preprocessing: Preprocessing
    tokenizer: TokenizerRules
    licence: Licence
    runtime_libraries: tuple[str, ...]
    files: dict[str, StoredFile]
    clicks: ClickRules | None = None
    video: VideoRules | None = None

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain data."""
        data = {"format": FORMAT, **asdict(self)}
        if self.sizes.clicks is None:
            # What readers of format 3 know.
            data["format"] = 3
            del data["clicks"], data["sizes"]["clicks"]
        if self.sizes.video is None:
            del data["video"], data["sizes"]["video"]
        data["components"] = abi_to_json(self.components)
        data["stages"] = {name: stages.to_json() for name, stages in self.stages.items()}
        return data

    @classmethod
    def from_json(cls, data: Any) -> Manifest:
        """The inverse of :meth:`to_json`.

        Raises:
            ArtifactError: no manifest of a format up to :data:`FORMAT`, an entry that is
                missing, unknown or of the wrong type, or functions other than those the
                runtime calls.
        """
        if not isinstance(data, dict) or type(data.get("format")) is not int:
            raise ArtifactError("it has no format number, so it is not an artifact's manifest")
        if data["format"] > FORMAT:
            raise ArtifactError(
                f"it has format {data['format']} and this sam3-tvm reads up to {FORMAT}: "
                "upgrade sam3-tvm (pip install -U sam3-tvm)"
            )
        if data["format"] < 1:
            raise ArtifactError(f"format {data['format']} does not exist")
        rest = {k: v for k, v in data.items() if k != "format"}
        if data["format"] == 1:
            rest.setdefault("stages", {})
        apart = ("components", "stages")
        hints = {k: v for k, v in get_type_hints(cls).items() if k not in apart}
        _check_keys(rest, {*hints, *apart}, "the manifest", _optional(cls))
        values = {n: _parse(kind, rest[n], n) for n, kind in hints.items() if n in rest}
        try:
            components = abi_from_json(rest["components"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"components cannot be read ({error!r})") from error
        staged = _expect(dict, rest["stages"], "stages", "an object")
        stages = {k: Stages.from_json(v, f"stages.{k}") for k, v in staged.items()}
        manifest = cls(**values, components=components, stages=stages)
        manifest._check()
        return manifest

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
            if name in ("", ".", "..") or "/" in name or "\\" in name or ":" in name:
                raise ArtifactError(f"files names {name!r}, which is no plain file name")
        # The artifact may narrow bounds, and leave functions out that are not to be measured;
        # names and dtypes are what the runtime is written for.
        known = abi(self.sizes)
        if not self.components.keys() & known.keys():
            raise ArtifactError(f"components has no function {next(iter(known))}")
        for name, found in self.components.items():
            if name not in known:
                continue
            wanted = known[name]
            for side in ("inputs", "outputs"):
                want = [(s.name, s.dtype, len(s.shape)) for s in getattr(wanted, side)]
                got = [(s.name, s.dtype, len(s.shape)) for s in getattr(found, side)]
                if want != got:
                    raise ArtifactError(
                        f"components: {name} has other {side} than this sam3-tvm calls it with: "
                        f"{found}"
                    )
        for name, stages in self.stages.items():
            _check_stages(name, stages, self.components)


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


def _optional(kind: type) -> set[str]:
    """The entries of a dataclass that need not be there."""
    return {f.name for f in fields(kind) if f.default is not MISSING}


def _check_keys(
    data: Mapping[str, Any], wanted: set[str], where: str, optional: Set[str] = frozenset()
) -> None:
    if missing := sorted(wanted - optional - set(data)):
        raise ArtifactError(f"{where} lacks {', '.join(missing)}")
    if unknown := sorted(set(data) - wanted):
        raise ArtifactError(f"{where} has unknown entries: {', '.join(unknown)}")


def _parse(kind: Any, value: Any, where: str) -> Any:
    """``value`` as ``kind``: a scalar, or an optional, tuple, dictionary or dataclass of them."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = next(a for a in args if a is not type(None))
        return None if value is None else _parse(inner, value, where)
    if origin is tuple:
        items = _expect(list, value, where, "a list")
        kinds = [args[0]] * len(items) if args[1:] == (...,) else args
        if len(items) != len(kinds):
            raise ArtifactError(f"{where} must have {len(kinds)} entries, got {value!r}")
        pairs = enumerate(zip(kinds, items, strict=True))
        return tuple(_parse(k, v, f"{where}[{i}]") for i, (k, v) in pairs)
    if origin is dict:
        entries = _expect(dict, value, where, "an object")
        return {k: _parse(args[1], v, f"{where}.{k}") for k, v in entries.items()}
    if is_dataclass(kind) and isinstance(kind, type):
        entries = _expect(dict, value, where, "an object")
        _check_keys(entries, {f.name for f in fields(kind)}, where, _optional(kind))
        hints = get_type_hints(kind)
        return kind(**{k: _parse(hints[k], v, f"{where}.{k}") for k, v in entries.items()})
    if kind is bool:
        return _expect(bool, value, where, "true or false")
    if isinstance(value, bool):
        raise ArtifactError(f"{where} must be {_WORDS[kind]}, got {value!r}")
    if kind is float:
        return float(_expect((int, float), value, where, _WORDS[kind]))
    return _expect(kind, value, where, _WORDS[kind])


_WORDS = {int: "an integer", float: "a number", str: "a string"}


def _expect(kind: Any, value: Any, where: str, words: str) -> Any:
    if not isinstance(value, kind):
        raise ArtifactError(f"{where} must be {words}, got {value!r}")
    return value
