"""Parquet of other programs: columns of any type are a table, or an error with file and column."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moenas.data.manifest import COLUMNS as MANIFEST_COLUMNS
from moenas.data.manifest import Manifest
from moenas.errors import DataError
from moenas.parsing import not_text, to_numbers
from moenas.predictions import COLUMNS as PREDICTION_COLUMNS
from moenas.predictions import Predictions
from moenas.workflows.predictions_file import read_predictions

MANIFEST = {"path": ["a.png", "b.png"], "label": [1, 0], "split": ["report", "report"]}
PREDICTIONS = {"image_id": ["a", "b"], "label": [1, 0], "probability": [0.9, 0.1]}
LATIN_1 = [b"a", "grün".encode("latin-1")]


def texts(columns: dict[str, str]) -> list[str]:
    return [name for name, kind in columns.items() if kind == "str"]


def write(file: Path, table: dict[str, Any], **more: Any) -> Path:
    pq.write_table(pa.table(table | more), file)
    return file


@pytest.mark.parametrize("name", texts(MANIFEST_COLUMNS))
def test_a_manifests_bytes_that_are_no_text_are_named(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", MANIFEST, **{name: LATIN_1})
    with pytest.raises(DataError, match=rf"a\.parquet.*'{name}' is bytes .* row 1\b"):
        Manifest.load(path)


@pytest.mark.parametrize("name", texts(PREDICTION_COLUMNS))
@pytest.mark.parametrize("read", [Predictions.load, read_predictions])
def test_bytes_of_predictions_are(name: str, read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", PREDICTIONS, **{name: LATIN_1})
    with pytest.raises(DataError, match=rf"(?i)a\.parquet.*row 1\b.*{name} is bytes"):
        read(path)


def test_bytes_that_are_text_are_read(tmp_path: Path) -> None:
    names = ["grün".encode(), b"b"]
    manifest = Manifest.load(write(tmp_path / "a.parquet", MANIFEST, path=names))
    assert manifest.frame["image_id"].tolist() == ["grün", "b"]
    predictions = Predictions.load(write(tmp_path / "b.parquet", PREDICTIONS, image_id=names))
    assert predictions.frame["image_id"].tolist() == ["grün", "b"]


NO_THRESHOLDS = {
    "text": ["high", "low"],
    "nulls": [None, None],
    "lists": [[0.5], [0.5]],
    "structs": [{"a": 1}, {"a": 1}],
    "times": [datetime.datetime(2020, 1, 1)] * 2,
    "durations": [datetime.timedelta(1)] * 2,
    "bytes": LATIN_1,
    "nan": [np.nan, np.nan],
    "categories": pa.array(["a", "b"]).dictionary_encode(),
}


@pytest.mark.parametrize("kind", NO_THRESHOLDS)
def test_a_threshold_is_a_number(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", PREDICTIONS, threshold=NO_THRESHOLDS[kind])
    with pytest.raises(DataError, match=r"a\.parquet': the column 'threshold' holds .*no"):
        Predictions.load(path)


@pytest.mark.parametrize("number", [0.25, "0.25", decimal.Decimal("0.25")])
def test_it_may_be_written_in_any_way(number: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", PREDICTIONS, threshold=[number] * 2)
    assert Predictions.load(path).threshold == 0.25
    empty = {name: pa.array([], pa.string()) for name in (*PREDICTIONS, "threshold")}
    assert Predictions.load(write(tmp_path / "b.parquet", empty)).threshold == 0.5


@pytest.mark.parametrize("column", ["cluster", "weight"])
def test_nulls_among_categories_are_filled(column: str, tmp_path: Path) -> None:
    values = pa.array(["2", None]).dictionary_encode()
    path = write(tmp_path / "a.parquet", PREDICTIONS, **{column: values})
    filled = {"cluster": ["2", "b"], "weight": [2, 1]}[column]
    assert Predictions.load(path).frame[column].tolist() == filled


def test_the_file_is_named_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    for read, table in ((Manifest.load, MANIFEST), (Predictions.load, PREDICTIONS)):
        path = write(tmp_path / "a.parquet", table, label=[[1], [0]])
        with pytest.raises(DataError, match=r"a\.parquet.*label"):
            read(path)


def test_what_is_no_text_and_what_is_no_number() -> None:
    values = pd.Series([b"\xff", b"a", "\xff", None, 3, [b"\xff"]], dtype=object)
    assert not_text(values).tolist() == [True, False, False, False, False, False]
    assert not_text(pd.Series([b"\xff", b"a"], dtype="category")).tolist() == [True, False]
    assert not_text(pd.Series([1.0, np.nan])).tolist() == [False, False]
    numbers = to_numbers(pd.Series([np.array([1.0]), [2], "3"], dtype=object))
    np.testing.assert_array_equal(numbers, [np.nan, np.nan, 3])
