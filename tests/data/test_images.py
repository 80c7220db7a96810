from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from moenas.data import images
from moenas.data.images import crop_and_resize, image_size, read_image
from moenas.errors import DataError


@pytest.mark.parametrize(
    ("suffix", "format_"),
    [("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"), ("bmp", "BMP"), ("gif", "GIF")],
)
def test_formats(tmp_path, suffix, format_):
    Image.new("RGB", (12, 7), (255, 0, 0)).save(tmp_path / f"a.{suffix}", format_)
    image = read_image(tmp_path / f"a.{suffix}")
    assert image.mode == "RGB"
    assert image.size == (12, 7)
    np.testing.assert_allclose(np.asarray(image)[3, 5], (255, 0, 0), atol=3)


@pytest.mark.parametrize("format_", ["TIFF", "PPM", "TGA", "ICO"])
def test_other_formats_are_refused_whatever_their_name(tmp_path, format_):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png", format_)
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_image(tmp_path / "a.png")


def test_transparency_is_put_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png")).min() == 255
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([10, 20, 30, 1, 2, 3])
    palette.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "p.png")).min() == 255


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    result = np.asarray(read_image(tmp_path / "a.png"))
    np.testing.assert_allclose(result[..., 0], values / 257, atol=1)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").size == (10, 20)


@pytest.mark.parametrize("orientation", range(9))
def test_the_size_in_the_header_is_that_of_the_upright_image(tmp_path, orientation):
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg").size


def test_a_header_without_a_size_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="does not exist"):
        image_size(tmp_path / "none.jpg")
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="cannot be read as an image"):
        image_size(tmp_path / "a.jpg")
    Image.new("L", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 19_999)
    with pytest.raises(DataError, match="200 x 100 pixels, more than 19999"):
        image_size(tmp_path / "a.png")


def test_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("L", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 19_999)
    with pytest.raises(DataError, match="200 x 100 pixels, more than 19999"):
        read_image(tmp_path / "a.png")


MAGIC = [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"BM", b"RIFF\x10\0\0\0WEBP"]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300), head=st.sampled_from(MAGIC))
def test_any_bytes_are_an_image_or_a_clear_error(tmp_path, data, head):
    (tmp_path / "a").write_bytes(head + data)
    message = ""
    try:
        image = read_image(tmp_path / "a")
    except DataError as error:
        message = str(error)
    assert "cannot be read" in message or image.mode == "RGB"


def test_crop_of_the_right_size_is_exact():
    pixels = np.random.default_rng(0).integers(0, 256, size=(30, 40, 3), dtype=np.uint8)
    image = Image.fromarray(pixels, "RGB")
    np.testing.assert_array_equal(crop_and_resize(image, (8, 4, 16, 16), 16), pixels[4:20, 8:24])


def test_crop_is_resized_and_kept_inside():
    pixels = np.zeros((20, 20, 3), dtype=np.uint8)
    pixels[:, 10:] = 200
    image = Image.fromarray(pixels, "RGB")
    assert (crop_and_resize(image, (10, 0, 30, 30), 8) == 200).all()
    assert (crop_and_resize(image, (0, 0, 10, 20), 8) == 0).all()
    assert crop_and_resize(image, None, 7).shape == (7, 7, 3)
    with pytest.raises(DataError, match="outside the image"):
        crop_and_resize(image, (25, 0, 5, 5), 8)


def test_a_dark_image_of_16_bits_stays_dark(tmp_path):
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(values).save(tmp_path / "night.png")
    assert np.asarray(read_image(tmp_path / "night.png")).max() <= 1
