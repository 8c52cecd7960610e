"""A checkpoint folder in Hugging Face's layout: what lies beside the weights, read and written."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers.models.sam3.modeling_sam3 import Sam3VisionNeck
from transformers.models.sam3_tracker_video.configuration_sam3_tracker_video import (
    Sam3TrackerVideoConfig,
)
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
    Sam3TrackerVideoModel,
)

from sam3_tvm.json_file import read_json as parse_file
from sam3_tvm.json_file import read_regular
from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.huggingface.architectures import ARCHITECTURES, architecture_of
from sam3_tvm.tokenizer_file import parse_tokenizer

__all__ = [
    "checkpoint_folder",
    "download",
    "making_a_model",
    "model_shapes",
    "read_config",
    "read_json",
    "read_pad_id",
    "read_tokenizer",
    "read_tracker_config",
    "tracker_shapes",
    "tracker_vision",
    "write_processing",
]

# Beyond these, making a model would never end. A vocabulary is the largest size in one.
_MOST = 1 << 24
_MOST_LAYERS = 4096

_AGAIN = "copy or download the checkpoint again"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint folder.

    Raises:
        SourceError: a file that can't be read, or one that holds something else.
    """
    try:
        data = parse_file(path)
    except OSError as error:
        raise SourceError(f"{path}: can't be read ({error.strerror}); {_AGAIN}") from error
    except ValueError as error:
        raise SourceError(f"{path}: can't be read ({error}); {_AGAIN}") from error
    if not isinstance(data, dict):
        raise SourceError(f"{path}: holds no JSON object; {_AGAIN}")
    return data


def read_config(path: Path) -> Any:
    """transformers' configuration of a detector, in a checkpoint folder or in a file, of an
    architecture that is served: ``Sam3Config`` as a rule.

    Raises:
        SourceError: one that can't be read or isn't SAM 3's.
    """
    file = path / "config.json" if os.path.isdir(path) else path
    try:
        described = _detector(parse_file(file))
        _check_counts(described)
        # Not from_pretrained, which passes over what it doesn't know of another model.
        return ARCHITECTURES[described["model_type"]].config.from_dict(described)
    except Exception as error:  # what transformers raises of a value is of no narrower class
        raise SourceError(f"{file} is no SAM 3 checkpoint: {_first_line(error)}") from error


def _detector(described: Any) -> dict[str, Any]:
    """The part of a ``config.json`` that describes the detector.

    Raises:
        ValueError: it describes another model.
    """
    if not isinstance(described, dict):
        raise ValueError("it holds no JSON object")
    kind = described.get("model_type")
    if kind == "sam3_video":
        described = described.get("detector_config")
        kind = described.get("model_type") if isinstance(described, dict) else None
    if not isinstance(kind, str) or kind not in ARCHITECTURES or not isinstance(described, dict):
        said = "it has no model_type" if kind is None else f"it is of model_type {kind!r}"
        served = ", ".join(ARCHITECTURES)
        raise ValueError(f"{said}, and {served}, or sam3_video with a detector_config, is wanted")
    return described


def _check_counts(described: dict[str, Any], where: str = "") -> None:
    """Refuse numbers of layers and sides of pictures that no model could be made of.

    Raises:
        ValueError: there is one.
    """
    for key, value in described.items():
        place = f"{where}{key}"
        most = _MOST_LAYERS if key.startswith("num_") else _MOST
        if isinstance(value, dict):
            _check_counts(value, f"{place}.")
        elif isinstance(value, (int, float)) and abs(value) > most:
            raise ValueError(f"{place} is {value}")


