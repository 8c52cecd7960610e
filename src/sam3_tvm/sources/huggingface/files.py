"""A checkpoint folder in Hugging Face's layout: what lies beside the weights, read and written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import Sam3Config

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import SourceError

__all__ = [
    "download",
    "read_config",
    "read_json",
    "read_pad_id",
    "read_preprocessing",
    "read_tokenizer",
    "write_processing",
]

_AGAIN = "copy or download the checkpoint again"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint folder.

    Raises:
        SourceError: a file that can't be read, or one that holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: can't be read ({error}); {_AGAIN}") from error
    if not isinstance(data, dict):
        raise SourceError(f"{path}: holds no JSON object; {_AGAIN}")
    return data


def read_config(path: Path) -> Sam3Config:
    """transformers' configuration in a checkpoint folder, or in a file.

    Raises:
        SourceError: one that can't be read or isn't SAM 3's.
    """
    try:
        return Sam3Config.from_pretrained(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{path} is no SAM 3 checkpoint: {reason}") from error


def read_tokenizer(path: Path) -> str:
    """A ``tokenizer.json`` as text that the ``tokenizers`` library takes.

    Raises:
        SourceError: a file that can't be read, or that is no tokenizer.
    """
    try:
        text = path.read_text(encoding="utf-8")
        Tokenizer.from_str(text)
    except Exception as error:  # what tokenizers raises is of no narrower class
        raise SourceError(f"{path}: is no tokenizer ({error}); {_AGAIN}") from error
    return text


def read_preprocessing(folder: Path | None, image_size: int) -> Preprocessing:
    """How a checkpoint's pictures are scaled: its own values; SAM 3's where it says nothing.

    Args:
        folder: the checkpoint's; None for one of random weights.
        image_size: side of the model's picture in pixels.

    Raises:
        SourceError: a file that can't be read.
    """
    data: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if folder is not None and (folder / name).is_file():
            data = read_json(folder / name)
            data = data.get("image_processor", data)
            break
    return Preprocessing(
        image_size,
        tuple(data.get("image_mean") or (0.5, 0.5, 0.5)),
        tuple(data.get("image_std") or (0.5, 0.5, 0.5)),
        data.get("rescale_factor") or 1 / 255,
    )


def read_pad_id(folder: Path, tokenizer: str) -> int:
    """The padding token: the checkpoint's word, or CLIP's end of text, which CLIP pads with.

    Raises:
        SourceError: a file that can't be read, or a token that the tokenizer hasn't.
    """
    token: Any = None
    path = folder / "tokenizer_config.json"
    if path.is_file():
        token = read_json(path).get("pad_token")
        token = token.get("content") if isinstance(token, dict) else token
    found = Tokenizer.from_str(tokenizer).token_to_id(token or "<|endoftext|>")
    if found is None:
        raise SourceError(
            f"{folder}: tokenizer.json has no token {token or '<|endoftext|>'!r} to pad with; "
            "name one as pad_token in tokenizer_config.json"
        )
    return int(found)


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
        raise SourceError(f"{checkpoint} can't be fetched from the hub: {reason}") from error


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
