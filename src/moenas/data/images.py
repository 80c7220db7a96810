"""Image files: which formats are read, and how any of them becomes RGB."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, WebPImagePlugin  # noqa: F401 - the import registers WebP

from moenas.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""Formats that are read; others (and Pillow's rarer decoders) are refused. Of an animation the
first frame is read."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
"""File name endings of these formats."""

MAX_PIXELS = 89_478_485
"""Pillow's own limit against decompression bombs, as a hard one."""

Box = tuple[float, float, float, float]
"""A crop: x, y, width, height in pixels."""


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of a file as `read_image` would, from its first bytes.

    Raises:
        DataError: It is missing, too large, of another format, or damaged there.
    """
    try:
        _check_is_file(path)
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except FileNotFoundError:
        raise DataError(f"'{path}' does not exist.") from None
    except Exception as error:
        raise DataError(f"'{path}' cannot be read as an image: {error}") from error
    if width * height > MAX_PIXELS:
        raise DataError(f"'{path}' has {width} x {height} pixels, more than {MAX_PIXELS}.")
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def read_image(path: Path, near: tuple[int, int] | None = None) -> Image.Image:
    """Decode a file to RGB, upright (EXIF), transparent parts on white.

    Args:
        path: The file.
        near: Size (width, height) at which it will be used: a JPEG far larger is decoded at a
            fraction of its size, which is several times faster. Leave it out for crops.

    Raises:
        DataError: It is missing, damaged, too large, or of another format.
    """
    try:
        _check_is_file(path)
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"'{path}' has {width} x {height} pixels, more than {MAX_PIXELS}.")
            if near is not None:
                image.draft("RGB", (2 * near[0], 2 * near[1]))
            image.load()
            upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright if upright is not None else image.copy())
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"'{path}' does not exist.") from None
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise DataError(f"'{path}' cannot be read as an image: {error}") from error


def _check_is_file(path: Path) -> None:
    """Refuse what may never end: a pipe waits for a writer as soon as it is opened."""
    if not path.is_file() and path.exists():
        raise OSError("it is no file, but a folder, a pipe or a device")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits: convert() would clip them
        values = np.asarray(image).astype(np.float64)
        wide = image.mode.startswith("I;16") or values.max(initial=0) > 255
        scale = 255 / 65535 if wide else 1.0
        image = Image.fromarray(np.clip(values * scale, 0, 255).astype(np.uint8))
    if "transparency" in image.info or "A" in image.getbands() or "a" in image.getbands():
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def crop_and_resize(image: Image.Image, box: Box | None, size: int) -> npt.NDArray[np.uint8]:
    """Return [size, size, 3] uint8 of an image or of a part of it.

    The aspect ratio is not kept: so nothing at the border, a person perhaps, is cut away.

    Args:
        image: RGB.
        box: Part to take; None for all.
        size: Side of the result.

    Raises:
        DataError: The part lies outside the image.
    """
    width, height = image.size
    edges = (0.0, 0.0, float(width), float(height))
    if box is not None:
        x, y, w, h = box
        edges = (max(0.0, x), max(0.0, y), min(float(width), x + w), min(float(height), y + h))
        if edges[2] - edges[0] < 1 or edges[3] - edges[1] < 1:
            raise DataError(f"The crop {box} lies outside the image of {width} x {height}.")
    # The filter must not reach for neighbours beyond the crop: cut first, then resize.
    left, top = math.floor(edges[0]), math.floor(edges[1])
    part = image.crop((left, top, math.ceil(edges[2]), math.ceil(edges[3])))
    inside = (edges[0] - left, edges[1] - top, edges[2] - left, edges[3] - top)
    if part.size == (size, size) and inside == (0, 0, size, size):
        return np.asarray(part)
    small = part.resize((size, size), Image.Resampling.BILINEAR, box=inside, reducing_gap=3.0)
    return np.asarray(small)
