"""Run an exported model where there is no torch: ONNX Runtime, NumPy and Pillow are all it takes.

    moenas export runs/x/finalists/ARCHITECTURE-s1/checkpoint.safetensors
    python 12_without_torch.py MODEL.onnx PHOTO.jpg ...

It answers as ``moenas predict`` does. The file knows the size of its images, its classes and its
threshold, and normalises; the one step outside is resizing.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path: str, side: int) -> np.ndarray:
    """Return uint8 [1, side, side, 3]: upright, transparent parts on white, and squeezed."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    if image.mode.startswith("I;16"):  # convert() would clip 16 bits to white
        image = Image.fromarray((np.asarray(image) * (255 / 65535)).astype(np.uint8))
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    # Pillow's filter is the one of training: others, OpenCV's for one, cost accuracy unseen.
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))[None]


def main(model: str, *photos: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["moenas"])["card"]
    for photo in photos:
        (found,) = session.run(["probabilities"], {"image": read(photo, card["image_size"])})
        probability = float(found[0, 1])
        answer = card["classes"][probability >= card["threshold"]]
        print(f"{photo}: {answer} ({probability:.6f})")
    assert "torch" not in sys.modules


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(*sys.argv[1:])
    else:
        print(__doc__)
