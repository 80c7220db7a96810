"""Tables of what another program said of images, read and checked before anything is written."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from moenas.data.manifest import Manifest, read_named_csv
from moenas.data.skipped import TOO_MANY, skipped_table
from moenas.errors import DataError
from moenas.evaluation.predict import told_columns
from moenas.evaluation.threshold import best_threshold, settable
from moenas.parsing import read_parquet
from moenas.predictions import Predictions, wrong_cell
from moenas.workflows.data import open_manifest

SAID = ("image_id", "probability", "prediction")
NAMED = 3
"""So many unknown images are named in a message."""


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one file says.

    Attributes:
        file: Its path.
        table: Its predictions.
        labelled: Whether it says itself what the images show; then the table's rows are the file's.
    """

    file: Path
    table: Predictions
    labelled: bool

    @property
    def name(self) -> str:
        """What its program is called."""
        return self.file.stem


def read_predictions(
    file: Path | str, data: str | Sequence[str] | None = None, *, image_size: int = 128
) -> Answers:
    """Read predictions that were made elsewhere. Messages count rows from 0, without the header.

    Args:
        file: Parquet or CSV with ``image_id`` and ``probability`` (of a person, 0–1), or
            ``prediction`` (0 or 1), or both. With a column ``label`` it is judged by what it says
            itself, with ``group``, ``lighting``, ``split``, ``weight`` and ``cluster`` where it has
            them.
        data: Says what the images show, where the file has no ``label``. Images without a
            prediction are left out and must be few in every split, class and group.
        image_size: Of drawn scenes.

    Without decisions the threshold is the best one on validation images, where there are any with
    and without a person that weigh something, else 0.5.

    Raises:
        DataError: The file cannot be read, lacks a column, names an image twice or one that is not
            there, holds a value that it cannot hold, has no image of the report half, or has no
            ``label`` while no data are named.
    """
    file = Path(file)
    frame = _read(file)
    _check(frame, file)
    labelled = "label" in frame
    if not labelled:
        if data is None:
            raise DataError(
                f"'{file}' has no column 'label', so nothing is known of its images. Name the data "
                "that they come from: --data MANIFEST (or --data emoji for the drawn scenes); or "
                "give the file a column 'label', 1 for a person and 0 for none."
            )
        frame = _joined(frame, open_manifest(data, image_size), file)
    predictions = Predictions(frame)
    held = predictions.split("val")
    if "prediction" not in frame and settable(held):
        predictions = predictions.with_threshold(best_threshold(held))
    _check_report_half(predictions, file)
    return Answers(file, predictions, labelled)


def _read(file: Path) -> pd.DataFrame:
    kind = file.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise DataError(f"'{file}' is no table of predictions: give a .csv or a .parquet file.")
    try:
        if kind == ".csv":
            return read_named_csv(file)
        return read_parquet(file)
    except FileNotFoundError:
        raise DataError(f"There is no predictions file '{file}'.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read: {error}.") from error


def _check(frame: pd.DataFrame, file: Path) -> None:
    """Refuse what is wrong with the file itself; ``image_id`` becomes text."""
    if "image_id" not in frame:
        known = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"'{file}' has no column 'image_id'. It has: {known}.")
    if not {"probability", "prediction"} & set(frame.columns):
        raise DataError(
            f"'{file}' says nothing of its images: it needs a column 'probability' (of a person, "
            "0 to 1) or 'prediction' (1 for a person, 0 for none)."
        )
    if wrong := wrong_cell(frame):
        raise DataError(f"'{file}', row {wrong[0]}: {wrong[1]}.")
    frame["image_id"] = frame["image_id"].astype(str)
    twice = frame["image_id"].duplicated()
    if twice.any():
        row = int(twice.to_numpy().argmax())
        name = frame["image_id"].iloc[row]
        first = int((frame["image_id"] == name).to_numpy().argmax())
        raise DataError(
            f"'{file}', row {row}: a second prediction of '{name}'; the first is in row {first}."
        )


def _check_report_half(predictions: Predictions, file: Path) -> None:
    frame = predictions.frame
    half = frame[frame["split"] == "report"]
    if not len(half):
        known = ", ".join(f"'{name}'" for name in sorted(frame["split"].unique())) or "none"
        raise DataError(
            f"'{file}' has no image of the split 'report', which is judged. It has: {known}."
        )
    for label, what in ((1, "with"), (0, "without")):
        if not half.loc[half["label"] == label, "weight"].sum() > 0:
            raise DataError(
                f"'{file}' has no image {what} a person on the report half, or none of any weight: "
                "a program that always says the same would be perfect. Add such images."
            )


def _joined(frame: pd.DataFrame, manifest: Manifest, file: Path) -> pd.DataFrame:
    """What the file says, beside what the manifest knows; in the manifest's order."""
    known = manifest.frame
    unknown = ~frame["image_id"].isin(known["image_id"])
    strange = frame.loc[unknown, "image_id"].tolist()
    if strange:
        row = int(unknown.to_numpy().argmax())
        names = ", ".join(f"'{name}'" for name in strange[:NAMED])
        raise DataError(
            f"'{file}', row {row}: the data do not have {len(strange)} of its images: {names}"
            f"{', ...' if len(strange) > NAMED else ''}; an image_id must be the manifest's, like "
            f"'{known['image_id'].iloc[0]}'."
        )
    said = frame[[name for name in SAID if name in frame]]
    heard = known["image_id"].isin(said["image_id"])
    asked = known["split"].isin(set(known.loc[heard, "split"]))
    missing = skipped_table(known[asked], ~heard[asked].to_numpy())
    many = missing[missing["skipped"] > TOO_MANY * missing["n"]]
    if len(many):
        cell = many.iloc[0]
        group = "" if pd.isna(cell["group"]) else f", group {cell['group']}"
        raise DataError(
            f"'{file}' lacks {cell['skipped']} of {cell['n']} images of split '{cell['split']}' "
            f"{'with' if cell['label'] else 'without'} a person{group}: what is left out may be "
            f"what is hard. At most {TOO_MANY:.0%} may be missing."
        )
    kept = [*told_columns(known), "source"]
    return known.loc[heard, kept].merge(said, on="image_id", validate="one_to_one")
