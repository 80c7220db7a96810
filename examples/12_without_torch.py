"""Run an exported model where there is no torch: ONNX Runtime, NumPy and Pillow are all it takes.

``python 12_without_torch.py MODEL.onnx PHOTO.jpg ...`` prints what ``moenas predict`` prints.
Without arguments it makes an untrained model and a picture first (this needs the extra ``export``)
and shows how it is called.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

MAKE = """
import sys, torch, onnx, moenas
from moenas.export.metadata import Details
from moenas.export.onnx_file import onnx_model
model = moenas.build_model("mobilevitv2_050", (1, 1, 1, 1, 1, 1, 1, 1, 2), seed=0).eval()
size = moenas.count_parameters("mobilevitv2_050", (1, 1, 1, 1, 1, 1, 1, 1, 2))
labels = ("no person", "person")
card = Details(model.architecture.id, "exact", labels, 64, 0.5, size)
onnx.save(onnx_model(model, card), sys.argv[1])
"""


def read(path: str, side: int) -> np.ndarray:
    """Return uint8 [1, side, side, 3]: the one step that is not in the file."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image).convert("RGB")
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))[None]


def main(model: str, pictures: list[str]) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["moenas"])["card"]
    for picture in pictures:
        (found,) = session.run(["probabilities"], {"image": read(picture, card["image_size"])})
        person = float(found[0, 1])
        print(f"{picture}: {card['classes'][person >= card['threshold']]} ({person:.4f})")
    assert "torch" not in sys.modules


if __name__ == "__main__":
    if len(sys.argv) > 2:
        main(sys.argv[1], sys.argv[2:])
    else:
        with tempfile.TemporaryDirectory() as name:
            model, picture = f"{name}/model.onnx", f"{name}/grey.png"
            subprocess.run([sys.executable, "-c", MAKE, model], check=True, capture_output=True)
            Image.new("RGB", (200, 150), (120, 90, 60)).save(picture)
            main(model, [picture])
