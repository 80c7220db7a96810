"""The predictions table: what a model said about each image, and all that a metric may read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.errors import DataError
from moenas.parsing import not_text, to_numbers
from moenas.serialisation import read_parquet, write_parquet

COLUMNS = {
    "image_id": "str",
    "split": "str",
    "label": "int8",
    "probability": "float64",
    "prediction": "int8",
    "group": "Int16",
    "lighting": "str",
    "cluster": "str",
    "matched_set": "str",
    "weight": "float64",
}
"""Columns and types. ``label`` and ``prediction``: 1 = person. ``probability``: of a person, 0–1.
``group``: protected attribute or null. ``lighting``: class of light or null. ``cluster``: what is
resampled together. ``matched_set``: images that differ in nothing but their group, or null.
``weight``: how much an image counts; one of weight 0 counts nowhere, in no group."""

POOR_LIGHT = ("underexposed", "dimly_lit")
"""The lights that robustness counts (PAPER row 6)."""

LIGHTS = ("underexposed", "dimly_lit", "well_lit", "overexposed")
"""All classes of light, as FACET names them."""


class Predictions:
    """A validated predictions table; rows keep the order of their manifest.

    Args:
        frame: A table with `COLUMNS`. Missing optional columns (all but ``image_id``, ``label``
            and ``prediction`` or ``probability``) get defaults, so that a device's own outputs
            can be scored; further columns are kept.
        threshold: A person is seen where ``probability >= threshold``; used where ``prediction``
            is missing.

    Raises:
        DataError: A column is missing or holds a value that it cannot hold, or the threshold is not
            within 0–1.
    """

    def __init__(self, frame: pd.DataFrame, threshold: float = 0.5) -> None:
        if not 0 <= threshold <= 1:
            raise DataError(f"The threshold is a probability, from 0 to 1, not {threshold:g}.")
        frame = frame.copy()
        for name in ("image_id", "label"):
            if name not in frame:
                raise DataError(f"The predictions have no column '{name}'.")
        if "prediction" not in frame and "probability" not in frame:
            raise DataError("The predictions need a column 'probability' or 'prediction'.")
        if "probability" not in frame:
            frame["probability"] = to_numbers(frame["prediction"])
        if "prediction" not in frame:
            frame["prediction"] = to_numbers(frame["probability"]) >= threshold
        defaults = {
            "split": "report",
            "group": pd.NA,
            "lighting": None,
            "cluster": frame["image_id"],
            "matched_set": None,
            "weight": 1.0,
        }
        for name, default in defaults.items():
            if name not in frame:
                frame[name] = default
        frame["cluster"] = _filled(frame["cluster"], frame["image_id"])
        frame["weight"] = _filled(frame["weight"], 1.0)
        if wrong := wrong_cell(frame):
            raise DataError(f"Row {wrong[0]} of the predictions: {wrong[1]}.")
        for name in ("label", "prediction", *_NUMBERS):
            frame[name] = to_numbers(frame[name])
        self.frame = frame.astype(COLUMNS).reset_index(drop=True)
        self.threshold = threshold

    def __len__(self) -> int:
        return len(self.frame)

    def split(self, name: str) -> Predictions:
        """The rows of one split."""
        return self.take(self.frame["split"] == name)

    def take(self, rows: Any) -> Predictions:
        """The rows of a mask [n] or of positions; they are not checked once more."""
        mask = np.asarray(rows)
        chosen = self.frame[mask] if mask.dtype == bool else self.frame.iloc[mask]
        result = Predictions.__new__(Predictions)
        result.frame, result.threshold = chosen.reset_index(drop=True), self.threshold
        return result

    def with_threshold(self, threshold: float) -> Predictions:
        """The same probabilities, decided at another threshold."""
        frame = self.frame.drop(columns="prediction")
        return Predictions(frame, threshold)

    @property
    def label(self) -> npt.NDArray[np.bool_]:
        """[n] whether there is a person."""
        return np.asarray(self.frame["label"] == 1, dtype=np.bool_)

    @property
    def prediction(self) -> npt.NDArray[np.bool_]:
        """[n] whether the model sees a person."""
        return np.asarray(self.frame["prediction"] == 1, dtype=np.bool_)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """[n] whether the model is right."""
        return np.asarray(self.label == self.prediction)

    @property
    def group(self) -> npt.NDArray[np.int64]:
        """[n] group of each image, -1 for none and for images of weight 0."""
        group = np.asarray(self.frame["group"].fillna(-1), dtype=np.int64)
        return np.where(self.frame["weight"].to_numpy() > 0, group, -1)

    @property
    def cluster(self) -> npt.NDArray[np.int64]:
        """[n] number of each image's cluster, in order of appearance."""
        codes, _ = pd.factorize(self.frame["cluster"], use_na_sentinel=False)
        return np.asarray(codes, dtype=np.int64)

    @property
    def poorly_lit(self) -> npt.NDArray[np.bool_]:
        """[n] whether the light is poor."""
        return np.asarray(self.frame["lighting"].isin(POOR_LIGHT), dtype=np.bool_)

    def save(self, path: Path | str) -> None:
        """Write the table (Parquet), atomically; the threshold travels in a column."""
        write_parquet(Path(path), self.frame.assign(threshold=self.threshold))

    @classmethod
    def load(cls, path: Path | str) -> Predictions:
        """Read a table that `save` wrote, or one of a user's own.

        Raises:
            DataError: It is missing, damaged, or not a predictions table.
        """
        try:
            frame = read_parquet(path)
        except FileNotFoundError:
            raise DataError(f"There is no predictions file '{path}'.") from None
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' cannot be read as Parquet: {error}.") from error
        threshold = 0.5
        if "threshold" in frame:
            column = frame.pop("threshold")
            threshold = _first_number(column) if len(column) else threshold
            if math.isnan(threshold):
                raise DataError(
                    f"'{path}': the column 'threshold' holds {column.iloc[0]!r}, not a number."
                )
        try:
            return cls(frame, threshold)
        except DataError as error:
            raise DataError(f"'{path}': {error}") from None


