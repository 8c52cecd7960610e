"""Meta's checkpoint file (``sam3.pt``): read without running anything in it, and accounted for."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.meta.keys import POINTS, split_meta_keys
from sam3_tvm.sources.tensors import SplitKeys, check_dtypes, check_finite, check_names, examples

__all__ = ["FILE", "Checkpoint", "checkpoint_file", "load_into", "load_tracker", "read_checkpoint"]

FILE = "sam3.pt"
"""The file's name on the hub."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        tensors: the image model's, by the names that it has for them. They are mapped: a page is
            read when it is touched.
        tracker: the tracker's, by the names of :mod:`sam3_tvm.sources.meta.keys`; mapped, too.
        keys: all names in the file, by whose they are.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    tracker: dict[str, torch.Tensor]
    keys: SplitKeys


def checkpoint_file(checkpoint: str) -> Path | None:
    """The file of Meta's that ``checkpoint`` names: itself, or ``sam3.pt`` in a folder that has
    no ``config.json``, by which transformers' are known. None if it names no such file."""
    path = Path(checkpoint)
    if os.path.isdir(path):
        path = path / FILE
        ours = os.path.isfile(path) and not os.path.exists(path.parent / "config.json")
        return path if ours else None
    return path if path.suffix in (".pt", ".pth") else None


def read_checkpoint(path: Path) -> Checkpoint:
    """Map a checkpoint file of Meta's, in any of the spellings seen in the wild.

    Raises:
        SourceError: no such file, one that isn't a checkpoint, or one that would run code.
    """
    if not os.path.isfile(path):
        raise SourceError(f"{path}: no such file; give the path of Meta's {FILE}")
    try:
        data = _load(path)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{path}: holds more than tensors, and loading it could run code; "
            "a checkpoint is a dict of tensors, saved by torch.save"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"{path}: is no checkpoint of torch's ({reason}); download it again"
        ) from error
    for wrapper in ("model", "state_dict"):
        if isinstance(data, dict) and isinstance(data.get(wrapper), dict):
            data = data[wrapper]
    if not isinstance(data, dict) or not data:
        raise SourceError(f"{path}: holds no tensors by name, but {type(data).__name__}")
    if other := [name for name in data if not isinstance(name, str)]:
        raise SourceError(f"{path}: holds no tensors by name: it has the key {other[0]!r}")
    check_names(path, data)
    keys = split_meta_keys(data)
    tensors = {name: data[key] for name, key in keys.model.items()}
    tracker = {name: data[key] for name, key in keys.tracker.items()}
    known = tensors | tracker
    if other := [name for name, value in known.items() if not isinstance(value, torch.Tensor)]:
        raise SourceError(f"{path}: no tensors but something else: {examples(other)}")
    dtypes = ((name, str(tensor.dtype).removeprefix("torch.")) for name, tensor in known.items())
    check_dtypes(path, dtypes)
    return Checkpoint(path, tensors, tracker, keys)


def _load(path: Path) -> Any:
    def load(mapped: bool) -> Any:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)

    try:
        return load(mapped=True)
    except RuntimeError:
        # torch before 1.6 wrote files that can't be mapped.
        return load(mapped=False)


def load_into(model: torch.nn.Module, checkpoint: Checkpoint) -> bool:
    """Give Meta's image model a checkpoint's tensors, in float32.

    Layers for points may be missing, all of them (transformers' checkpoints have none); they
    become zeros then, and the model must not be given points.

    Returns:
        Whether the checkpoint has the layers for points.

    Raises:
        SourceError: tensors that are missing, unknown or of another shape.
    """
    state = model.state_dict()
    expected = {name: state[name] for name in split_meta_keys(state).model}
    points = any(name in checkpoint.tensors for name in POINTS)
    optional = () if points else POINTS
    _check_names(checkpoint, checkpoint.tensors, checkpoint.keys.model, expected, optional)
    check_finite(checkpoint.path, checkpoint.tensors.items())
    values = {name: tensor.float() for name, tensor in checkpoint.tensors.items()}
    values |= {name: torch.zeros_like(expected[name]) for name in optional}
    model.load_state_dict(values, strict=False, assign=True)
    return points


def load_tracker(tracker: torch.nn.Module, model: Any, checkpoint: Checkpoint) -> None:
    """Give Meta's tracker, and its neck in the image model, a checkpoint's tensors, in float32.

    Raises:
        SourceError: tensors that are missing, unknown or of another shape.
    """
    neck = model.backbone.vision_backbone.sam2_convs
    parts = {"tracker.": tracker, "backbone.vision_backbone.sam2_convs.": neck}
    expected = {
        f"{prefix}{name}": tensor
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
    }
    _check_names(checkpoint, checkpoint.tracker, checkpoint.keys.tracker, expected)
    check_finite(checkpoint.path, checkpoint.tracker.items())
    for prefix, part in parts.items():
        given = {n: t for n, t in checkpoint.tracker.items() if n.startswith(prefix)}
        values = {n.removeprefix(prefix): tensor.float() for n, tensor in given.items()}
        part.load_state_dict(values, assign=True)


def _check_names(
    checkpoint: Checkpoint,
    tensors: Mapping[str, torch.Tensor],
    keys: Mapping[str, str],
    expected: Mapping[str, torch.Tensor],
    optional: tuple[str, ...] = (),
) -> None:
    """Refuse a checkpoint that doesn't hold exactly the expected tensors."""
    path = checkpoint.path
    if missing := expected.keys() - tensors.keys() - set(optional):
        raise SourceError(
            f"{path}: {len(missing)} tensors are missing ({examples(missing)}); "
            "nothing is filled in at random"
        )
    if unknown := tensors.keys() - expected.keys():
        names = examples(keys[name] for name in unknown)
        raise SourceError(f"{path}: {len(unknown)} tensors that SAM 3 hasn't: {names}")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise SourceError(
                f"{path}: {name} is {list(tensor.shape)}, and {list(expected[name].shape)} in SAM 3"
            )
