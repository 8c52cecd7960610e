"""Pictures: from a file, a PIL image or an array to the tensor that SAM 3 takes."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from sam3_tvm.errors import Sam3Error
from sam3_tvm.locks import Lock
from sam3_tvm.rules import Preprocessing
from sam3_tvm.runtime.pictures.resample import resize

__all__ = [
    "ImageError",
    "Picture",
    "Pictures",
    "checked_list",
    "own_picture",
    "picture_suffixes",
    "pictures_in",
    "preprocess",
    "read_picture",
]

Picture = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | NDArray[Any]
)
"""What is taken as a picture: a file's path, a file's content as bytes or as a file object, a PIL
image, or an array; see :func:`read_picture`."""

_T = TypeVar("_T")

Pictures: TypeAlias = list[_T] | tuple[_T, ...]
"""Several pictures, where a call takes several."""

_FILES = "a picture file (JPEG, PNG, WebP, TIFF, BMP ...)"
_ACCEPTED = f"{_FILES}, its bytes, a PIL image or an array"

_EIGHT_IN_SIXTEEN = (
    "all values are below 256, black by 16 bits: probably 8-bit values in a wider type; convert it "
    "to 8 bits (uint8, mode L)"
)

# Formats that Pillow opens and that hold no photographs; to draw some, it starts other programs.
_NO_PHOTOGRAPHS = frozenset({"EPS", "MPEG", "PDF", "WMF"})

# What brings the stored picture upright, by its orientation: TIFF 6.0, section 8, and Exif 2.32,
# 4.6.4.A. The row 0 and the column 0 as stored are, for 6, the right side and the top.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Changing warning filters isn't safe between threads.
_filters = Lock()


class ImageError(Sam3Error, ValueError):
    """A picture that cannot be read or used; the message says what is accepted."""


def picture_suffixes() -> frozenset[str]:
    """The lower-case suffixes of the formats that Pillow can read here."""
    return frozenset(
        suffix
        for suffix, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in _NO_PHOTOGRAPHS
    )


def pictures_in(folder: Path) -> list[Path]:
    """The pictures that lie in a folder, by their suffix, in no order.

    Names that begin with a dot are passed over: hidden files, and the ``._photo.jpg`` that macOS
    lays beside ``photo.jpg`` in archives, which holds no picture.

    Raises:
        OSError: the folder cannot be read.
    """
    suffixes = picture_suffixes()
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]


def read_picture(picture: Picture) -> NDArray[np.uint8]:
    """The picture as 8-bit RGB at its own size.

    An EXIF orientation is applied. Greyscale becomes three equal channels, palettes their
    colours, CMYK is converted as Pillow does, an alpha channel is dropped, as by the reference.
    16 bits are scaled to 8, not clipped. Of a file with several frames the first is taken.

    What would come out black because its numbers are far smaller than their type, such as 8-bit
    values in 16 or 32 bits, is refused.

    Args:
        picture: a path; a picture file's content as bytes or as a binary file object; a PIL
            image; or an array of shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]: uint8, uint16,
            bool, or floating point between 0 and 1, in any byte order.

    Returns:
        uint8, shape [H, W, 3].

    Raises:
        ImageError: a file that is missing or is no picture, or an array of other shape, dtype
            or range.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(np.asarray(picture))
    if isinstance(picture, Image.Image):
        with _named("the PIL image"):
            return _to_rgb(picture)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        with _named("the bytes"):
            return _from_file(io.BytesIO(picture))
    if isinstance(picture, (str, os.PathLike)):
        name = os.fsdecode(picture)
        with _named(name), _opened(name) as file:
            return _from_file(file)
    if hasattr(picture, "read"):
        with _named("the file object"):
            return _from_file(cast(BinaryIO, picture))
    if isinstance(picture, (list, tuple)):
        raise ImageError(
            f"a {type(picture).__name__} is no picture: of numbers make an array, and give one "
            "picture a call here"
        )
    raise ImageError(f"a {type(picture).__name__} is no picture: give {_ACCEPTED}")


def checked_list(pictures: Pictures[_T]) -> Pictures[_T]:
    """The list, if it can be one of pictures.

    Raises:
        ImageError: it is empty, or lists of numbers, which might be one picture.
    """
    if not pictures:
        raise ImageError("an empty list holds no picture: give at least one")
    if isinstance(pictures[0], int | float | list | tuple | np.number):
        raise ImageError("a list of numbers is no picture: make an array of it")
    return pictures


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


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say of which picture an error is."""
    try:
        yield
    except ImageError as error:
        # A name may hold line breaks; the message is one line.
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)
        raise ImageError(f"{shown}: {error}") from error


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    """A file to read from. What can't be read twice, such as a pipe, might also never end."""
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            what = "folder" if os.path.isdir(name) else "pipe or device"
            raise ImageError(f"is a {what}; give {_FILES}")
        file = open(name, "rb")  # noqa: SIM115 - closed below; its own errors are told apart
    except ImageError:  # a ValueError, too
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        # pathlib makes one slash of two.
        if url := re.match(r"(?i)([a-z][a-z0-9+.-]+):/+", name):
            raise ImageError(
                f"URLs ({url[1]}://) are not fetched; download it and give the file's path"
            ) from error
        raise ImageError(f"no such file; give the path of {_FILES}") from error
    except (OSError, ValueError) as error:  # the latter of a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"cannot be opened ({reason}); give {_FILES}") from error
    with file:
        yield file


