"""From Meta's checkpoint to transformers' and back, tensor by tensor, every one accounted for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import Sam3Config
from transformers.models.sam3.modeling_sam3 import Sam3Model

from sam3_tvm.progress import Progress, silent
from sam3_tvm.sources.base import Licence, SourceError, read_licence
from sam3_tvm.sources.huggingface import download, write_processing
from sam3_tvm.sources.meta.checkpoint import FILE, Checkpoint, checkpoint_file, read_checkpoint
from sam3_tvm.sources.meta.environment import installed_licence
from sam3_tvm.sources.meta.keys import (
    POINTS,
    Change,
    Entry,
    examples,
    meta_entry,
    split_transformers_keys,
    transformers_entry,
)
from sam3_tvm.sources.meta.vocabulary import find_tokenizer
from sam3_tvm.sources.safetensors_file import Stored, write_safetensors

__all__ = ["Conversion", "convert"]

_WEIGHTS = "model.safetensors"
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
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SourceError(f"{output}: exists and is not an empty folder; choose another with -o")
    if checkpoint.startswith("random:"):
        raise SourceError(f"{checkpoint}: is made when it is asked for; convert takes a checkpoint")
    path = checkpoint_file(checkpoint)
    with _folder(output) as made:
        if path is not None:
            return _to_transformers(read_checkpoint(path), made, output, config, progress)
        folder = Path(checkpoint) if Path(checkpoint).is_dir() else download(checkpoint)
        return _to_meta(folder, made, output, progress)


@contextmanager
def _folder(final: Path) -> Iterator[Path]:
    """A folder beside ``final`` that becomes it at the end."""
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=f".{final.name}.") as temporary:
            made = Path(temporary) / "made"
            made.mkdir()
            yield made
            if final.exists():
                final.rmdir()
            made.rename(final)
    except OSError as error:
        raise SourceError(f"{final}: cannot be written ({error.strerror or error})") from error


def _steps(progress: Progress, label: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(label, done, total)


def _write_licence(folder: Path, licence: Licence | None) -> None:
    if licence is not None:
        (folder / "LICENSE").write_text(licence.text, encoding="utf-8")


# Meta's to transformers'


def _to_transformers(
    checkpoint: Checkpoint, made: Path, output: Path, config: Path | None, progress: Progress
) -> Conversion:
    known = _read_config(config) if config is not None else Sam3Config()
    # transformers' default is 1e-6, and shows in the features' fifth digit.
    known.vision_config.backbone_config.layer_norm_eps = _VISION_EPS
    tokenizer = find_tokenizer(checkpoint.path.parent)
    stored: dict[str, Stored] = {}
    left_out, unknown = [], []
    for name, tensor in checkpoint.tensors.items():
        entry = meta_entry(name)
        if entry is not None:
            stored |= _transformers_tensors(entry, tensor)
        elif name in POINTS:
            left_out.append(checkpoint.keys.model[name])
        else:
            unknown.append(checkpoint.keys.model[name])
    if unknown:
        raise SourceError(
            f"{checkpoint.path}: {len(unknown)} tensors that SAM 3 hasn't: {examples(unknown)}"
        )
    _check_shapes(checkpoint.path, stored, known)
    write_safetensors(
        made / _WEIGHTS, dict(sorted(stored.items())), _steps(progress, f"writing {_WEIGHTS}")
    )
    known.architectures = ["Sam3Model"]
    known.save_pretrained(made)
    write_processing(made, tokenizer, known.text_config.max_position_embeddings, known.image_size)
    _write_licence(made, read_licence(checkpoint.path.parent) or installed_licence())
    return Conversion(
        output,
        "transformers",
        len(stored),
        sum(torch.Size(s.shape).numel() for s in stored.values()),
        tuple(checkpoint.keys.tracker),
        tuple(left_out),
        tuple(checkpoint.keys.computed),
    )


def _transformers_tensors(entry: Entry, tensor: torch.Tensor) -> dict[str, Stored]:
    if entry.change is Change.THREE and tensor.shape[0] % 3:
        raise SourceError(f"{entry.meta} has {tensor.shape[0]} rows, which are not three times any")
    parts: tuple[torch.Tensor, ...] = (tensor,)
    if entry.change is Change.THREE:
        parts = tensor.chunk(3)
    elif entry.change is Change.TRANSPOSED:
        parts = (tensor.t(),)
    elif entry.change is Change.WITHOUT_CLASS:
        parts = (tensor[:, 1:],)

    def one(part: torch.Tensor) -> Stored:
        return Stored(tuple(part.shape), part.dtype, lambda: part)

    return {name: one(part) for name, part in zip(entry.transformers, parts, strict=True)}


def _read_config(path: Path) -> Sam3Config:
    try:
        return Sam3Config.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{path}: is no configuration of SAM 3 ({reason})") from error


def _check_shapes(path: Path, stored: dict[str, Stored], config: Sam3Config) -> None:
    """Hold what is to be written against transformers' own model, which takes no memory here."""
    with torch.device("meta"):
        expected = Sam3Model(config).state_dict()
    if missing := expected.keys() - stored.keys():
        raise SourceError(f"{path}: {len(missing)} tensors are missing: {_in_meta(missing)}")
    if unknown := stored.keys() - expected.keys():
        raise SourceError(f"{path}: {len(unknown)} tensors too many: {_in_meta(unknown)}")
    for name, one in stored.items():
        if one.shape != tuple(expected[name].shape):
            raise SourceError(
                f"{path}: {_in_meta([name])} is of another size than SAM 3's ({list(one.shape)}, "
                f"not {list(expected[name].shape)}, as {name}); name its config.json with --config"
            )