def _first_line(error: Exception) -> str:
    """What a library says, in a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:196]} ..."


@contextmanager
def making_a_model(where: Path, of: str) -> Iterator[None]:
    """Say of whatever is raised within that no model can be made of a configuration.

    Args:
        where: the checkpoint.
        of: the configuration in it.

    Raises:
        SourceError: anything was.
    """
    try:
        yield
    except Exception as error:  # what torch and transformers raise is of no narrower class
        raise SourceError(
            f"{where}: no model can be made of its {of}: {_first_line(error)}"
        ) from error


def model_shapes(config: Any, where: Path) -> dict[str, torch.Size]:
    """The shapes of transformers' own model, which is made without memory.

    Args:
        config: its configuration.
        where: the configuration's place, for errors.

    Raises:
        SourceError: no model can be made of it.
    """
    model = architecture_of(config).model
    with making_a_model(where, "config.json"), torch.device("meta"):
        return {name: t.shape for name, t in model(config).state_dict().items()}


def tracker_vision(tracker: Any, detector: Any) -> Any:
    """The configuration of a tracker's vision encoder: the detector's, whose backbone it shares,
    with a neck as wide as the tracker's other parts.

    Not as its own ``vision_config`` says, which in many a configuration is SAM 3's by default.

    Args:
        tracker: its configuration, for clicks or for video.
        detector: the detector's.
    """
    vision = copy.deepcopy(detector.vision_config)
    vision.fpn_hidden_size = tracker.prompt_encoder_config.hidden_size
    return vision


def read_tracker_config(path: Path | None, detector: Any) -> Sam3TrackerVideoConfig:
    """The configuration of the tracker beside a detector: the ``tracker_config`` in a checkpoint
    folder or in a file, or where there is none, SAM 3's.

    Args:
        path: the folder or the file; None for SAM 3's.
        detector: its configuration, whose vision encoder the tracker shares.

    Raises:
        SourceError: one that can't be read or isn't of SAM 3's tracker.
    """
    described: dict[str, Any] = {}
    if path is not None:
        file = path / "config.json" if os.path.isdir(path) else path
        described = read_json(file).get("tracker_config") or {}
    try:
        if not isinstance(described, dict):
            raise ValueError("it is no JSON object")
        _check_counts(described)
        config = Sam3TrackerVideoConfig(**described)
        config.vision_config = tracker_vision(config, detector)
    except Exception as error:  # what transformers raises of a value is of no narrower class
        raise SourceError(
            f"{path}: tracker_config is no tracker of SAM 3: {_first_line(error)}"
        ) from error
    return config


def tracker_shapes(config: Sam3TrackerVideoConfig, where: Path) -> dict[str, torch.Size]:
    """The shapes of transformers' own tracker and its neck, by their names beside a detector.

    Args:
        config: the tracker's configuration.
        where: the configuration's place, for errors.

    Raises:
        SourceError: no model can be made of it.
    """
    with making_a_model(where, "tracker_config"), torch.device("meta"):
        model = Sam3TrackerVideoModel(config, remove_vision_encoder=True)
        neck = Sam3VisionNeck(config.vision_config)
    return {
        **{f"tracker_model.{name}": t.shape for name, t in model.state_dict().items()},
        **{f"tracker_neck.{name}": t.shape for name, t in neck.state_dict().items()},
    }


def read_tokenizer(path: Path) -> str:
    """A ``tokenizer.json`` as text that the ``tokenizers`` library takes.

    Raises:
        SourceError: a file that can't be read, or that is no tokenizer.
    """
    try:
        return parse_tokenizer(read_regular(path)).to_str()
    except OSError as error:
        raise SourceError(f"{path}: is no tokenizer ({error.strerror}); {_AGAIN}") from error
    except ValueError as error:
        raise SourceError(f"{path}: is no tokenizer ({error}); {_AGAIN}") from error


def read_pad_id(folder: Path, tokenizer: str) -> int:
    """The padding token: the checkpoint's word, or CLIP's end of text, which CLIP pads with.

    Raises:
        SourceError: a file that can't be read, or a token that the tokenizer hasn't.
    """
    token: Any = None
    path = folder / "tokenizer_config.json"
    if os.path.isfile(path):
        token = read_json(path).get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
        if not (token is None or isinstance(token, str)):
            raise SourceError(f"{path}: pad_token is {token!r}, and must be a string; {_AGAIN}")
    found = Tokenizer.from_str(tokenizer).token_to_id(token or "<|endoftext|>")
    if found is None:
        raise SourceError(
            f"{folder}: tokenizer.json has no token {token or '<|endoftext|>'!r} to pad with; "
            "name one as pad_token in tokenizer_config.json"
        )
    return int(found)


def checkpoint_folder(checkpoint: str) -> Path:
    """The folder of a checkpoint: one here, or a hub repository's, fetched.

    Raises:
        SourceError: a file, or nothing of that name; see :func:`download`.
    """
    path = Path(checkpoint)
    if os.path.isdir(path):
        return path
    if os.path.exists(path):
        raise SourceError(
            f"{checkpoint}: is a file, and a checkpoint is the folder that holds it with its "
            f"config.json and tokenizer.json: give {path.parent}"
        )
    return download(checkpoint)


def download(checkpoint: str) -> Path:
    """Fetch a hub repository's checkpoint files (or find them in the cache).

    Raises:
        SourceError: no hub id, a gated repository, or no connection.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError

    if checkpoint.count("/") != 1:
        raise SourceError(
            f"no checkpoint {checkpoint!r}: neither a folder here nor a hub id "
            "(owner/name) nor Meta's sam3.pt nor random:sam3 or random:tiny"
        )
    try:
        return Path(
            snapshot_download(
                checkpoint,
                allow_patterns=["*.json", "model*.safetensors", "LICENSE*", "LICENCE*"],
            )
        )
    except GatedRepoError as error:
        raise SourceError(
            f"{checkpoint} is gated: accept its licence on its hub page, then run `hf auth login`"
        ) from error
    except HFValidationError as error:
        raise SourceError(f"{checkpoint!r} is neither a folder nor a valid hub id") from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"there is no folder {checkpoint} here, and it can't be fetched from the hub: {reason}"
        ) from error


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def write_processing(folder: Path, tokenizer: str, tokens: int, image: int) -> None:
    """Write what turns phrases and pictures into the model's inputs.

    Args:
        folder: where; it exists.
        tokenizer: as JSON text. Its last two ids are the start and the end of text, which pads.
        tokens: ids of a phrase, start and end included.
        image: side of the model's picture in pixels.
    """
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    rules = Tokenizer.from_str(tokenizer)
    *_, start, end = sorted(rules.get_vocab(), key=lambda token: rules.token_to_id(token) or 0)
    special = {"bos_token": start, "eos_token": end, "pad_token": end, "unk_token": end}
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {**special, "model_max_length": tokens, "tokenizer_class": "PreTrainedTokenizerFast"},
    )
    _write_json(
        folder / "preprocessor_config.json",
        {
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "rescale_factor": 1 / 255,
            "resample": 2,
            "size": {"height": image, "width": image},
        },
    )
