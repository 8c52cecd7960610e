"""From Meta's checkpoint to transformers' and back, tensor by tensor, every one accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from transformers import Sam3Config

from sam3_tvm.progress import Progress, silent
from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.huggingface.files import (
    checkpoint_folder,
    model_shapes,
    read_config,
    read_json,
    write_processing,
)
from sam3_tvm.sources.huggingface.weights import (
    WEIGHTS,
    check_quantisation,
    check_weights,
    read_tensor,
    stored_tensors,
)
from sam3_tvm.sources.meta.checkpoint import FILE, Checkpoint, checkpoint_file, read_checkpoint
from sam3_tvm.sources.meta.environment import installed_licence
from sam3_tvm.sources.meta.keys import (
    POINTS,
    Change,
    Entry,
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
        tracker: names that were left out because they are the tracker's.
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

    Meta's ``sam3.pt`` becomes a folder in Hugging Face's layout; such a folder, or a hub id,
    becomes a folder with ``sam3.pt``. The folder carries tokenizer and licence, too, and
    appears whole or not at all. Values and dtypes are not changed; ``config.json`` gets the epsilon
    of layer norms in Meta's vision encoder.

    Args:
        checkpoint: what :func:`sam3_tvm.sources.open_source` takes, but for random weights.
        output: the folder to write; absent or empty.
        config: transformers' ``config.json`` of a model of other sizes than SAM 3's.
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


def _write_licence(folder: Path, licence: Licence | None) -> None:
    if licence is not None:
        (folder / "LICENSE").write_text(licence.text, encoding="utf-8")


# Meta's to transformers'


def _to_transformers(
    checkpoint: Checkpoint, output: Path, config: Path | None, progress: Progress
) -> Conversion:
    known = read_config(config) if config is not None else Sam3Config()
    # transformers' default is 1e-6, and shows in the features' fifth digit.
    known.vision_config.backbone_config.layer_norm_eps = _VISION_EPS
    tokenizer = find_tokenizer(checkpoint.path.parent)
    licence = read_licence(checkpoint.path.parent) or installed_licence()
    tensors: dict[str, torch.Tensor] = {}
    left_out, unknown = [], []
    for name, tensor in checkpoint.tensors.items():
        entry = meta_entry(name)
        if entry is not None:
            tensors |= _transformers_tensors(entry, tensor)
        elif name in POINTS:
            left_out.append(checkpoint.keys.model[name])
        else:
            unknown.append(checkpoint.keys.model[name])
    _check_unknown(checkpoint.path, unknown)
    _check_in_meta_s_names(checkpoint.path, tensors, model_shapes(known, config or checkpoint.path))
    with _folder(output) as made:
        progress(f"writing {WEIGHTS}", 0, 1)
        save_file(tensors, made / WEIGHTS, {"format": "pt"})
        known.architectures = ["Sam3Model"]
        known.save_pretrained(made)
        tokens = known.text_config.max_position_embeddings
        write_processing(made, tokenizer, tokens, known.image_size)
        _write_licence(made, licence)
    progress("done", 1, 1)
    return Conversion(
        output,
        "transformers",
        len(tensors),
        sum(t.numel() for t in tensors.values()),
        tuple(checkpoint.keys.tracker),
        tuple(left_out),
        tuple(checkpoint.keys.computed),
    )


def _transformers_tensors(entry: Entry, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """Views of Meta's tensor, which may lie in a mapped file."""
    parts: tuple[torch.Tensor, ...] = (tensor,)
    if entry.change is Change.THREE:
        if tensor.shape[0] % 3:
            raise SourceError(
                f"{entry.meta} has {tensor.shape[0]} rows, not as many for query, key and value"
            )
        parts = tensor.chunk(3)
    elif entry.change is Change.TRANSPOSED:
        parts = (tensor.t().contiguous(),)
    elif entry.change is Change.WITHOUT_CLASS:
        parts = (tensor[:, 1:],)
    return dict(zip(entry.transformers, parts, strict=True))


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
        return {entry.meta for entry in entries if entry is not None}

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
    config = read_config(folder)
    tokenizer = find_tokenizer(folder)
    check_quantisation(folder, read_json(folder / "config.json"))
    stored = stored_tensors(folder)
    split = check_weights(folder, stored, model_shapes(config, folder))
    entries: dict[str, Entry] = {}
    unknown = []
    for name, key in split.model.items():
        entry = transformers_entry(name)
        if entry is None:
            unknown.append(key)
        else:
            entries[entry.meta] = entry
    _check_unknown(folder, unknown)
    tensors = {}
    for done, (name, entry) in enumerate(sorted(entries.items())):
        progress("reading tensors", done, len(entries) + 1)
        parts = [read_tensor(stored, split.model[part]) for part in entry.transformers]
        tensors[f"detector.{name}"] = _meta_tensor(entry, parts)
    with _folder(output) as made:
        progress(f"writing {FILE}", len(entries), len(entries) + 1)
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
        tuple(split.tracker),
        (),
        tuple(split.computed),
        tuple(_filled(entries, config)),
    )


def _filled(entries: Mapping[str, Entry], config: Sam3Config) -> Iterator[str]:
    """What is otherwise in Meta's format, in words."""
    for name, entry in entries.items():
        if entry.change is Change.WITHOUT_CLASS:
            yield f"detector.{name}: zeros for the class token, which SAM 3 doesn't use"
    yield "no layers for points, which transformers' checkpoints haven't"
    epsilon = config.vision_config.backbone_config.layer_norm_eps
    if epsilon != _VISION_EPS:
        yield (
            f"layer norms of the vision encoder add {_VISION_EPS:g} to variances in Meta's code, "
            f"and {epsilon:g} by this config.json: features differ in the fifth digit"
        )


def _meta_tensor(entry: Entry, parts: list[torch.Tensor]) -> torch.Tensor:
    first = parts[0]
    if entry.change is Change.THREE:
        return torch.cat(parts)
    if entry.change is Change.TRANSPOSED:
        return first.t().contiguous()
    if entry.change is Change.WITHOUT_CLASS:
        return torch.cat([torch.zeros_like(first[:, :1]), first], dim=1)
    # A tensor of its own: torch.save writes the whole storage that a tensor is a part of.
    return first.clone()
