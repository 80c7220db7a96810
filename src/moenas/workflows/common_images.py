"""Several programs that did not answer for the same images are compared on those of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from moenas.data.skipped import TOO_MANY
from moenas.errors import DataError
from moenas.evaluation.words import listed
from moenas.workflows.predictions_file import Answers

SHARED = ("split", "label", "group", "lighting", "cluster", "weight")
"""What has to be the same of one image in all files."""


def on_common_images(answers: Sequence[Answers]) -> tuple[list[Answers], tuple[str, ...]]:
    """Return the answers for the images that all files have, and what was left out, in sentences.

    What a device fails on may be what is hard: at most 5 % of the images that any file has may be
    left out, of all and of each group. A split that a file lacks altogether is left as it is.

    Args:
        answers: Of each file.

    Raises:
        DataError: The files disagree about an image, or too many images are not in all of them.
    """
    if len(answers) < 2:
        return list(answers), ()
    first, *others = answers
    for other in others:
        _check_agreement(first, other)
    told, lost = [], set[str]()
    splits = pd.concat([each.table.frame["split"] for each in answers]).unique()
    for split in splits:
        asked = [each for each in answers if (each.table.frame["split"] == split).any()]
        gone, sentence = _lost(asked, str(split))
        lost |= gone
        told += [sentence] if sentence else []
    if not lost:
        return list(answers), ()
    return [_without(each, lost) for each in answers], tuple(told)


def _lost(answers: Sequence[Answers], split: str) -> tuple[set[str], str]:
    """The images of a split that not all files have, and a sentence about them."""
    frames = [each.table.split(split).frame for each in answers]
    union = pd.concat(frames)[["image_id", "group"]].drop_duplicates("image_id")
    there = np.stack([union["image_id"].isin(frame["image_id"]) for frame in frames])
    gone = ~there.all(axis=0)
    if not gone.any():
        return set(), ""
    counts = union.assign(gone=gone).groupby("group", dropna=False)["gone"].agg(["sum", "size"])
    parts = {"all": (int(gone.sum()), len(union))} | {
        "no group" if pd.isna(group) else f"group {group}": (int(row["sum"]), int(row["size"]))
        for group, row in counts.iterrows()
        if row["sum"]
    }
    many = [name for name, (n, size) in parts.items() if n > TOO_MANY * size]
    by_group = "; ".join(f"{name}: {n} of {size}" for name, (n, size) in list(parts.items())[1:])
    what = f"{gone.sum()} of {len(union)} images of split '{split}' are not in all files"
    if many:
        least = int(np.argmin(there.sum(axis=1)))
        example = union.loc[~there[least], "image_id"].iloc[0]
        raise DataError(
            f"{what} ({by_group}): what is left out may be what is hard, and more than "
            f"{TOO_MANY:.0%} is missing of {listed(many)}. '{answers[least].file}' lacks the most, "
            f"'{example}' for one."
        )
    return set(union.loc[gone, "image_id"]), (
        f"{what} and left out of every comparison ({by_group})."
    )


def _without(answers: Answers, lost: set[str]) -> Answers:
    table = answers.table
    return dataclasses.replace(answers, table=table.take(~table.frame["image_id"].isin(lost)))


def _check_agreement(first: Answers, other: Answers) -> None:
    one, two = (each.table.frame.set_index("image_id") for each in (first, other))
    images = two.index.intersection(one.index)
    if not len(images):
        raise DataError(f"'{first.file}' and '{other.file}' have no image in common.")
    for column in SHARED:
        mine, its = one.loc[images, column], two.loc[images, column]
        same = (mine.eq(its) | (mine.isna() & its.isna())).fillna(False)
        if not same.all():
            name = images[int((~same).to_numpy(dtype=np.bool_).argmax())]
            row = f", row {two.index.get_loc(name)}" if other.labelled else ""
            raise DataError(
                f"'{other.file}'{row}: image '{name}' has {column} {its[name]}, and {mine[name]} "
                f"in '{first.file}'. Programs can only be compared on the same images."
            )
