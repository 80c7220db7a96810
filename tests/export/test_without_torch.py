"""`examples/12_without_torch.py` answers as ``moenas predict``, in a process without torch."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from moenas.workflows.predict import predict_files

EXAMPLE = Path(__file__).parents[2] / "examples" / "12_without_torch.py"


def test_the_script_answers_as_predict(cards: Any, tmp_path: Path) -> None:
    model = cards[0] / cards[1].file
    draw = np.random.default_rng(2)
    photos = []
    for index, shape in enumerate(((300, 200), (20, 33), (400, 31))):
        image = Image.fromarray(draw.integers(0, 256, (*shape, 3), np.uint8))
        photos.append(tmp_path / f"{index}.png")
        exif = image.getexif()
        exif[0x0112] = 6  # lying on its side
        if index == 1:
            image.putalpha(128)
        image.save(photos[-1], exif=exif)
    deep = draw.integers(0, 1 << 16, (40, 30), np.uint16)  # grey, 16 bits
    photos.append(tmp_path / "deep.png")
    Image.fromarray(deep).save(photos[-1])
    done = subprocess.run(
        [sys.executable, EXAMPLE, model, *photos], capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r": (person|no person) \((0\.\d{6})\)", done.stdout)
    expected = predict_files(model, photos)
    assert [words for words, _ in found] == [answer.words for answer in expected]
    assert [float(p) for _, p in found] == pytest.approx(
        [answer.probability for answer in expected], abs=2e-6
    )
