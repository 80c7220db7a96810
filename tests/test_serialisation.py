"""JSON and tables are strict, and damage is told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from moenas import serialisation
from moenas.errors import RunFolderError


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    serialisation.write_json(path, {"a": math.nan, "b": [math.inf, 1.5], "c": (1, 2), 3: None})
    text = path.read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": [1, 2], "3": None}


def test_missing_and_damaged_json(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    with pytest.raises(RunFolderError, match=r"file\.json' does not exist"):
        serialisation.read_json(path)
    for damage in (b"", b'{"a": ', b"\xff\xfe\x00"):
        path.write_bytes(damage)
        with pytest.raises(RunFolderError, match=r"file\.json' cannot be read"):
            serialisation.read_json(path)


def test_a_table_survives(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    serialisation.write_parquet(tmp_path / "t.parquet", frame)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), frame)
