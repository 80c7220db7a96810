"""COCO's photographs as person or no person, by the rules of two benchmarks.

``vww``, Visual Wake Words (Chowdhery et al., 2019, arXiv 1906.05721): there is a person where the
mask of any covers more than 0.5 % of the image; all other images are negatives.

``mlperf``, MLPerf Tiny (Banbury et al., 2021, arXiv 2106.07597): there is a person where the box of
one, no crowd, covers more than 2.5 % of the image; images with smaller persons or crowds only are
left out.

COCO has no skin tones and no labels of light. The manifest remembers the rule (`RULES`).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.console import logger
from moenas.data.copies import first_copies
from moenas.data.labelling import Labelling
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, DataError, did_you_mean
from moenas.runtime import generator

Rule = Literal["vww", "mlperf"]
"""Which image counts as one of a person."""

RULES: dict[str, Labelling] = {
    rule.rule: rule
    for rule in (
        Labelling("coco", "vww", "mask", 0.005, crowds=True, smaller="negative"),
        Labelling("coco", "mlperf", "box", 0.025, crowds=False, smaller="left out"),
    )
}
"""By name."""

YEARS, PARTS = (2017, 2014), ("train", "val")
MINIVAL = "mscoco_minival_ids.txt"
"""The 8,059 images that Visual Wake Words validates on, one id a line, if it is among the
annotations; else the val images are (those of 2017 are the 5,000 also known as minival)."""

TEST_SHARE = 0.15
"""Of the training images: what is held out for the splits search and report, half each."""

_PERSON = "person"


class _Image(msgspec.Struct, gc=False):
    id: int
    file_name: str
    width: Annotated[int, msgspec.Meta(gt=0)]
    height: Annotated[int, msgspec.Meta(gt=0)]


class _Annotation(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    area: float
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0


class _Category(msgspec.Struct, gc=False):
    id: int
    name: str


class _Instances(msgspec.Struct):
    """What is read of an instances file: unknown fields, polygons above all, are skipped."""

    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """Where COCO's files of a year are."""

    folder: Path
    year: int

    def annotations(self, part: str) -> Path:
        return self.folder / "annotations" / f"instances_{part}{self.year}.json"

    def missing(self) -> list[str]:
        files = [self.annotations(part) for part in PARTS]
        folders = [self.folder / f"{part}{self.year}" for part in PARTS]
        missing = [path for path in files if not path.is_file()]
        missing += [path for path in folders if not path.is_dir()]
        return [path.relative_to(self.folder).as_posix() for path in missing]


def is_coco(folder: Path) -> bool:
    """Whether a folder holds annotations of COCO's instances."""
    return any(
        _Layout(folder, year).annotations(part).is_file() for year in YEARS for part in PARTS
    )


def make_coco(
    folder: Path | str, rule: Rule = "vww", seed: int = 0, *, test_persons: bool = True
) -> Manifest:
    """Make a manifest of COCO as it is published, of 2017 or else 2014.

    Args:
        folder: Holds ``annotations/instances_train2017.json``, ``instances_val2017.json``,
            ``train2017/`` and ``val2017/``, and perhaps ``annotations/mscoco_minival_ids.txt``.
        rule: Which image counts as one of a person.
        seed: Of what is held out.
        test_persons: Also hold out images with a person. Not needed where another data set has the
            test's persons (PAPER row 3); they are trained on then.

    Returns:
        The val images are split val; `TEST_SHARE` of the train images (of each label) are search
        and report. Of files with the same bytes one is kept, in a test split if one is there.

    Raises:
        DataError: A file is missing, truncated or not of this format, or holds an id twice.
        ConfigError: The rule is unknown.
    """
    folder = Path(folder)
    layouts = [_Layout(folder, year) for year in YEARS]
    layout = min(layouts, key=lambda layout: len(layout.missing()))
    if missing := layout.missing():
        raise DataError(f"'{folder}' has no {', '.join(missing)}: give the folder of COCO.")
    frames = []
    for part in PARTS:
        frame = index_instances(layout.annotations(part), rule)
        frame["path"] = f"{part}{layout.year}/" + frame["file_name"]
        frames.append(frame.assign(split=part))
    frame = pd.concat(frames, ignore_index=True).sort_values("id", ignore_index=True)
    if frame["id"].duplicated().any():
        twice = int(frame.loc[frame["id"].duplicated(), "id"].iloc[0])
        raise DataError(f"'{folder}': the image id {twice} is in train and in val.")
    _use_minival(frame, folder / "annotations" / MINIVAL)
    for label in (1, 0) if test_persons else (0,):
        rows = np.flatnonzero((frame["label"] == label) & (frame["split"] == "train"))
        rows = generator(seed, "coco", label).permutation(rows)[: round(TEST_SHARE * len(rows))]
        half = len(rows) // 2
        frame.loc[rows[:half], "split"] = "search"
        frame.loc[rows[half:], "split"] = "report"
    frame["image_id"] = "coco-" + frame["id"].astype("str")
    frame["source"] = "coco"
    files = tuple(layout.annotations(part).name for part in PARTS)
    labelling = dataclasses.replace(RULES[rule], annotations=files)
    manifest = Manifest(frame.drop(columns=["id", "file_name"]), folder, labelling)
    return _without_copies(manifest)


