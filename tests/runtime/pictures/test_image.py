from __future__ import annotations

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from sam3_tvm.rules import Preprocessing
from sam3_tvm.runtime.pictures.image import ImageError, preprocess, read_picture

RULES = Preprocessing(1008, (0.5,) * 3, (0.5,) * 3, 1 / 255)


@pytest.fixture
def photo() -> np.ndarray:
    """Something with edges and gradients, uint8 [48, 64, 3]."""
    y, x = np.mgrid[:48, :64]
    channels = [x * 4 % 256, y * 5 % 256, (x // 8 + y // 8) % 2 * 255]
    return np.stack(channels, -1).astype(np.uint8)


def test_paths_images_and_arrays_are_the_same_picture(photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "p.png")
    for picture in (str(tmp_path / "p.png"), tmp_path / "p.png", Image.fromarray(photo), photo):
        np.testing.assert_array_equal(read_picture(picture), photo)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photo, tmp_path, orientation):
    # What each orientation does to the upright picture when it is stored.
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: a.transpose(1, 0, 2)[::-1],
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: a.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "p.png"
    Image.fromarray(np.ascontiguousarray(store(photo))).save(path, exif=exif)
    np.testing.assert_array_equal(read_picture(path), photo)


def test_a_given_image_is_left_as_it_was(photo):
    image = Image.fromarray(photo)
    image.getexif()[0x0112] = 6
    read_picture(image)
    assert image.size == (64, 48)
    assert image.getexif()[0x0112] == 6


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_are_what_pillow_makes_of_them(photo, mode):
    image = Image.fromarray(photo).convert(mode)
    np.testing.assert_array_equal(read_picture(image), np.asarray(image.convert("RGB")))


def test_transparent_palettes_give_their_colours_without_a_warning(photo, tmp_path):
    image = Image.fromarray(photo).convert("P", palette=Image.Palette.ADAPTIVE)
    image.save(tmp_path / "p.png", transparency=bytes(range(256)))
    expected = np.asarray(image.convert("RGB"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_picture(tmp_path / "p.png"), expected)


def test_grey_arrays_get_three_channels_and_alpha_is_dropped(photo):
    grey = photo[..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(read_picture(array), np.stack([grey] * 3, -1))
    with_alpha = np.concatenate([photo, photo[..., :1]], 2)
    np.testing.assert_array_equal(read_picture(with_alpha), photo)


def test_16_bits_are_scaled_not_clipped(tmp_path):
    deep = np.linspace(0, 65535, 64 * 48).astype(np.uint16).reshape(48, 64)
    expected = np.stack([np.rint(deep / 257).astype(np.uint8)] * 3, -1)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tiff")
    wide = Image.fromarray(deep.astype(np.int32))
    assert wide.mode == "I"
    for picture in (deep, tmp_path / "deep.png", tmp_path / "deep.tiff", wide):
        np.testing.assert_array_equal(read_picture(picture), expected)


def test_floats_are_fractions(photo):
    np.testing.assert_array_equal(read_picture(photo / 255), photo)
    np.testing.assert_array_equal(read_picture((photo / 255).astype(np.float32)), photo)
    image = Image.fromarray((photo[..., 0] / 255).astype(np.float32))
    np.testing.assert_array_equal(read_picture(image)[..., 1], photo[..., 0])


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"shape \(4, 4, 2\)"),
        (np.zeros((3,), np.uint8), r"shape \(3,\)"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (np.zeros((1, 3, 4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 3), np.int64), "int64"),
        (np.full((4, 4, 3), 200.0), "between 0 and 1"),
        (np.full((4, 4, 3), np.nan), "between 0 and 1"),
        (Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "more than 16 bits"),
        (None, "NoneType is no picture"),
        (7, "int is no picture"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(picture, says):
    with pytest.raises(ImageError, match=says) as caught:
        read_picture(picture)
    assert "\n" not in str(caught.value)


def test_unreadable_files_name_the_path(photo, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(photo).save(tmp_path / "whole.jpg")
    cut = (tmp_path / "whole.jpg").read_bytes()[:400]
    (tmp_path / "cut.jpg").write_bytes(cut)
    for name in ("text.jpg", "empty.png", "cut.jpg", "absent.png"):
        with pytest.raises(ImageError, match=name) as caught:
            read_picture(tmp_path / name)
        assert "a picture file (JPEG" in str(caught.value)
        assert "array" not in str(caught.value)  # who gives a path has none
        assert "\n" not in str(caught.value)
    with pytest.raises(ImageError):
        read_picture(tmp_path)


def test_large_pictures_are_read_without_a_warning(tmp_path):
    path = tmp_path / "large.png"
    Image.new("L", (12000, 8000), 77).save(path, compress_level=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb = read_picture(path)
    assert rgb.shape == (8000, 12000, 3)
    pixels = preprocess(rgb, RULES)
    np.testing.assert_allclose(pixels, 77 / 127.5 - 1, atol=1e-6)


def test_too_large_pictures_are_refused_before_they_are_decoded(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    )
    with pytest.raises(ImageError, match=r"bomb\.png: has more than 178,956,970 pixels"):
        read_picture(tmp_path / "bomb.png")


def test_a_picture_of_one_pixel_fills_the_input():
    pixels = preprocess(read_picture(np.array([[[255, 0, 51]]], np.uint8)), RULES)
    assert (pixels.shape, pixels.dtype) == ((1, 3, 1008, 1008), np.float32)
    for channel, value in enumerate((1, -1, 51 / 127.5 - 1)):
        np.testing.assert_allclose(pixels[0, channel], value, atol=1e-6)


def test_normalisation_is_per_channel():
    rules = Preprocessing(2, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0), 1 / 255)
    pixels = preprocess(np.full((2, 2, 3), 255, np.uint8), rules)
    np.testing.assert_allclose(pixels[0, :, 0, 0], [1.8, 3.2, 0.35], rtol=1e-6)
