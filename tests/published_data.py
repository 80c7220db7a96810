"""Small copies of published data sets: their files, columns and oddities, with generated contents.

`write_coco`, `write_facet` and `write_wake_vision` lay out a folder as the real download is and
return what the tests must find. `edit_cell` spoils a table.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

COCO_KINDS = ("big", "other", "small", "empty", "tiny", "crowd")
"""``big``, ``small``, ``tiny``: a person of that size; ``crowd``: persons as a crowd alone;
``other``: an animal; ``empty``: no annotation at all."""

COCO_LABELS = {
    "vww": {"big": 1, "small": 1, "tiny": 0, "crowd": 1, "other": 0, "empty": 0},
    "mlperf": {"big": 1, "small": None, "tiny": None, "crowd": None, "other": 0, "empty": 0},
}
"""What each rule must say of each kind; None: the image is left out."""

_SHARES = {"big": (0.3, 0.5), "small": (0.01, 0.02), "tiny": (0.004, 0.006), "crowd": (0.2, 0.4)}
"""Of the image: the person's mask, and its box."""


def write_image(
    path: Path, rng: np.random.Generator, size: tuple[int, int], level: int = 0
) -> None:
    """Write noise as JPEG: no two files are alike; a level gives its mean grey value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    low, high = (max(0, level - 20), min(256, level + 21)) if level else (0, 256)
    pixels = rng.integers(low, high, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels, "RGB").save(path, "JPEG", quality=90)


def write_coco(
    folder: Path, *, train: int = 60, val: int = 18, year: int = 2017, seed: int = 0
) -> dict[int, str]:
    """Write COCO's instances and images of a year; return the kind of each image id."""
    rng = np.random.default_rng(seed)
    kinds: dict[int, str] = {}
    for part, count, first in (("train", train, 1001), ("val", val, 501)):
        ids = [int(i) for i in rng.permutation(range(first, first + 3 * count, 3))]
        for number, image_id in enumerate(ids):
            kinds[image_id] = COCO_KINDS[number % len(COCO_KINDS)]
        instances = coco_instances({i: kinds[i] for i in ids}, f"{part}{year}", rng)
        file = folder / "annotations" / f"instances_{part}{year}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(instances))
        for image in instances["images"]:
            size = (image["width"], image["height"])
            write_image(folder / f"{part}{year}" / image["file_name"], rng, size)
    return kinds


def coco_instances(kinds: dict[int, str], part: str, rng: np.random.Generator) -> dict[str, Any]:
    """The contents of an instances file."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, kind in kinds.items():
        width, height = int(rng.integers(24, 41)), int(rng.integers(24, 41))
        prefix = f"COCO_{part}_" if part.endswith("2014") else ""
        images.append(
            {
                "license": 3,
                "file_name": f"{prefix}{image_id:012d}.jpg",
                "coco_url": f"http://images.cocodataset.org/{part}/{image_id:012d}.jpg",
                "height": height,
                "width": width,
                "date_captured": "2013-11-14 17:02:52",
                "flickr_url": "http://farm1.staticflickr.com/1/1_z.jpg",
                "id": image_id,
            }
        )
        area = width * height
        objects: list[tuple[int, float, float, int]] = []
        if kind in _SHARES:
            objects.append((1, *_SHARES[kind], int(kind == "crowd")))
        if kind == "big":  # several people an image
            objects.append((1, *_SHARES["tiny"], 0))
        if kind != "empty":
            objects.append((18, 0.3, 0.4, 0))
        for category, mask, box, crowd in objects:
            side = (box * area) ** 0.5
            annotations.append(
                {
                    "segmentation": {"counts": [0, 4, area - 4], "size": [height, width]}
                    if crowd
                    else [[1.5, 1.0, 2.25, 8.0, 9.75, 3.5]],
                    "area": mask * area,
                    "iscrowd": crowd,
                    "image_id": image_id,
                    "bbox": [0.5, 0.25, side, side],
                    "category_id": category,
                    "id": 900100000000 + len(annotations),
                }
            )
    return {
        "info": {"description": "COCO 2017 Dataset", "year": 2017, "version": "1.0"},
        "licenses": [{"url": "http://creativecommons.org/", "id": 3, "name": "CC"}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"supercategory": "person", "id": 1, "name": "person"},
            {"supercategory": "animal", "id": 18, "name": "dog"},
        ],
    }


FACET_COLUMNS = (
    "person_id", "filename", "class1", "class2", "bounding_box",
    "gender_presentation_masc", "gender_presentation_fem", "gender_presentation_non_binary",
    "gender_presentation_na", *(f"skin_tone_{tone}" for tone in range(1, 11)), "skin_tone_na",
    "age_presentation_young", "age_presentation_middle", "age_presentation_older",
    "age_presentation_na", "hair_color_black", "hairtype_curly", "has_cap", "visible_torso",
    "visible_face", "visible_minimal", "lighting_underexposed", "lighting_dimly_lit",
    "lighting_well_lit", "lighting_overexposed", "lighting_na",
)  # fmt: skip

FACET_LIGHTS = ("well_lit", "dimly_lit", "well_lit", "underexposed", "well_lit", "overexposed")
"""Of the persons in turn."""

FACET_SIZE = (60, 48)


def write_facet(folder: Path, *, images: int = 90, tones: int = 10, seed: int = 0) -> pd.DataFrame:
    """Write FACET's annotations and images: one to three persons an image, in three folders.

    Returns:
        One row a person, in the file's order: ``tone, lighting, gender, age`` as most votes say
        (None: nobody could tell, or a tie), besides the file's own columns.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for image in range(images):
        name = f"sa_{1000 + image}.jpg"
        write_image(folder / f"imgs_{image % 3 + 1}" / name, rng, FACET_SIZE)
        for place in range(image % 3 + 1):
            number = len(rows)
            box = {"x": 3 + 16 * place, "y": 4.5, "width": 14.25, "height": 30}
            row: dict[str, Any] = dict.fromkeys(FACET_COLUMNS, 0)
            row |= {
                "person_id": f"{number:05d}",
                "filename": name,
                "class1": ("nurse", "=guard()", "<b>dancer</b>")[number % 3],
                "class2": "",
                "bounding_box": json.dumps(box | {"dict_attributes": {}}),
                "visible_torso": 1,
                "visible_face": number % 2,
            }
            row |= _tone_votes(number, tones) | _light_votes(number)
            gender = ("masc", "fem", "non_binary", "na")[number % 4]
            row[f"gender_presentation_{gender}"] = 3
            row["age_presentation_middle"] = 1 + number % 2
            row["age_presentation_older"] = 1
            row["gender"] = None if gender == "na" else gender
            row["age"] = "middle" if number % 2 else None  # else a tie
            rows.append(row)
    truth = pd.DataFrame(rows)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    table = truth[list(FACET_COLUMNS)]
    table.to_csv(folder / "annotations" / "annotations.csv", index=False)
    return truth


