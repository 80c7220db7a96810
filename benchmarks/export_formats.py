"""What the formats of ``moenas export`` weigh and take for one image, in one interleaved run.

One model with experts (1.81M parameters) at 128 pixels in every format whose packages are here, all
in Python, one thread, uint8 pixels in and logits out. Calls that give an image and take the answer
are part of it: on a device without Python they cost less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from export import BASE, FINALIST, SIZE, distinct
from moenas.export.answers import Eager, answers_of
from moenas.export.backends import BACKENDS, Source
from moenas.export.formats import FORMATS
from moenas.export.metadata import Details
from moenas.models.builder import build_model
from moenas.models.cost import count_parameters
from moenas.serialisation import write_json
from moenas.timing import interleaved

UNTRUSTED = [name for name, backend in BACKENDS.items() if backend.read is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = distinct(build_model(BASE, FINALIST, seed=0))
    parameters = count_parameters(BASE, FINALIST)
    details = Details("mobilevitv2_050-e134324233", "exact", ("no", "yes"), SIZE, 0.5, parameters)
    images = np.random.default_rng(0).integers(0, 256, (64, SIZE, SIZE, 3), dtype=np.uint8)
    source = Source(model, details, lambda: images)
    ours = answers_of(Eager(model), images, np.arange(4))
    found: list[dict[str, Any]] = []
    work: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in UNTRUSTED:
            if FORMATS[name].missing is None:
                path = Path(folder) / name / f"model{FORMATS[name].suffix}"
                path.parent.mkdir()
                BACKENDS[name].write(source, path)
                size = sum(part.stat().st_size for part in path.parent.iterdir())
                read = BACKENDS[name].read
                assert read is not None
                exported = read(path)
                difference = float(np.abs(exported.run(images[:4])[0] - ours.logits).max())
                found.append(row(f"{name}: file", size / 1e6, "MB", "itself"))
                found.append(row(f"{name}: logits", difference, "largest difference", "eager"))
                work[name] = lambda exported=exported: exported.run(images[:1])
        timing = interleaved(work, 20 if arguments.quick else 200, clock=time.process_time)
    for name in work:
        found.append(row(f"{name}: one image", 1e3 * timing.quartile(name), "ms", "itself"))
        found.append(row(f"{name}: one image", timing.ratio(name, "onnx"), "of", "onnx"))
    for each in found:
        print(f"{each['case']:32s} {each['value']:10.3g} {each['unit']} {each['peer']}")
    if arguments.json:
        write_json(arguments.json, found)


def row(case: str, value: float, unit: str, peer: str) -> dict[str, Any]:
    return {
        "case": case, "value": value, "unit": unit, "peer": peer, "goal": None, "better": "lower",
    }  # fmt: skip


if __name__ == "__main__":
    main()
