"""Which images runs have in common: only on these can their models be held against each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from moenas.predictions import Predictions
from moenas.report.compare.entrants import ReadRun

TOLD = ("label", "group", "lighting", "cluster", "weight")
"""What a manifest says of an image. Equal names with other contents are other images."""

FEW = 0.5
"""Below this share of a run's own report half, its common images are called few."""


@dataclasses.dataclass(frozen=True)
class Common:
    """The images that runs share, and what their models said of them.

    Attributes:
        runs: Labels of the runs that share them, the first of all among them.
        tables: Predictions of each model (by key, a table a seed), all of the same images: those
            of the report half, and those of ``val`` where they are shared, too.
        report: The images of the report half, as the runs describe them.
        own: How many images each run's report half has.
        notes: What a reader has to know of them, in sentences.
    """

    runs: tuple[str, ...]
    tables: Mapping[str, tuple[Predictions, ...]]
    report: pd.DataFrame
    own: Mapping[str, int]
    notes: tuple[str, ...]


def common_images(runs: Sequence[ReadRun]) -> tuple[Common | None, tuple[str, ...]]:
    """Find the images that runs share with the first one of them that has predictions.

    A run whose images are not those of the others stands aside, and it is told why.

    Returns:
        The common images, None where no two runs have any; and why runs stand aside, in sentences.
    """
    able = [run for run in runs if any(model.predictions for model in run.entrants)]
    if not able:
        return None, ()
    first, joined, aside = able[0], [able[0]], []
    known = _images(first, "report")
    for run in able[1:]:
        shared, reason = _shared(known, _images(run, "report"))
        if shared is None:
            aside.append(f"{run.label} is not compared: {reason}{_data(first, run)}")
        else:
            known = shared
            joined.append(run)
    if len(joined) < 2:
        return None, tuple(aside)
    notes = []
    held: pd.DataFrame | None = _images(first, "val")
    for run in joined[1:]:
        held = None if held is None else _shared(held, _images(run, "val"))[0]
    if held is None:
        notes.append("The runs share no validation images, so overfitting is not compared.")
    own = {run.label: len(_images(run, "report")) for run in joined}
    for label, n in own.items():
        if len(known) < FEW * n:
            notes.append(
                f"Only {len(known)} of the {n} images of {label}'s report half are shared: its "
                "numbers here are not those of its own report."
            )
    tables = {
        model.key: tuple(_taken(table, known, held) for table in model.predictions)
        for run in joined
        for model in run.entrants
        if model.predictions
    }
    labels = tuple(run.label for run in joined)
    return Common(labels, tables, known.reset_index(), own, tuple(notes)), tuple(aside)


def _images(run: ReadRun, split: str) -> pd.DataFrame:
    """What a run says of the images that all its models have answered, by image and place."""
    tables = [table for model in run.entrants for table in model.predictions]
    frames = [_placed(table, split) for table in tables]
    index = frames[0].index
    for frame in frames[1:]:
        if not index.equals(frame.index):
            index = index.intersection(frame.index)
    return frames[0].loc[index, list(TOLD)]


def _placed(table: Predictions, split: str) -> pd.DataFrame:
    """One split by (image, place): a person with several tones has a row for each."""
    frame = table.frame[table.frame["split"] == split].sort_values(["image_id", "group"])
    place = frame.groupby("image_id", sort=False).cumcount()
    return frame.assign(place=place).set_index(["image_id", "place"])


def _shared(one: pd.DataFrame, two: pd.DataFrame) -> tuple[pd.DataFrame | None, str]:
    """Images of both tables, with what either knows of them; or why they are not the same."""
    both = one.index.intersection(two.index)
    if not len(both):
        return None, "it shares no image of the report half with the others."
    first, second = one.loc[both], two.loc[both]
    result = first.copy()
    for column in ("label", "group", "lighting", "cluster"):
        if not _knows(second, column):
            continue
        if not _knows(first, column):
            result[column] = second[column]
            continue
        same = first[column].eq(second[column]).fillna(False).astype(bool)
        same |= first[column].isna() & second[column].isna()
        if not same.all():
            return None, (
                f"{int((~same).sum())} of {len(both)} images have the same name but another "
                f"{column}, so they are other images, or labelled anew."
            )
    if set(result["label"]) != {0, 1}:
        return None, (
            f"the {len(both)} images that it shares with the others all show "
            f"{'a person' if result['label'].all() else 'nobody'}."
        )
    return result, ""


def _knows(frame: pd.DataFrame, column: str) -> bool:
    """Whether a table tells something: null is nothing, and so is a cluster for each image."""
    if column == "cluster":
        names = frame.index.get_level_values("image_id").astype(str)
        return not bool((frame["cluster"].to_numpy(dtype=str) == names.to_numpy(dtype=str)).all())
    return bool(frame[column].notna().any())


def _taken(table: Predictions, known: pd.DataFrame, held: pd.DataFrame | None) -> Predictions:
    """A model's answers about the common images."""
    parts = []
    for split, images in (("report", known), ("val", held)):
        if images is not None:
            own = _placed(table, split).loc[images.index]
            parts.append(own.assign(**{name: images[name] for name in TOLD}).reset_index())
    return Predictions(pd.concat(parts, ignore_index=True).drop(columns="place"), table.threshold)


def _data(first: ReadRun, other: ReadRun) -> str:
    one, two = first.data.fingerprint, other.data.fingerprint
    if one and two and one != two:
        return (
            f" The runs are of different data (fingerprint {one} of {first.label}, {two} of "
            f"{other.label})."
        )
    return ""


def same_answers(common: Common, one: str, two: str) -> bool:
    """Whether two models said and decided the same of every common image, with every seed."""
    first, second = common.tables[one], common.tables[two]
    return len(first) == len(second) and all(
        np.array_equal(a.frame["probability"], b.frame["probability"])
        and np.array_equal(a.prediction, b.prediction)
        for a, b in zip(first, second, strict=True)
    )
