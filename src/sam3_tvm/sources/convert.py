"""From Meta's checkpoint to transformers' and back, tensor by tensor, every one accounted for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import Sam3Config
from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig

from sam3_tvm.progress import Progress, silent
from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.huggingface.files import (
    checkpoint_folder,
    model_shapes,
    read_config,
    read_json,
    read_tracker_config,
    tracker_shapes,
    write_processing,
)
from sam3_tvm.sources.huggingface.weights import (
    WEIGHTS,
    check_quantisation,
    check_weights,
    read_tensor,
    stored_tensors,
)
from sam3_tvm.sources.meta.changes import meta_tensors, transformers_tensors
from sam3_tvm.sources.meta.checkpoint import FILE, Checkpoint, checkpoint_file, read_checkpoint
from sam3_tvm.sources.meta.environment import installed_licence
from sam3_tvm.sources.meta.keys import (
    POINTS,
    Change,
    Entry,
    file_name,
    meta_entry,
    transformers_entry,
)
from sam3_tvm.sources.meta.vocabulary import find_tokenizer
from sam3_tvm.sources.tensors import examples
from sam3_tvm.unfinished import unfinished_folder

__all__ = ["Conversion", "convert"]

_VISION_EPS = 1e-5
"""What Meta's vision encoder adds to variances: the default of torch.nn.LayerNorm."""


@dataclass(frozen=True)
class Conversion:
    """What became of a checkpoint.

    Attributes:
        path: the folder written.
        format: ``"transformers"`` or ``"meta"``.
        tensors: how many were written.
        parameters: numbers in them.
        tracker: names that were left out because they are a tracker's that isn't whole.
        left_out: names that were left out because the other format has no such layers.
        computed: names that were left out because the model computes them.
        filled: what was filled in, and with what.
    """

    path: Path
    format: str
    tensors: int
    parameters: int
    tracker: tuple[str, ...]
    left_out: tuple[str, ...]
    computed: tuple[str, ...]
    filled: tuple[str, ...] = ()


def convert(
    checkpoint: str, output: Path, *, config: Path | None = None, progress: Progress = silent
) -> Conversion:
    """Write a checkpoint of one format in the other.

    Meta's ``sam3.pt`` becomes a folder in Hugging Face's layout, of ``Sam3VideoModel`` if the file
    has the tracker and of ``Sam3Model`` if it hasn't; such a folder, or a hub id, becomes a folder
    with ``sam3.pt``. A tracker some of whose tensors are missing is left out, and reported. The
    folder carries tokenizer and licence, too, and appears whole or not at all. Values and dtypes
    are not changed; ``config.json`` gets the epsilon of layer norms in Meta's vision encoder.

    Args:
        checkpoint: what :func:`sam3_tvm.sources.open_source` takes, but for random weights.
        output: the folder to write; absent or empty.
        config: transformers' ``config.json`` of a model of other sizes than SAM 3's; one with a
            ``tracker_config`` if the tracker's differ, too.
        progress: hears of each tensor.

    Raises:
        SourceError: a checkpoint that can't be read or whose tensors aren't SAM 3's, no tokenizer
            for it, or an output folder that isn't empty.
    """
    _check_empty(output)
    if checkpoint.startswith("random:"):
        raise SourceError(
            f"{checkpoint}: has no file to convert; give Meta's {FILE}, a folder in Hugging Face's "
            "layout or a hub id"
        )
    path = checkpoint_file(checkpoint)
    if path is not None:
        return _to_transformers(read_checkpoint(path), output, config, progress)
    return _to_meta(checkpoint_folder(checkpoint), output, progress)


def _check_empty(output: Path) -> None:
    advice = "choose another with -o"
    try:
        if any(output.iterdir()):
            raise SourceError(f"{output}: exists and is not an empty folder; {advice}")
    except FileNotFoundError:
        if output.is_symlink():
            raise SourceError(f"{output}: is a link that leads nowhere; {advice}") from None
    except NotADirectoryError as error:
        raise SourceError(f"{output}: exists and is not an empty folder; {advice}") from error
    except OSError as error:  # such as a name that is too long
        raise SourceError(f"{output}: cannot be written ({error.strerror}); {advice}") from error


