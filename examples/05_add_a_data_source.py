"""Add a data source: a function that returns a manifest. Everything else follows from it.

The source here reads a JSON file of annotations as many labelling tools write them: boxes of
people with a skin tone, and images without people.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from moenas import Manifest
from moenas.data.counts import describe
from moenas.data.sources import SOURCES
from moenas.data.splits import split_by_cluster


@SOURCES.register("boxes")
def read_boxes(path: Path) -> Manifest:
    """One row a person (cropped to the box) and one row an image without people."""
    rows = []
    for image in json.loads(path.read_text()):
        common = {"path": image["file"], "cluster": image["camera"], "lighting": image["light"]}
        for person in image["people"]:
            x, y, width, height = person["box"]
            crop = {"x": x, "y": y, "width": width, "height": height}
            rows.append({**common, **crop, "label": 1, "group": person["tone"]})
        if not image["people"]:
            rows.append({**common, "label": 0, "group": None})
    frame = pd.DataFrame(rows).astype({"group": "Int16"})
    # What one camera saw stays in one split, or the test would know the room.
    shares = {"train": 0.5, "val": 0.1, "search": 0.2, "report": 0.2}
    frame["split"] = split_by_cluster(frame, shares, seed=0)
    return Manifest(frame.assign(source="boxes"), root=path.parent)


def make_up_images(folder: Path) -> Path:
    """Write 240 small noisy images and their annotations."""
    rng = np.random.default_rng(0)
    entries = []
    for number in range(240):
        name = f"{number:03d}.png"
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / name)
        person = {"box": [8, 4, 32, 40], "tone": 1 + number // 2 % 5}
        entries.append(
            {
                "file": name,
                "camera": f"camera{number // 6}",
                "light": "dimly_lit" if number % 3 == 0 else "well_lit",
                "people": [person] if number % 2 else [],
            }
        )
    annotations = folder / "annotations.json"
    annotations.write_text(json.dumps(entries))
    return annotations


with tempfile.TemporaryDirectory() as name:
    manifest = SOURCES["boxes"](make_up_images(Path(name)))
    manifest.validate()  # opens every image; raises with all that is wrong
    manifest.save(Path(name) / "manifest.parquet")
    print(f"{len(manifest)} rows; checked")
    for split, counts in describe(Manifest.load(Path(name) / "manifest.parquet")).items():
        print(f"  {split}: {counts['n']} images, {counts['positives']} with a person, ", end="")
        print(f"tones {counts['groups']}")
    print("From here on: moenas search --data manifest.parquet")