def _in_meta(names: set[str] | list[str]) -> str:
    entries = (transformers_entry(name) for name in names)
    return examples({entry.meta for entry in entries if entry is not None})


# transformers' to Meta's


def _to_meta(folder: Path, made: Path, output: Path, progress: Progress) -> Conversion:
    tokenizer = find_tokenizer(folder)
    files = _safetensors(folder)
    split = split_transformers_keys(files)
    entries: dict[str, Entry] = {}
    unknown = []
    for name, key in split.model.items():
        entry = transformers_entry(name)
        if entry is None:
            unknown.append(key)
        else:
            entries[entry.meta] = entry
    if unknown:
        raise SourceError(
            f"{folder}: {len(unknown)} tensors that SAM 3 hasn't: {examples(unknown)}"
        )
    needed = {name for entry in entries.values() for name in entry.transformers}
    with torch.device("meta"):
        needed |= Sam3Model(_read_config(folder)).state_dict().keys()
    if missing := needed - split.model.keys():
        raise SourceError(f"{folder}: {len(missing)} tensors are missing: {examples(missing)}")
    tensors = {}
    for done, (name, entry) in enumerate(sorted(entries.items())):
        progress("reading tensors", done, len(entries) + 1)
        keys = [split.model[n] for n in entry.transformers]
        tensors[f"detector.{name}"] = _meta_tensor(entry, [_read(files[k], k) for k in keys])
    progress(f"writing {FILE}", len(entries), len(entries) + 1)
    torch.save(tensors, made / FILE)
    rules = Tokenizer.from_str(tokenizer)
    (made / "tokenizer.json").write_text(rules.to_str(), encoding="utf-8")
    _write_licence(made, read_licence(folder))
    classes = [n for n, e in entries.items() if e.change is Change.WITHOUT_CLASS]
    return Conversion(
        output,
        "meta",
        len(tensors),
        sum(t.numel() for t in tensors.values()),
        tuple(split.tracker),
        (),
        tuple(split.computed),
        (
            *(f"detector.{n}: zeros for the class token, which SAM 3 doesn't use" for n in classes),
            "no layers for points, which transformers' checkpoints haven't",
        ),
    )


def _safetensors(folder: Path) -> dict[str, Path]:
    """The file of each tensor of a checkpoint folder."""
    index = folder / f"{_WEIGHTS}.index.json"
    try:
        names = (
            sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            if index.is_file()
            else [_WEIGHTS]
        )
        found: dict[str, Path] = {}
        for name in names:
            with safe_open(folder / name, "pt") as file:
                found |= dict.fromkeys(file.keys(), folder / name)
    except FileNotFoundError as error:
        raise SourceError(
            f"{folder} has no {_WEIGHTS}; convert takes Meta's {FILE} or a folder in "
            "Hugging Face's layout"
        ) from error
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"{folder}: its weights can't be read ({error})") from error
    return found


def _read(path: Path, key: str) -> torch.Tensor:
    with safe_open(path, "pt") as file:
        tensor: torch.Tensor = file.get_tensor(key)
        return tensor


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
