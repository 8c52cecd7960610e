"""How a checkpoint's phrases and pictures are prepared, by transformers' processors.

Of pictures its image processor's configuration says how. The rules are those of transformers'
``Sam3ImageProcessor`` and the classes below it: an entry that is absent or null has its default,
``(x * rescale_factor - image_mean) / image_std`` is done as far as ``do_rescale`` and
``do_normalize`` say, and mean and deviation are one number or one a channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sam3_tvm.rules import Preprocessing
from sam3_tvm.sources.base import SourceError
from sam3_tvm.sources.huggingface.files import read_json

__all__ = ["phrase_length", "read_preprocessing"]

_PROCESSOR = "processor_config.json"
_IMAGES = "preprocessor_config.json"
_BILINEAR = 2  # PIL.Image.Resampling
_PHRASE = 32


def phrase_length(config: Any) -> int:
    """To how many tokens phrases are padded, of a detector's configuration.

    ``Sam3Processor`` and ``Sam3VideoProcessor`` have 32 written into them, whatever the text
    encoder's table of positions holds; a shorter table is a bound, too.
    """
    positions: int = config.text_config.max_position_embeddings
    return min(_PHRASE, positions)


def read_preprocessing(folder: Path | None, image_size: int) -> Preprocessing:
    """How a checkpoint's pictures are scaled: its own values; SAM 3's where it says nothing.

    Args:
        folder: the checkpoint's; None for one of random weights.
        image_size: side of the model's picture in pixels.

    Raises:
        SourceError: a file that can't be read, or one that asks for what isn't done here.
    """
    path, data = (None, {}) if folder is None else _find(folder)
    return _Entries(path, data).preprocessing(image_size)


def _find(folder: Path) -> tuple[Path | None, dict[str, Any]]:
    """The image processor's entries, and the file that they are in.

    As transformers has it, what ``processor_config.json`` says of it comes first, if it does.
    """
    path = folder / _PROCESSOR
    if path.is_file():
        nested = read_json(path).get("image_processor")
        if nested is not None and not isinstance(nested, dict):
            raise SourceError(f"{path}: image_processor is {nested!r}, and must be an object")
        if nested is not None:
            return path, nested
    path = folder / _IMAGES
    return (path, read_json(path)) if path.is_file() else (None, {})


class _Entries:
    """An image processor's entries, with errors that name the file."""

    def __init__(self, path: Path | None, data: Mapping[str, Any]) -> None:
        self.path = path
        # To transformers null is as good as absent.
        self.data = {key: value for key, value in data.items() if value is not None}

    def preprocessing(self, side: int) -> Preprocessing:
        """What the runtime does, if it is what these entries ask for."""
        kind = self.data.get("image_processor_type", "Sam3ImageProcessor")
        if not isinstance(kind, str) or not kind.startswith("Sam3ImageProcessor"):
            raise self.error(f"image_processor_type is {kind!r}; Sam3ImageProcessor is served")
        if not self.flag("do_resize", True):
            raise self.error("do_resize is false; pictures are always resized to the model's size")
        resample = self.data.get("resample", _BILINEAR)
        if isinstance(resample, bool) or resample != _BILINEAR:
            raise self.error(f"resample is {resample!r}; 2 (bilinear) is served")
        self.check_size("size", side)
        if self.flag("do_center_crop", False):
            self.check_size("crop_size", side)
        if self.flag("do_pad", False):
            self.check_size("pad_size", side)
        rescale = self.number("rescale_factor", 1 / 255) if self.flag("do_rescale", True) else 1.0
        mean: tuple[float, ...] = (0.0, 0.0, 0.0)
        std: tuple[float, ...] = (1.0, 1.0, 1.0)
        if self.flag("do_normalize", True):
            mean, std = self.channels("image_mean"), self.channels("image_std")
            if 0 in std:
                raise self.error(f"image_std is {self.data['image_std']!r}, and must not be 0")
        return Preprocessing(side, mean, std, rescale)

    def error(self, what: str) -> SourceError:
        return SourceError(f"{self.path}: {what}; mend the file, or compile another checkpoint")

    def flag(self, name: str, default: bool) -> bool:
        value = self.data.get(name, default)
        if not isinstance(value, bool):
            raise self.error(f"{name} is {value!r}, and must be true or false")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.data.get(name, default)
        if not _is_number(value) or value == 0:
            raise self.error(f"{name} is {value!r}, and must be a number other than 0")
        return float(value)

    def channels(self, name: str) -> tuple[float, ...]:
        given = self.data.get(name, 0.5)
        values = given if isinstance(given, list) else [given]
        if len(values) not in (1, 3) or not all(map(_is_number, values)):
            raise self.error(f"{name} is {given!r}, and must be a number or three, one a channel")
        return tuple(float(v) for v in (values if len(values) == 3 else values * 3))

    def check_size(self, name: str, side: int) -> None:
        """Refuse another size than the model's; what is absent is that."""
        given = self.data.get(name, side)
        height, width = given, given
        if isinstance(given, list) and len(given) == 2:
            height, width = given
        elif isinstance(given, dict):
            # Null entries are written for the other ways to say a size.
            said = {key: value for key, value in given.items() if value is not None}
            height, width = (said.pop(key, None) for key in ("height", "width"))
            height = None if said else height
        if isinstance(height, bool) or (height, width) != (side, side):
            raise self.error(f"{name} is {given!r}, and the model takes {side} x {side} pixels")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e30 and math.isfinite(value)
