"""How long and how much memory it takes to index COCO's annotations, which hold 860,000 polygons.

The file is synthetic, of the size of instances_train2017.json: 118,287 images, 860,001 annotations
with as many points as COCO's polygons have on average. Each way runs in a process of its own; peak
memory is that process's largest resident set. The peer is Python's json, which pycocotools reads
with. Run it with ``python benchmarks/coco_index.py``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGES, ANNOTATIONS, PERSONS = 118_287, 860_001, 262_465
"""Of COCO's train2017."""

POINTS = 25
"""Of a polygon on average; makes a file of COCO's size, 0.45 GB."""

WAYS = ("json", "moenas vww", "moenas mlperf")
GOALS = {"seconds": 60.0, "GB": 3.0}


def write_instances(file: Path, scale: float) -> None:
    rng = np.random.default_rng(0)
    images, annotations = round(IMAGES * scale), round(ANNOTATIONS * scale)
    ids = np.sort(rng.choice(581_929, images, replace=False) + 1)
    categories = [{"id": 1, "name": "person", "supercategory": "person"}]
    categories += [{"id": i, "name": f"thing {i}", "supercategory": "thing"} for i in range(2, 91)]
    with file.open("w") as stream:
        stream.write('{"info": {"description": "synthetic"}, "licenses": [], "images": [')
        for number, image in enumerate(ids.tolist()):
            name = f"{image:012d}.jpg"
            entry = {
                "license": 3,
                "file_name": name,
                "coco_url": f"http://images.cocodataset.org/train2017/{name}",
                "height": 480,
                "width": 640,
                "date_captured": "2013-11-14 11:18:45",
                "flickr_url": "http://farm9.staticflickr.com/8186/8119368305_4e622c8349_z.jpg",
                "id": image,
            }
            stream.write(("," if number else "") + json.dumps(entry))
        stream.write('], "annotations": [')
        person = rng.random(annotations) < PERSONS / ANNOTATIONS
        of = rng.choice(ids, annotations).tolist()
        corners = rng.uniform(0, 400, (annotations, 2)).round(2).tolist()
        sides = rng.lognormal(4, 0.9, (annotations, 2)).clip(3, 200).round(2).tolist()
        for number in range(annotations):
            width, height = sides[number]
            crowd = int(number % 86 == 0)
            points = (rng.uniform(0, 1, (POINTS, 2)) * sides[number] + corners[number]).round(2)
            entry = {
                "segmentation": {"counts": [307, 19, 455], "size": [480, 640]}
                if crowd
                else [points.ravel().tolist()],
                "area": round(0.6 * width * height, 4),
                "iscrowd": crowd,
                "image_id": of[number],
                "bbox": [*corners[number], width, height],
                "category_id": 1 if person[number] else 2 + number % 89,
                "id": number,
            }
            stream.write(("," if number else "") + json.dumps(entry))
        stream.write(f'], "categories": {json.dumps(categories)}}}')


def index(way: str, file: Path) -> None:
    """Index the file in this process and print what it took."""
    from moenas.data.sources.coco import index_instances

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if way == "json":
        json.loads(file.read_bytes())
    else:
        index_instances(file, "vww" if way == "moenas vww" else "mlperf")
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # bytes or KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {"seconds": seconds, "GB": peak * unit / 1e9, "imports": before * unit / 1e9}
    sys.stdout.write(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the file")
    parser.add_argument("--index", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.index:
        index(options.index[0], Path(options.index[1]))
        return

    scale = 0.05 if options.quick else 1.0
    results, shown = [], []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "instances.json"
        write_instances(file, scale)
        size = file.stat().st_size / 1e9
        peer: dict[str, float] = {}
        for way in WAYS:
            command = [sys.executable, __file__, "--index", way, str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            peer = peer or found
            shown.append((way, found["seconds"], found["GB"], found["imports"]))
            for unit, goal in GOALS.items():
                results.append(
                    {
                        "case": f"index COCO's annotations ({size:.2f} GB), {way}, {unit}",
                        "value": found[unit],
                        "unit": unit,
                        "peer": None if way == "json" else f"json {peer[unit]:.2f}",
                        "goal": None if way == "json" else goal,
                        "better": "lower",
                    }
                )
    counts = f"{round(IMAGES * scale):,} images, {round(ANNOTATIONS * scale):,} annotations"
    print(f"{counts}, {size:.2f} GB\n")
    print(f"{'':<16}{'seconds':>9}{'peak GB':>9}{'of which imports':>18}")
    for way, seconds, peak, imports in shown:
        print(f"{way:<16}{seconds:>9.2f}{peak:>9.2f}{imports:>18.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