@contextmanager
def _folder(final: Path) -> Iterator[Path]:
    """A folder beside ``final`` that becomes it at the end."""
    try:
        with unfinished_folder(final) as made:
            yield made
            if final.exists():
                final.rmdir()
            made.rename(final)
    # What is inside writes: torch and safetensors have errors of their own for a full disk.
    except (OSError, RuntimeError, SafetensorError) as error:
        # Where torch is handed a file, what that says is the cause of what torch does.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or " ".join(str(cause).split())[:200]
        raise SourceError(
            f"{final}: cannot be written ({reason}); choose another with -o"
        ) from error


def _read_sam3(path: Path) -> Sam3Config:
    """The configuration of a detector that Meta's package has, too.

    Raises:
        SourceError: another architecture's.
    """
    config = read_config(path)
    if not isinstance(config, Sam3Config):
        raise SourceError(
            f"{path}: is of model_type {config.model_type!r}, which Meta's package doesn't have; "
            "sam3 alone is converted"
        )
    return config


def _write_licence(folder: Path, licence: Licence | None) -> None:
    if licence is not None:
        (folder / "LICENSE").write_text(licence.text, encoding="utf-8")


# Meta's to transformers'


def _to_transformers(
    checkpoint: Checkpoint, output: Path, config: Path | None, progress: Progress
) -> Conversion:
    known = _read_sam3(config) if config is not None else Sam3Config()
    # transformers' default is 1e-6, and shows in the features' fifth digit.
    known.vision_config.backbone_config.layer_norm_eps = _VISION_EPS
    where = config or checkpoint.path
    followed = read_tracker_config(config, known)
    tokenizer = find_tokenizer(checkpoint.path.parent)
    licence = read_licence(checkpoint.path.parent) or installed_licence()
    left_out = [key for name, key in checkpoint.keys.model.items() if name in POINTS]
    detector = {n: t for n, t in checkpoint.tensors.items() if n not in POINTS}
    shapes = model_shapes(known, where)
    tensors = _mapped(checkpoint, detector)
    _check_in_meta_s_names(checkpoint.path, tensors, shapes)
    of_tracker = tracker_shapes(followed, where)
    entries = {entry for entry in map(transformers_entry, of_tracker) if entry is not None}
    lacking = {n for entry in entries for n in entry.meta} - checkpoint.tracker.keys()
    _check_unknown(
        checkpoint.path,
        [key for name, key in checkpoint.keys.tracker.items() if meta_entry(name) is None],
    )
    if whole := bool(checkpoint.tracker) and not lacking:
        followers = _mapped(checkpoint, checkpoint.tracker)
        _check_in_meta_s_names(checkpoint.path, followers, of_tracker)
        tensors = {f"detector_model.{name}": tensor for name, tensor in tensors.items()} | followers
    written = Sam3VideoConfig(detector_config=known, tracker_config=followed) if whole else known
    written.architectures = ["Sam3VideoModel" if whole else "Sam3Model"]
    with _folder(output) as made:
        progress(f"writing {WEIGHTS}", 0, 1)
        save_file(tensors, made / WEIGHTS, {"format": "pt"})
        written.save_pretrained(made)
        tokens = known.text_config.max_position_embeddings
        write_processing(made, tokenizer, tokens, known.image_size)
        _write_licence(made, licence)
    progress("done", 1, 1)
    return Conversion(
        output,
        "transformers",
        len(tensors),
        sum(t.numel() for t in tensors.values()),
        () if whole else tuple(checkpoint.keys.tracker.values()),
        tuple(left_out),
        tuple(checkpoint.keys.computed),
        tuple(_not_whole(checkpoint.tracker, lacking)),
    )


def _not_whole(tracker: Collection[str], lacking: Collection[str]) -> Iterator[str]:
    """Why a tracker was left out, in words."""
    if tracker and lacking:
        yield f"no tracker: {len(lacking)} of its tensors are missing: {examples(lacking)}"


