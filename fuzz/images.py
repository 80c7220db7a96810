"""Image files: any bytes are an image, or a `DataError`.

Checksums of PNG are made right again, or nearly every mutation would end at the first of them.
Images may have a megapixel instead of 89, or most of the time would go into decoding the largest.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import atheris
import numpy as np

from harness import fuzz

with atheris.instrument_imports(include=["moenas", "PIL"]):
    from PIL import Image

    from moenas.data import images
    from moenas.data.images import FORMATS, crop_and_resize, image_size, read_image

images.MAX_PIXELS = 1 << 20
_PNG = b"\x89PNG\r\n\x1a\n"


def seeds() -> list[bytes]:
    """A small image of each format and mode."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    found = []
    for format_ in FORMATS:
        for mode in ("RGB", "L", "P", "1", "RGBA", "LA", "I;16", "CMYK"):
            file = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode).save(file, format_)
            except (OSError, ValueError):  # not every format has every mode
                continue
            found.append(file.getvalue())
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[..., :3]).save(file, "JPEG", exif=exif, progressive=True)
    return [*found, file.getvalue()]


def check(data: bytes, folder: Path) -> None:
    """Read an image as a data set's and as a user's."""
    path = folder / "image"
    path.write_bytes(_with_checksums(data))
    size = image_size(path)
    image = read_image(path)
    assert image.mode == "RGB"
    assert image.size == size
    assert crop_and_resize(image, None, 8).shape == (8, 8, 3)
    assert read_image(path, near=(4, 4)).mode == "RGB"


def _with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the checksums that their content asks for."""
    if not data.startswith(_PNG):
        return data
    at, result = len(_PNG), bytearray(data)
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        end = at + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", result, end, zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(result)


if __name__ == "__main__":
    fuzz(check, seeds())
