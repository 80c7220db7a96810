"""``moenas audit --predictions``: judge what a device, or any other program, said of images."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from moenas.data.manifest import OWN, Manifest, count_images, sources_of
from moenas.data.skipped import TOO_MANY, skipped_table
from moenas.data.sources.emoji import note_on
from moenas.data.sources.opening import names_of
from moenas.errors import DataError
from moenas.evaluation.predict import told_columns
from moenas.evaluation.threshold import best_threshold
from moenas.parsing import read_csv, read_parquet
from moenas.predictions import Predictions
from moenas.runs import RunFolder
from moenas.workflows.audit_findings import Candidate
from moenas.workflows.audit_results import AuditResult, conclude
from moenas.workflows.data import open_manifest

SAID = ("image_id", "probability", "prediction")
NAMED = 3
"""So many unknown images are named in a message."""


def audit_predictions(
    files: Sequence[Path | str],
    run: Path | str,
    data: str | Sequence[str] = "emoji",
    *,
    image_size: int = 128,
) -> AuditResult:
    """Audit what other programs said of the same images; no model is needed.

    Args:
        files: Tables of predictions, see `read_predictions`; each is named by its file.
        run: The run folder; an audit of the same files there is made anew.
        data: Says what the images show, where a file has no ``label``.
        image_size: Of drawn scenes.

    Raises:
        DataError: A file is no table of predictions, two have one name, or their images differ.
    """
    paths = [Path(file) for file in files]
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        raise DataError(f"Files of one name cannot be told apart: {', '.join(map(str, paths))}.")
    start = time.monotonic()
    tables = [read_predictions(path, data, image_size=image_size) for path in paths]
    sources = sources_of(*(table.frame for table in tables))
    settings = {"predictions": [str(path) for path in paths], "data": list(names_of(data))}
    folder = RunFolder.create(run, "audit", settings)
    with folder.locked():
        for name, table in zip(names, tables, strict=True):
            table.save(folder.judged(name).predictions)
        return conclude(
            folder,
            [Candidate(name, (table,)) for name, table in zip(names, tables, strict=True)],
            data={
                "source": ", ".join(sources) or OWN,
                "counts": count_images(tables[0].frame),
                "note": note_on(sources),
            },
            image_size=None,
            seconds={"evaluation": round(time.monotonic() - start, 1)},
            device=torch.device("cpu"),
        )


def read_predictions(
    file: Path | str, data: str | Sequence[str] = "emoji", *, image_size: int = 128
) -> Predictions:
    """Read predictions that were made elsewhere.

    Args:
        file: Parquet or CSV with ``image_id`` and ``probability`` (of a person, 0–1), or
            ``prediction`` (0 or 1), or both. With a column ``label`` it is judged by what it says
            itself, with ``group``, ``lighting``, ``split`` and ``cluster`` where it has them.
        data: Says what the images show, where the file has no ``label``. Images without a
            prediction are left out and must be few in every split, class and group.
        image_size: Of drawn scenes.

    Without decisions the threshold is the best one on validation images, where there are any with
    and without a person, else 0.5.

    Raises:
        DataError: The file cannot be read, lacks a column, names an image twice or one that is not
            there, holds a value that it cannot hold, or has no image of the report half.
    """
    file = Path(file)
    frame = _read(file)
    if "image_id" not in frame:
        raise DataError(f"'{file}' has no column 'image_id'.")
    frame["image_id"] = frame["image_id"].astype(str)
    twice = frame["image_id"].duplicated()
    if twice.any():
        row = int(twice.to_numpy().argmax())
        raise DataError(
            f"'{file}', row {row}: a second prediction of '{frame['image_id'].iloc[row]}'."
        )
    if "label" not in frame:
        frame = _joined(frame, open_manifest(data, image_size), file)
    predictions = Predictions(frame)
    held = predictions.split("val")
    if "prediction" not in frame and set(held.frame["label"]) == {0, 1}:
        predictions = predictions.with_threshold(best_threshold(held))
    if not (predictions.frame["split"] == "report").any():
        raise DataError(f"'{file}' has no image of the split 'report', which is judged.")
    return predictions


def _read(file: Path) -> pd.DataFrame:
    try:
        if file.suffix == ".csv":
            return read_csv(file, dtype={"image_id": "str"})
        return read_parquet(file)
    except FileNotFoundError:
        raise DataError(f"There is no predictions file '{file}'.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read: {error}.") from error


def _joined(frame: pd.DataFrame, manifest: Manifest, file: Path) -> pd.DataFrame:
    """What the file says, beside what the manifest knows; in the manifest's order."""
    known = manifest.frame
    strange = frame.loc[~frame["image_id"].isin(known["image_id"]), "image_id"].tolist()
    if strange:
        names = ", ".join(f"'{name}'" for name in strange[:NAMED])
        raise DataError(
            f"'{file}' has {len(strange)} images that the data do not have: {names}"
            f"{', ...' if len(strange) > NAMED else ''}; their image_id must be the manifest's."
        )
    said = frame[[name for name in SAID if name in frame]]
    heard = known["image_id"].isin(said["image_id"])
    asked = known["split"].isin(set(known.loc[heard, "split"]))
    missing = skipped_table(known[asked], ~heard[asked].to_numpy())
    many = missing[missing["skipped"] > TOO_MANY * missing["n"]]
    if len(many):
        cell = many.iloc[0]
        raise DataError(
            f"'{file}' lacks {cell['skipped']} of {cell['n']} images of split '{cell['split']}', "
            f"label {cell['label']}, group {cell['group']}: what is left out may be what is hard. "
            f"At most {TOO_MANY:.0%} may be missing."
        )
    kept = [*told_columns(known), "source"]
    return known.loc[heard, kept].merge(said, on="image_id", validate="one_to_one")