def _mapped(checkpoint: Checkpoint, given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' tensors of some of Meta's, which may lie in a mapped file."""
    entries = {name: meta_entry(name) for name in given}
    keys = checkpoint.keys.model | checkpoint.keys.tracker
    _check_unknown(checkpoint.path, [keys[n] for n, entry in entries.items() if entry is None])
    tensors: dict[str, torch.Tensor] = {}
    for entry in {entry for entry in entries.values() if entry is not None}:
        if missing := [name for name in entry.meta if name not in given]:
            raise SourceError(f"{checkpoint.path}: {examples(missing)} is missing")
        tensors |= transformers_tensors(entry, [given[name] for name in entry.meta])
    return tensors


def _check_unknown(path: Path, unknown: list[str]) -> None:
    if unknown:
        raise SourceError(
            f"{path}: {len(unknown)} tensors that SAM 3 hasn't: {examples(unknown)}; "
            "is it a checkpoint of another model?"
        )


def _check_in_meta_s_names(
    path: Path, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Size]
) -> None:
    """Hold what is to be written against the model, and name faults as the file has them."""
    advice = "if it is a model of other sizes, name its config.json with --config"

    def named(names: Iterable[str]) -> set[str]:
        entries = (transformers_entry(name) for name in names)
        return {name for entry in entries if entry is not None for name in entry.meta}

    if missing := named(expected.keys() - tensors.keys()):
        raise SourceError(
            f"{path}: {len(missing)} tensors are missing: {examples(missing)}; {advice}"
        )
    if many := named(tensors.keys() - expected.keys()):
        raise SourceError(f"{path}: {len(many)} tensors too many: {examples(many)}; {advice}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name]:
            raise SourceError(
                f"{path}: {examples(named([name]))} is of another size than SAM 3's "
                f"({list(tensor.shape)}, not {list(expected[name])}, as {name}); {advice}"
            )


# transformers' to Meta's


def _to_meta(folder: Path, output: Path, progress: Progress) -> Conversion:
    config = _read_sam3(folder)
    tokenizer = find_tokenizer(folder)
    check_quantisation(folder, read_json(folder / "config.json"))
    stored = stored_tensors(folder)
    shapes = model_shapes(config, folder)
    split = check_weights(folder, stored, shapes)
    keys = split.model | split.tracker
    entries = {name: transformers_entry(name) for name in keys}
    _check_unknown(folder, [keys[name] for name, entry in entries.items() if entry is None])
    lacking: set[str] = set()
    if split.tracker:
        of_tracker = tracker_shapes(read_tracker_config(folder, config), folder)
        lacking = of_tracker.keys() - split.tracker.keys()
        for name in () if lacking else split.tracker:
            if name not in of_tracker or stored[keys[name]].shape != tuple(of_tracker[name]):
                raise SourceError(
                    f"{folder}: {keys[name]} is {list(stored[keys[name]].shape)}, and "
                    f"{list(of_tracker.get(name, ()))} by config.json; one of the two belongs to "
                    "another checkpoint"
                )
    carried = split.model if lacking else keys
    wanted = {entry for name, entry in entries.items() if entry is not None and name in carried}
    tensors: dict[str, torch.Tensor] = {}
    for done, entry in enumerate(sorted(wanted, key=lambda entry: entry.meta)):
        progress("reading tensors", done, len(wanted) + 1)
        parts = [read_tensor(stored, keys[part]) for part in entry.transformers]
        for name, tensor in meta_tensors(entry, parts).items():
            tensors[file_name(name)] = tensor
    with _folder(output) as made:
        progress(f"writing {FILE}", len(wanted), len(wanted) + 1)
        with (made / FILE).open("wb") as file:
            torch.save(tensors, file)
        (made / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
        _write_licence(made, read_licence(folder))
    progress("done", 1, 1)
    return Conversion(
        output,
        "meta",
        len(tensors),
        sum(t.numel() for t in tensors.values()),
        tuple(split.tracker.values()) if lacking else (),
        (),
        tuple(split.computed),
        (*_filled(wanted, config), *_not_whole(split.tracker, lacking)),
    )


def _filled(entries: Iterable[Entry], config: Sam3Config) -> Iterator[str]:
    """What is otherwise in Meta's format, in words."""
    for entry in entries:
        if entry.change is Change.WITHOUT_CLASS:
            yield (
                f"{file_name(entry.meta[0])}: zeros for the class token, which SAM 3 doesn't use"
            )
    yield "no layers for points, which transformers' checkpoints haven't"
    epsilon = config.vision_config.backbone_config.layer_norm_eps
    if epsilon != _VISION_EPS:
        yield (
            f"layer norms of the vision encoder add {_VISION_EPS:g} to variances in Meta's code, "
            f"and {epsilon:g} by this config.json: features differ in the fifth digit"
        )