def index_instances(file: Path, rule: Rule = "vww") -> pd.DataFrame:
    """Read an instances file: ``id, file_name, label`` of each image that the rule keeps.

    Args:
        file: As COCO publishes it.
        rule: Which image counts as one of a person.

    Raises:
        DataError: It is missing, truncated or not of this format, or holds an id twice.
        ConfigError: The rule is unknown.
    """
    if rule not in get_args(Rule):
        hint = did_you_mean(rule, get_args(Rule))
        raise ConfigError(f"There is no rule '{rule}' for COCO. {hint}")
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_Instances)
    except FileNotFoundError:
        raise DataError(f"'{file}' does not exist.") from None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"'{file}' cannot be read as COCO's instances: {error}.") from error
    person = next((c.id for c in found.categories if c.name == _PERSON), None)
    if person is None:
        raise DataError(f"'{file}' has no category '{_PERSON}'.")
    frame = pd.DataFrame(
        {"id": [i.id for i in found.images], "file_name": [i.file_name for i in found.images]}
    )
    twice = frame["id"].duplicated()
    if twice.any():
        row = int(np.flatnonzero(twice)[0])
        raise DataError(f"'{file}', image {row}: the id {frame['id'].iloc[row]} occurs twice.")
    area = np.array([i.width * i.height for i in found.images], dtype=np.float64)
    people = [a for a in found.annotations if a.category_id == person]
    at = pd.Index(frame["id"]).get_indexer([a.image_id for a in people])
    if (at < 0).any():
        lost = people[int(np.flatnonzero(at < 0)[0])].image_id
        raise DataError(f"'{file}': an annotation is of image {lost}, which is not listed.")
    wanted = RULES[rule]
    masks = wanted.measure == "mask"
    share = np.array([a.area if masks else a.bbox[2] * a.bbox[3] for a in people]) / area[at]
    counts = np.array([wanted.crowds or a.iscrowd != 1 for a in people], dtype=np.bool_)
    frame["label"] = _any(at[(share > wanted.above) & counts], len(frame))
    if wanted.smaller == "negative":
        return frame
    return frame[frame["label"] | ~_any(at, len(frame))].reset_index(drop=True)


def _any(at: npt.NDArray[np.integer], count: int) -> npt.NDArray[np.bool_]:
    result = np.zeros(count, dtype=np.bool_)
    result[at] = True
    return result


def _use_minival(frame: pd.DataFrame, file: Path) -> None:
    if not file.is_file():
        return
    words = file.read_text(errors="replace").split()
    wrong = [row for row, word in enumerate(words) if not (word.isascii() and word.isdigit())]
    if wrong:
        raise DataError(f"'{file}', row {wrong[0]}: {json.dumps(words[wrong[0]])} is no image id.")
    listed = frame["id"].isin([int(word) for word in words])
    if not listed.any():
        raise DataError(f"'{file}' lists no image of these annotations.")
    frame["split"] = np.where(listed, "val", "train")


def _without_copies(manifest: Manifest) -> Manifest:
    order = manifest.frame["split"].map({"report": 0, "search": 1, "val": 2, "train": 3})
    for path in manifest.frame["path"]:
        manifest.file(path)  # raises for one that leaves the folder
    name = manifest.frame["path"].map(first_copies(manifest.root, manifest.frame["path"]))
    kept = pd.DataFrame({"order": order, "name": name}).sort_values("order", kind="stable")
    copies = kept.index[kept["name"].duplicated()]
    if len(copies):
        logger.warning("%d files of COCO are copies of others: left out.", len(copies))
    mask = np.ones(len(manifest), dtype=np.bool_)
    mask[copies] = False
    return manifest.take(mask)