@contextmanager
def _decoding() -> Iterator[None]:
    """Whatever a decoder raises about a picture is that picture's fault."""
    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise ImageError(
            f"has more than {limit:,} pixels; scale it down or cut it into tiles"
        ) from error
    except UnidentifiedImageError as error:
        # Pillow's own message names the file again, or an object's address.
        raise ImageError(
            f"cannot be read (its content is of no format that is known here); give {_FILES}"
        ) from error
    # Pillow's decoders raise RuntimeError, NotImplementedError, MemoryError, struct.error and more
    # for files that are damaged or of a kind that they don't know.
    except Exception as error:
        said = getattr(error, "strerror", None) or f"{error}" or "it is damaged or too large"
        raise ImageError(f"cannot be read ({' '.join(said.split())}); give {_FILES}") from error


def _from_file(file: BinaryIO) -> NDArray[np.uint8]:
    # Given as a file, and not by name: Pillow maps a TIFF that it opens by name into memory, and
    # where that is turned on its side with height and width exchanged.
    with _pillow_image(file) as image:
        colours_of_16_bits = _swap_bytes(image) is not None
        rgb = _to_rgb(image)
    if colours_of_16_bits and not rgb.any():
        with _pillow_image(file) as image:
            image.tile = _swap_bytes(image) or []
            if _to_rgb(image).any():
                raise ImageError(_EIGHT_IN_SIXTEEN)
    return rgb


def _pillow_image(file: BinaryIO) -> ImageFile.ImageFile:
    with _decoding():
        Image.init()
        formats = [name for name in Image.ID if name not in _NO_PHOTOGRAPHS]
        with _filters, warnings.catch_warnings():
            # Large pictures are fine here. Pillow's error stays, at twice the size it warns of.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(file, formats=formats)


def _swap_bytes(image: ImageFile.ImageFile) -> list[Any] | None:
    """How to decode 16-bit colours so that Pillow, which takes their high bytes, takes the low.

    None where nothing of the kind is stored.
    """
    swapped = []
    for tile in image.tile:
        raw, *others = (tile.args or (None,)) if isinstance(tile.args, tuple) else (tile.args,)
        if not isinstance(raw, str) or raw[:-1] not in ("RGB;16", "RGBA;16"):
            return None
        raw = raw[:-1] + ("L" if _is_big_endian(raw[-1]) else "B")
        swapped.append(tile._replace(args=(raw, *others) if others else raw))
    return swapped or None


def _is_big_endian(order: str) -> bool:
    """Of a raw mode's last letter: B, L or N, the machine's own."""
    return order == "B" or (order == "N" and sys.byteorder == "big")


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    with _decoding():
        _load(image)
        upright = _UPRIGHT.get(_orientation(image))
        if upright is not None:
            image = image.transpose(upright)
        if not (image.mode == "F" or image.mode.startswith("I")):
            if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
                # The direct way gives the same colours, and a warning about their transparency.
                image = image.convert("RGBA")
            if image.mode != "RGB":
                image = image.convert("RGB")
        values = np.asarray(image)
    return _from_array(_deep(values, image.mode))


def _load(image: Image.Image) -> None:
    """Decode it, by reading its file and not by mapping it; see :func:`_from_file`."""
    if not isinstance(image, ImageFile.ImageFile):
        image.load()
        return
    name, image.filename = image.filename, ""
    try:
        image.load()
    finally:
        image.filename = name


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever Pillow's parser makes of damaged tags, the picture itself is whole
        return 1


def _deep(values: NDArray[Any], mode: str) -> NDArray[Any]:
    """The values of a greyscale image of more than 8 bits, as an array that is accepted."""
    if mode == "I" and values.size:
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
    kind, size = array.dtype.kind, array.dtype.itemsize
    try:
        if kind == "b":
            array = array * np.uint8(255)
        elif kind == "f":
            _check_fractions(array)
            array = np.rint(array * 255).astype(np.uint8)
        elif kind == "u" and size == 2:  # in any byte order
            if 0 < array.max() < 256:
                raise ImageError(_EIGHT_IN_SIXTEEN)
            # 65535 is 257 x 255.
            array = ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
        elif not (kind == "u" and size == 1):
            raise ImageError(
                f"an array of {array.dtype.name} is no picture: use uint8 (0 to 255), uint16 (0 to "
                "65535) or floating point (0 to 1)"
            )
        return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))
    except MemoryError as error:
        height, width = array.shape[:2]
        raise ImageError(
            f"a picture of {width} x {height} px does not fit into memory; scale it down"
        ) from error


def _check_fractions(array: NDArray[Any]) -> None:
    low, high = array.min(), array.max()
    if low >= 0 and high <= 1:
        if 0 < high <= 1 / 255:
            raise ImageError(
                f"floating point values up to {high:.2g} are black: probably divided by 255 twice; "
                "give values between 0 and 1"
            )
        return
    meant = ""
    if low >= 0 and high <= 255:
        meant = "probably 0 to 255: divide by 255, "
    elif -4 <= low < 0 and high <= 4:
        meant = "probably normalised: give the picture as it was before, "
    raise ImageError(
        f"floating point pictures have values between 0 and 1, not {low:.4g} to {high:.4g}; "
        f"{meant}or use uint8"
    )
