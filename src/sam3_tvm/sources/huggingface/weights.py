"""The weights in a checkpoint folder of Hugging Face's layout, by their names and shapes alone.

transformers loads what it knows and passes over the rest, with a line in its log at most. What is
passed over here is named, or refused: an adapter that isn't merged, tensors of another model, and
weights that are quantised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.huggingface.files import read_json
from sam3_tvm.sources.tensors import (
    MERGE,
    SplitKeys,
    check_dtypes,
    check_names,
    examples,
    quantised,
    split_transformers_keys,
)

__all__ = [
    "WEIGHTS",
    "Stored",
    "check_quantisation",
    "check_weights",
    "read_tensor",
    "stored_tensors",
]

WEIGHTS = "model.safetensors"

_LAYOUT = "a checkpoint folder holds config.json, model.safetensors and tokenizer.json"
_AGAIN = "copy or download the checkpoint again"

# safetensors' words for what torch calls otherwise.
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint, as its file's header describes it: dtypes in safetensors' words."""

    path: Path
    dtype: str
    shape: tuple[int, ...]


def stored_tensors(folder: Path) -> dict[str, Stored]:
    """Every tensor of a checkpoint folder by its name there, of one file or of an index's shards.

    Where there are both, the one file is taken, as transformers does it.

    Raises:
        SourceError: no weights, weights in another format, an index that doesn't fit its files, a
            file that can't be read, or an adapter beside the weights.
    """
    if adapters := sorted(path.name for path in folder.glob("adapter_*")):
        raise SourceError(
            f"{folder} holds an adapter ({adapters[0]}), which would be left out; {MERGE}"
        )
    index = folder / f"{WEIGHTS}.index.json"
    if (folder / WEIGHTS).is_file():
        return _headers(folder / WEIGHTS)
    if index.is_file():
        return _sharded(index)
    pickled = sorted(path.name for path in folder.glob("*.bin"))
    if pickled:
        raise SourceError(
            f"{folder} has its weights in {pickled[0]} and no {WEIGHTS}; save them as that "
            "(transformers: Sam3Model.from_pretrained, then save_pretrained)"
        )
    raise SourceError(f"{folder} has no {WEIGHTS}; {_LAYOUT}")


def _headers(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, "pt") as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 - no mapping
            return {
                key: Stored(path, one.get_dtype(), tuple(one.get_shape()))
                for key, one in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise SourceError(
            f"{path} is no SAM 3 checkpoint: its weights can't be read ({error}); {_AGAIN}"
        ) from error


def _sharded(index: Path) -> dict[str, Stored]:
    """The tensors of the shards that an index lists, held against its list."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise SourceError(f"{index}: has no weight_map, a shard for each tensor; {_AGAIN}")
    for name in places.values():
        if not isinstance(name, str) or PurePath(name).name != name or "\\" in name:
            raise SourceError(f"{index}: weight_map names {name!r}, which is no file name")
    found: dict[str, Stored] = {}
    for name in sorted(set(places.values())):
        if not (index.parent / name).is_file():
            raise SourceError(f"{index}: names {name}, which isn't there; {_AGAIN}")
        shard = _headers(index.parent / name)
        if astray := [key for key in shard if places.get(key) != name]:
            raise SourceError(
                f"{index}: doesn't say that {examples(astray)} is in {name}, which has it; {_AGAIN}"
            )
        found |= shard
    if lacking := places.keys() - found.keys():
        raise SourceError(
            f"{index}: says that {examples(lacking)} is in {places[min(lacking)]}, which lacks it; "
            f"{_AGAIN}"
        )
    return found


def check_weights(
    folder: Path, stored: Mapping[str, Stored], expected: Mapping[str, torch.Size]
) -> SplitKeys:
    """Hold a checkpoint's headers against the model that its configuration describes.

    Args:
        folder: the checkpoint's, for errors.
        stored: its tensors.
        expected: the model's, by their names in it.

    Returns:
        Its names, told apart.

    Raises:
        SourceError: tensors that are missing, unknown, an adapter's, quantised, or of another
            shape.
    """
    check_names(folder, stored)
    split = split_transformers_keys(stored)
    names = split.model
    if missing := expected.keys() - names.keys():
        raise SourceError(
            f"{folder}: {len(missing)} tensors are missing: {examples(missing)}; "
            "nothing is filled in at random"
        )
    if unknown := names.keys() - expected.keys():
        raise SourceError(
            f"{folder}: {len(unknown)} tensors that SAM 3 hasn't: "
            f"{examples(names[name] for name in unknown)}; by config.json there is no place for "
            "them, and nothing is left out unsaid"
        )
    # Of batch norms: how often training has run, which is no weight.
    used = (
        key
        for key in (*names.values(), *split.tracker.values())
        if not key.endswith(".num_batches_tracked")
    )
    check_dtypes(folder, ((key, _DTYPES.get(stored[key].dtype, stored[key].dtype)) for key in used))
    for name, key in names.items():
        if stored[key].shape != tuple(expected[name]):
            raise SourceError(
                f"{folder}: {key} is {list(stored[key].shape)}, and {list(expected[name])} by "
                "config.json; one of the two belongs to another checkpoint"
            )
    return split


def read_tensor(stored: Mapping[str, Stored], key: str) -> torch.Tensor:
    """A tensor, mapped from its file."""
    with safe_open(stored[key].path, "pt") as file:
        tensor: torch.Tensor = file.get_tensor(key)
        return tensor


def check_quantisation(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a configuration that says that weights are quantised.

    Raises:
        SourceError: it does.
    """
    for part in (config, *(v for v in config.values() if isinstance(v, dict))):
        if part.get("quantization_config"):
            method = part["quantization_config"]
            if isinstance(method, dict):
                method = method.get("quant_method", "unknown")
            raise quantised(folder, f"its config.json has quantization_config ({method})")