def _filled(values: pd.Series, default: Any) -> pd.Series:
    """Fill nulls in a column of any type; categories, say, hold no others."""
    try:
        return values.fillna(default)
    except (TypeError, ValueError):
        return values.astype(object).fillna(default)


def _first_number(values: pd.Series) -> float:
    """The first cell as a number, NaN where it is none; times are none, though pandas has them."""
    if values.dtype.kind in "mM":
        return math.nan
    return float(to_numbers(values.iloc[:1]).iloc[0])


def wrong_cell(frame: pd.DataFrame) -> tuple[int, str] | None:
    """Find a cell that its column cannot hold, before pandas does in words of its own.

    Args:
        frame: Has any of `COLUMNS`.

    Returns:
        (its row, counted from 0; what is wrong with it), or None.
    """
    if "image_id" in frame:
        nameless = frame["image_id"].isna().to_numpy(dtype=np.bool_)
        if nameless.any():
            return int(nameless.argmax()), "image_id is missing"
    for name in (name for name, kind in COLUMNS.items() if kind == "str" and name in frame):
        foreign = not_text(frame[name])
        if foreign.any():
            return int(foreign.argmax()), f"{name} is bytes that are no UTF-8 text"
    for name in ("label", "prediction"):
        if name not in frame:
            continue
        # One word in a column makes all of a CSV's cells text, and '1' is not what is wrong then.
        wrong = np.flatnonzero(~to_numbers(frame[name]).isin([0, 1]))
        if len(wrong):
            return int(wrong[0]), f"{name} {frame[name].iloc[wrong[0]]!r}, not 0 or 1"
    for name, (low, high, whole, what) in _NUMBERS.items():
        if name not in frame:
            continue
        numbers = to_numbers(frame[name])
        bad = numbers.isna() & (frame[name].notna() | (name != "group"))
        bad |= (numbers < low) | (numbers > high)
        if whole:
            bad |= numbers.notna() & (numbers % 1 != 0)
        if bad.any():
            row = int(np.flatnonzero(bad.to_numpy(dtype=np.bool_))[0])
            return row, f"{name} {frame[name].iloc[row]} is {what}"
    return None


_NUMBERS = {
    "probability": (0.0, 1.0, False, "no number from 0 to 1"),
    "group": (
        0,
        2**15 - 1,
        True,
        "no whole number from 0 to 32767; where an image has no group, leave it empty",
    ),
    "weight": (
        0.0,
        float(np.finfo(np.float64).max),
        False,
        "no number that is finite and at least 0",
    ),
}
"""Columns of numbers: from which to which, whether they are whole, and what a wrong one is."""
