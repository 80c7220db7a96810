from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from moenas.errors import DataError
from moenas.predictions import COLUMNS, Predictions


def table(**columns: object) -> pd.DataFrame:
    values = {
        "image_id": ["a", "b", "c"],
        "label": [1, 0, 1],
        "probability": [0.9, 0.5, 0.2],
    }
    return pd.DataFrame({**values, **columns})


def test_what_is_missing_gets_defaults() -> None:
    frame = Predictions(table()).frame
    assert set(COLUMNS) <= set(frame.columns)
    assert frame["prediction"].tolist() == [1, 1, 0]  # at the threshold: a person
    assert frame["split"].eq("report").all()
    assert frame["cluster"].tolist() == ["a", "b", "c"]
    assert frame["weight"].eq(1).all()
    assert frame["group"].isna().all()


def test_decisions_alone_can_be_scored() -> None:
    frame = pd.DataFrame({"image_id": ["a", "b"], "label": [1, 0], "prediction": [1, 1]})
    predictions = Predictions(frame)
    assert predictions.correct.tolist() == [True, False]
    assert predictions.frame["probability"].tolist() == [1.0, 1.0]


def test_further_columns_stay() -> None:
    assert Predictions(table(camera=["x", "y", "z"])).frame["camera"].tolist() == ["x", "y", "z"]


def test_the_callers_table_is_not_changed() -> None:
    frame = table()
    Predictions(frame)
    assert list(frame.columns) == ["image_id", "label", "probability"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": [1, 2, 0]}, "Row 1 of the predictions: label"),
        ({"probability": [0.1, 0.2, 1.5]}, r"Row 2 of the predictions: probability 1\.5"),
        ({"probability": [0.1, np.nan, 0.5]}, "Row 1 of the predictions: probability nan"),
        ({"prediction": [0, 1, 3]}, "Row 2 of the predictions: prediction"),
    ],
)
def test_bad_values_name_their_row(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions(table(**change))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["label", "probability"], "no column 'image_id'"),
        (["image_id", "probability"], "no column 'label'"),
        (["image_id", "label"], "'probability' or 'prediction'"),
    ],
)
def test_missing_columns_are_named(columns: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Predictions(table()[columns])


def test_splits_and_masks() -> None:
    predictions = Predictions(
        table(
            split=["val", "report", "report"],
            group=[3, None, 10],
            lighting=["well_lit", "dimly_lit", None],
        )
    )
    part = predictions.split("report")
    assert part.frame["image_id"].tolist() == ["b", "c"]
    assert part.group.tolist() == [-1, 10]
    assert part.poorly_lit.tolist() == [True, False]
    assert len(predictions.split("train")) == 0


def test_another_threshold_decides_anew() -> None:
    predictions = Predictions(table()).with_threshold(0.1)
    assert predictions.prediction.all()
    assert predictions.threshold == 0.1
    assert predictions.split("report").threshold == 0.1


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    before = Predictions(table(group=[1, None, 2], note=["x", "y", "z"])).with_threshold(0.123)
    before.save(tmp_path / "p.parquet")
    after = Predictions.load(tmp_path / "p.parquet")
    assert after.threshold == 0.123
    pd.testing.assert_frame_equal(after.frame, before.frame)


def test_an_empty_table_survives(tmp_path: Path) -> None:
    Predictions(table()).split("val").save(tmp_path / "p.parquet")
    assert len(Predictions.load(tmp_path / "p.parquet")) == 0


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no predictions file"):
        Predictions.load(tmp_path / "none.parquet")
    Predictions(table()).save(tmp_path / "p.parquet")
    data = (tmp_path / "p.parquet").read_bytes()
    for length in (0, 3, len(data) // 2, len(data) - 5):
        (tmp_path / "p.parquet").write_bytes(data[:length])
        with pytest.raises(DataError, match="cannot be read as Parquet"):
            Predictions.load(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": ["1", "dark", "3"]}, "Row 1 of the predictions: group dark is no whole number"),
        ({"group": [1, -1, 3]}, "Row 1 of the predictions: group -1 is no whole number from 0"),
        ({"group": [1.0, 2.0, 2.5]}, "Row 2 of the predictions: group 2.5 is no whole number"),
        ({"group": [70000, 1, 2]}, "Row 0 of the predictions: group 70000"),
        ({"probability": ["a", 0.2, 0.3]}, "Row 0 of the predictions: probability a is no number"),
        ({"weight": [1.0, "x", 1.0]}, "Row 1 of the predictions: weight x is no number"),
        ({"image_id": ["a", None, "c"]}, "Row 1 of the predictions: image_id is missing"),
    ],
)
def test_cells_of_another_kind_name_their_row(change: dict[str, object], message: str) -> None:
    frame = pd.DataFrame(
        {"image_id": ["a", "b", "c"], "label": [1, 0, 1], "probability": [0.5, 0.1, 0.9]}
    )
    with pytest.raises(DataError, match=message):
        Predictions(frame.assign(**change))


def test_empty_cells_are_images_of_their_own() -> None:
    frame = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "label": [1, 0, 1],
            "probability": [0.5, 0.1, 0.9],
            "cluster": ["a", None, None],
            "weight": [2.0, None, 1.0],
            "group": [None, 3, None],
        }
    )
    found = Predictions(frame)
    assert len(set(found.frame["cluster"])) == 3
    assert found.frame["weight"].tolist() == [2.0, 1.0, 1.0]
    assert found.group.tolist() == [-1, 3, -1]


@pytest.mark.parametrize("threshold", [-0.1, 50, float("nan")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    frame = pd.DataFrame({"image_id": ["a"], "label": [1], "probability": [0.6]})
    with pytest.raises(DataError, match="from 0 to 1"):
        Predictions(frame, threshold)
    with pytest.raises(DataError, match="from 0 to 1"):
        Predictions(frame).with_threshold(threshold)
