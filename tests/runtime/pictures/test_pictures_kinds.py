"""Every way in which a picture can be stored comes out upright and right, or is refused."""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, features

from sam3_tvm.runtime.pictures import image as images
from sam3_tvm.runtime.pictures.image import ImageError, pictures_in, read_picture

ORIENTATION = 0x0112

# Where row 0 and column 0 of the stored picture lie on the upright one, by TIFF 6.0.
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What is stored of an upright picture."""
    row, column = SIDES[orientation]
    if row in ("left", "right"):
        upright = np.swapaxes(upright, 0, 1)
    flipped = [
        slice(None, None, -1 if side in ("bottom", "right") else 1) for side in (row, column)
    ]
    return np.ascontiguousarray(upright[tuple(flipped)])


@pytest.fixture
def photo() -> np.ndarray:
    """Unlike itself however it is turned, uint8 [48, 64, 3]; blocks, which JPEG keeps."""
    corners = np.array([[255, 20, 40, 60], [80, 100, 120, 140], [160, 180, 200, 0]], np.uint8)
    grey = corners.repeat(16, 0).repeat(16, 1)
    return np.stack([grey, grey[::-1], 255 - grey], -1)


def as_mode(array: np.ndarray, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(array[..., 0].astype(np.uint16) * 257)
    if mode == "I":
        return Image.fromarray(array[..., 0].astype(np.int32) * 257)
    if mode == "F":
        return Image.fromarray(array[..., 0].astype(np.float32) / 255)
    return Image.fromarray(array).convert(mode)


TIFFS = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"]


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("mode", TIFFS)
def test_a_tiff_is_upright_in_every_mode_however_it_is_given(photo, tmp_path, mode, orientation):
    if mode in ("1", "P"):
        photo = np.where(photo[..., :1] > 99, 255, 0).astype(np.uint8).repeat(3, -1)
    expected = read_picture(as_mode(photo, mode))
    rounding = 1 if mode == "YCbCr" else 0  # of TIFF's library, which converts it
    for name, how in {
        "plain": {},
        "strips": {"strip_size": 512},
        "packed": {"compression": "tiff_lzw"},
    }.items():
        path = tmp_path / f"{name}.tif"
        as_mode(stored(photo, orientation), mode).save(
            path, tiffinfo={ORIENTATION: orientation}, **how
        )
        for given in (path, path.read_bytes()):
            np.testing.assert_allclose(read_picture(given), expected, rtol=0, atol=rounding)
        with Image.open(path) as image:  # not read yet, by Pillow's own means
            np.testing.assert_allclose(read_picture(image), expected, rtol=0, atol=rounding)
            assert image.filename == str(path)


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "MPO", "TIFF"])
def test_every_format_that_states_an_orientation_is_turned_by_it(photo, name, orientation):
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        pytest.skip(f"this Pillow has no {name}")
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.endian = ">"
    file = io.BytesIO()
    lossless = {"lossless": True} if name == "WEBP" else {"quality": 95}
    Image.fromarray(stored(photo, orientation)).save(file, name, exif=exif, **lossless)
    error = np.abs(read_picture(file).astype(int) - photo)
    assert np.median(error) <= 4


@pytest.mark.parametrize(("mode", "suffix"), [("I", "tif"), ("I;16", "tif"), ("I;16", "png")])
def test_8_bit_values_in_a_wider_type_are_refused_not_black(photo, tmp_path, mode, suffix):
    path = tmp_path / f"p.{suffix}"
    as_mode(photo, mode).point(lambda v: v / 257).save(path)
    for given in (path, photo.astype(np.uint16), Image.open(path)):
        with pytest.raises(ImageError, match="below 256, black by 16 bits: probably 8-bit values"):
            read_picture(given)
    assert not read_picture(np.zeros((4, 4), np.uint16)).any()  # black by any meaning
    assert read_picture(np.full((4, 4), 256, np.uint16)).all()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.full((4, 4), 200.0), "probably 0 to 255: divide by 255, or use uint8"),
        (np.linspace(-2, 2, 16).reshape(4, 4), "probably normalised"),
        (np.full((4, 4), 0.5 / 255), "probably divided by 255 twice"),
        (np.full((4, 4), 7, np.int64), "int64 is no picture: use uint8"),
        (np.full((4, 4), "a"), "str.* is no picture"),
        (np.full((4, 4), None), "object is no picture"),
        (np.ones((4, 4), complex), "complex128 is no picture"),
    ],
)
def test_numbers_that_are_no_picture_s_are_refused_with_what_was_meant(array, says):
    with pytest.raises(ImageError, match=says):
        read_picture(array)


def test_arrays_of_any_byte_order_and_booleans_are_pictures(photo):
    deep = photo.astype(np.uint16) * 257
    for given in (deep.astype(">u2"), deep.astype("<u2"), (photo / 255).astype(">f4")):
        np.testing.assert_array_equal(read_picture(given), photo)
    np.testing.assert_array_equal(read_picture(photo > 99), np.where(photo > 99, 255, 0))


def test_a_file_s_content_is_a_picture_too(photo, tmp_path):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    content = file.getvalue()
    (tmp_path / "p").write_bytes(content)
    with (tmp_path / "p").open("rb") as opened:
        for given in (content, bytearray(content), memoryview(content), file, opened):
            np.testing.assert_array_equal(read_picture(given), photo)
    for given, says in ((b"photo.jpg", "the bytes: cannot"), (io.StringIO("x"), "the file object")):
        with pytest.raises(ImageError, match=says):
            read_picture(given)


def png_of_16_bits(values: np.ndarray) -> bytes:
    """A PNG of two bytes a channel, which Pillow reads but can't write; uint16 [H, W, 3 or 4]."""
    height, width, channels = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff_of_16_bits(values: np.ndarray, order: str) -> bytes:
    """An uncompressed TIFF of two bytes a channel; uint16 [H, W, 3], order < or >."""
    height, width, channels = values.shape
    tags = {256: width, 257: height, 258: 16, 259: 1, 262: 2, 277: channels, 278: height}
    data = values.astype(f"{order}u2").tobytes()
    entries = {tag: (3, 1, value) for tag, value in tags.items()}
    begin = 8 + 2 + 12 * 10 + 4
    entries |= {258: (3, 3, begin), 273: (4, 1, begin + 6), 279: (4, 1, len(data))}
    made = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries) + 1)
    for tag, (kind, count, value) in sorted((entries | {284: (3, 1, 1)}).items()):
        packed = struct.pack(
            f"{order}{'HH' if kind == 3 and count == 1 else 'I'}",
            *((value, 0) if kind == 3 and count == 1 else (value,)),
        )
        made += struct.pack(f"{order}HHI", tag, kind, count) + packed
    made += struct.pack(f"{order}I", 0) + b"\0" * (begin - len(made) - 4)
    return made + struct.pack(f"{order}3H", 16, 16, 16) + data