def _tone_votes(number: int, tones: int) -> dict[str, Any]:
    """Three annotators: agreed, two of three, a tie of two, or one who can't tell."""
    tone = number % tones + 1
    if number % 17 == 16:
        return {"skin_tone_na": 3, "tone": None}
    if tone < 10 and number % 3 == 1:
        return {f"skin_tone_{tone}": 2, f"skin_tone_{tone + 1}": 1, "tone": tone}
    if tone < 10 and number % 3 == 2:
        return {f"skin_tone_{tone}": 1, f"skin_tone_{tone + 1}": 1, "skin_tone_na": 1, "tone": tone}
    return {f"skin_tone_{tone}": 3, "tone": tone}


def _light_votes(number: int) -> dict[str, Any]:
    light = FACET_LIGHTS[number % len(FACET_LIGHTS)]
    if number % 13 == 12:
        return {"lighting_na": 2, f"lighting_{light}": 1, "lighting": None}
    if number % 11 == 10:
        return {"lighting_dimly_lit": 1, "lighting_well_lit": 1, "lighting": None}
    return {f"lighting_{light}": 2, "lighting_na": 1, "lighting": light}


WAKE_VISION_TEST = (
    "filename", "person", "depiction", "body_part", "predominantly_female", "predominantly_male",
    "gender_unknown", "young", "middle_age", "older", "age_unknown", "near", "medium_distance",
    "far", "dark", "normal_lighting", "bright", "person_depiction", "non-person_depiction",
    "non-person_non-depiction",
)  # fmt: skip

WAKE_VISION_LEVELS = {"dark": 40, "normal_lighting": 120, "bright": 200}
"""Mean grey value of the images so marked."""


def write_wake_vision(
    folder: Path, *, train: int = 24, val: int = 12, test: int = 48, seed: int = 0
) -> pd.DataFrame:
    """Write Wake Vision's tables and unpacked images; return the test's table."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {}
    for part, count, columns in (
        ("train_quality", train, ("filename", "person")),
        ("validation", val, WAKE_VISION_TEST),
        ("test", test, WAKE_VISION_TEST),
    ):
        rows = []
        for number in range(count):
            row: dict[str, Any] = dict.fromkeys(WAKE_VISION_TEST, 0)
            light = ("normal_lighting", "dark", "normal_lighting", "bright")[number // 2 % 4]
            row |= {"filename": f"{part[:2]}{number}_790d1b99cc_o.jpg", light: 1, "body_part": 1}
            if number % 2:
                row["person"] = 1
                sex = ("predominantly_female", "predominantly_male", "gender_unknown")
                age = ("young", "middle_age", "older", "age_unknown")
                row[sex[number // 2 % 3]] = row[age[number // 2 % 4]] = 1
                row[("near", "medium_distance", "far")[number // 2 % 3]] = 1
            else:
                row["depiction"] = row["non-person_depiction"] = number // 2 % 2
            level = WAKE_VISION_LEVELS[light]
            write_image(folder / "images" / part / row["filename"], rng, (24, 24), level)
            rows.append(row)
        tables[part] = pd.DataFrame(rows)[list(columns)]
        tables[part].to_csv(folder / f"wake_vision_{part}.csv", index=False)
    return tables["test"]


def edit_cell(file: Path, row: int, column: str, value: object) -> None:
    """Change one cell of a CSV; rows are counted from 0, below the header."""
    with file.open(newline="") as stream:
        lines = list(csv.reader(stream))
    lines[row + 1][lines[0].index(column)] = str(value)
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
