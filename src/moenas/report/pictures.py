"""Images as parts of a page: small JPEG files in ``data:`` URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def data_uri(image: npt.NDArray[np.uint8], most: int) -> str:
    """Return an image as a ``data:`` URI.

    Args:
        image: [height, width, 3] RGB.
        most: Longest side in pixels; a larger image is made smaller.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((most, most))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