@pytest.mark.parametrize("stored_as", ["png", "png with alpha", "tiff <", "tiff >"])
def test_colours_of_16_bits_are_scaled_and_8_bits_in_them_are_refused(photo, stored_as):
    """Pillow keeps their high bytes alone, which are all zero then."""

    def store(values: np.ndarray) -> bytes:
        if stored_as.startswith("tiff"):
            return tiff_of_16_bits(values, stored_as[-1])
        if stored_as.endswith("alpha"):
            values = np.concatenate([values, np.full_like(values[..., :1], 0xFFFF)], -1)
        return png_of_16_bits(values)

    wide = photo.astype(np.uint16)
    np.testing.assert_array_equal(read_picture(store(wide * 257)), photo)
    with pytest.raises(ImageError, match="the bytes: all values are below 256, black by 16 bits"):
        read_picture(store(wide))
    black = read_picture(store(wide * 0))
    assert black.shape == photo.shape
    assert not black.any()


def test_lists_and_urls_say_what_to_do_instead(photo):
    with pytest.raises(ImageError, match="a list is no picture: of numbers make an array"):
        read_picture([photo, photo])
    for url in ("https://example.org/x.jpg", "https:/example.org/x.jpg"):
        with pytest.raises(ImageError, match=r"URLs \(https://\) are not fetched; download it"):
            read_picture(url)


@pytest.mark.parametrize("raised", [RuntimeError, NotImplementedError, MemoryError, KeyError])
def test_whatever_a_decoder_raises_is_that_file_s_fault(photo, tmp_path, monkeypatch, raised):
    path = tmp_path / "p.png"
    Image.fromarray(photo).save(path)

    def load(self):
        raise raised("two\nlines")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ImageError, match=r"p\.png: cannot be read \(.*two.*lines") as caught:
        read_picture(path)
    assert "\n" not in str(caught.value)


def test_memory_that_we_lack_is_no_fault_of_a_file(photo, tmp_path, monkeypatch):
    path = tmp_path / "p.png"
    Image.fromarray(photo).save(path)

    def fail(values, mode):
        raise MemoryError

    monkeypatch.setattr(images, "_deep", fail)
    with pytest.raises(MemoryError):
        read_picture(path)


FORMATS = ["AVIF", "BMP", "DDS", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO", "PCX"]
FORMATS += ["PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"]


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_of_every_format_are_a_picture_or_one_line(photo, name):
    file = io.BytesIO()
    try:
        Image.fromarray(photo[:32, :32]).save(file, name)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {name}")
    whole = file.getvalue()
    rng = np.random.default_rng(0)
    for case in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole))] if case % 3 == 0 else whole)
        for _ in range(1 + case % 4):
            data[rng.integers(len(data)) if case % 2 else rng.integers(min(64, len(data)))] = (
                rng.integers(256)
            )
        with suppress(ImageError):  # anything else is no answer
            rgb = read_picture(bytes(data))
            assert (rgb.dtype, rgb.ndim, rgb.shape[2]) == (np.uint8, 3, 3)


def test_broken_tags_leave_the_picture_as_it_is_stored(photo, tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(photo).save(path, exif=b"Exif\0\0no tags at all")
    np.testing.assert_array_equal(read_picture(path), photo)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ImageError, match=r"shape \(0, 0, 3\)"):
        read_picture(Image.new("RGB", (0, 0)))


def test_a_folder_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ImageError) as caught:
        read_picture(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: is a folder; give a picture file (")
    assert str(caught.value).count("picture file") == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "p.png")
    said = []

    def read() -> None:
        with pytest.raises(ImageError, match="is a pipe or device") as caught:
            read_picture(tmp_path / "p.png")
        said.append(caught.value)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(20)
    assert said


def test_hidden_names_are_passed_over_in_a_folder(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "a.png")
    for name in ("._a.png", ".b.png", ".png", "c.txt"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    (tmp_path / "folder.png").mkdir()
    assert pictures_in(tmp_path) == [tmp_path / "a.png"]
