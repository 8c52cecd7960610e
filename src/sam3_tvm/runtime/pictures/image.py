"""Pictures: from a file, a PIL image or an array to the tensor that SAM 3 takes."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from sam3_tvm.errors import Sam3Error
from sam3_tvm.rules import Preprocessing
from sam3_tvm.runtime.pictures.resample import resize

__all__ = ["ImageError", "Picture", "picture_suffixes", "preprocess", "read_picture"]

#: What is taken as a picture: a file's path, a PIL image, or an array; see :func:`read_picture`.
Picture = str | os.PathLike[str] | Image.Image | NDArray[Any]

_ACCEPTED = "a picture file (JPEG, PNG, WebP, TIFF, BMP ...), a PIL image or an array"

# What Pillow's decoders raise on damaged files.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error)

# Changing warning filters isn't safe between threads.
_filters = threading.Lock()


class ImageError(Sam3Error, ValueError):
    """A picture that cannot be read or used; the message says what is accepted."""


def picture_suffixes() -> frozenset[str]:
    """The lower-case suffixes of the formats that Pillow can read here."""
    return frozenset(
        suffix
        for suffix, name in Image.registered_extensions().items()
        # PDF, PostScript and video containers are registered too, but are no photographs.
        if name in Image.OPEN and name not in ("EPS", "MPEG", "PDF", "WMF")
    )


def read_picture(picture: Picture) -> NDArray[np.uint8]:
    """The picture as 8-bit RGB at its own size.

    An EXIF orientation is applied. Greyscale becomes three equal channels, palettes their
    colours, CMYK is converted as Pillow does, an alpha channel is dropped, as by the reference.
    16 bits are scaled to 8, not clipped. Of a file with several frames the first is taken.

    Args:
        picture: a path, a PIL image, or an array of shape [H, W], [H, W, 1], [H, W, 3] or
            [H, W, 4]: uint8, uint16, or floating point between 0 and 1.

    Returns:
        uint8, shape [H, W, 3].

    Raises:
        ImageError: a file that is missing or is no picture, or an array of other shape, dtype
            or range.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if isinstance(picture, Image.Image):
        return _guarded(lambda: _to_rgb(picture), "the PIL image")
    if not isinstance(picture, (str, os.PathLike)):
        raise ImageError(f"a {type(picture).__name__} is no picture: give {_ACCEPTED}")
    return _guarded(lambda: _from_file(Path(picture)), f"{os.fspath(picture)}")


def own_picture(picture: Picture) -> NDArray[np.uint8]:
    """As :func:`read_picture`, in memory that the caller's array doesn't share."""
    rgb = read_picture(picture)
    return rgb.copy() if isinstance(picture, np.ndarray) else rgb


def preprocess(rgb: NDArray[np.uint8], rules: Preprocessing) -> NDArray[np.float32]:
    """The network's input: resized to a square, rescaled, normalised.

    The resize is the reference's, antialiased bilinear on 8-bit values; the aspect ratio isn't
    kept.

    Args:
        rgb: uint8, shape [H, W, 3].
        rules: the size and the normalisation.

    Returns:
        float32, shape [1, 3, size, size].
    """
    resized = resize(rgb, rules.image_size, rules.image_size)
    scaled = resized.astype(np.float32) * np.float32(rules.rescale)
    normal = (scaled - np.array(rules.mean, np.float32)) / np.array(rules.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1)[None])


def _guarded(read: Callable[[], NDArray[np.uint8]], name: str) -> NDArray[np.uint8]:
    try:
        return read()
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file; give {_ACCEPTED}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(
            f"{name}: has more than {limit:,} pixels; scale it down or cut it into tiles"
        ) from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except _DAMAGED as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: cannot be read ({reason}); give {_ACCEPTED}") from error


def _from_file(path: Path) -> NDArray[np.uint8]:
    with _filters, warnings.catch_warnings():
        # Large pictures are fine here. Pillow's error stays, at twice the size that it warns of.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(path)
    with image:
        return _to_rgb(image)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        return _from_array(_deep(image))
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        # The direct way gives the same colours, and a warning about their transparency.
        image = image.convert("RGBA")
    if image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)


def _deep(image: Image.Image) -> NDArray[Any]:
    """The values of a greyscale image of more than 8 bits, as an array that is accepted."""
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        return values.astype(np.uint16)
    if image.mode == "I" and values.size:
        # 16-bit files in 32-bit integers.
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageError("has values of more than 16 bits; save it with 8 or 16")
        return values.astype(np.uint16)
    return values


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(
            f"an array of shape {array.shape} is no picture: give [H, W], [H, W, 3] or [H, W, 4]"
        )
    array = array.reshape(*array.shape[:2], channels)[..., :3]
    if array.dtype == np.uint16:
        # 65535 is 257 x 255.
        array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif array.dtype.kind == "f":
        if not (array.min() >= 0 and array.max() <= 1):
            raise ImageError("floating point pictures have values between 0 and 1; or use uint8")
        array = np.rint(array * 255).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(f"an array of {array.dtype} is no picture: use uint8, uint16 or 0..1")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
