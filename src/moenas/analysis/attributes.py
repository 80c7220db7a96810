"""Which columns of a manifest routes are compared by, and which of them can be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.errors import DataError, did_you_mean
from moenas.predictions import LIGHTS

USUAL = ("group", "lighting", "label")
"""Columns that are compared wherever they have values."""

TITLES = {"group": "skin tone", "lighting": "light", "label": "class"}
"""What the usual columns are called; others are called by their names."""

MOST_VALUES = 20
"""An attribute with more values than that is no way to sort images into groups."""


@dataclasses.dataclass(frozen=True)
class Attribute:
    """A column that images are compared by.

    Attributes:
        column: Its name in the manifest.
        title: What it is called.
        values: Its values as text, in their order.
        index: [n] index of each image's value, -1 where it has none.
    """

    column: str
    title: str
    values: tuple[str, ...]
    index: npt.NDArray[np.int64]


def find_attributes(
    images: pd.DataFrame, wanted: Sequence[str] = ()
) -> tuple[list[Attribute], list[str]]:
    """Return the attributes that images can be compared by, and why others cannot.

    Args:
        images: [n rows] of one split.
        wanted: Further columns.

    Raises:
        DataError: There is no such column, or images cannot be grouped by it.
    """
    found, notes = [], []
    for column in dict.fromkeys((*USUAL, *wanted)):
        title = TITLES.get(column, column)
        if column not in images:
            raise DataError(
                f"The images have no column '{column}'. {did_you_mean(column, images.columns)}"
            )
        values = images[column]
        count = values.nunique()
        if count > MOST_VALUES and column not in wanted:
            notes.append(
                f"Paths are not compared by {title}: it has {count} different values, more than "
                f"{MOST_VALUES}."
            )
        elif count > MOST_VALUES:
            raise DataError(
                f"Images cannot be grouped by '{column}': it has {count} different values, more "
                f"than {MOST_VALUES}. Give a column with few values; put numbers into ranges first."
            )
        elif count == 0:
            notes.append(f"Paths are not compared by {title}: no image of the split has one.")
        elif count == 1:
            only = _text(column, values.dropna().iloc[0])
            notes.append(f"Paths are not compared by {title}: all images have the same ({only}).")
        else:
            found.append(_attribute(column, title, values))
    return found, notes


def _attribute(column: str, title: str, values: pd.Series) -> Attribute:
    present = list(values.dropna().unique())
    try:
        present.sort(key=LIGHTS.index if column == "lighting" else None)
    except (ValueError, TypeError):  # lights of another name, or values of several types
        present.sort(key=str)
    place = {value: number for number, value in enumerate(present)}
    index = values.map(place).astype("float64").fillna(-1).to_numpy().astype(np.int64)
    names = tuple(_text(column, value) for value in present)
    return Attribute(column, title, names, index)


def _text(column: str, value: object) -> str:
    if column == "label":
        return "person" if value == 1 else "no person"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value)
    return text.replace("_", " ") if column == "lighting" else text
