"""Manifests and predictions: any bytes as CSV or Parquet are a table, or a `DataError`.

The first byte says which: a manifest's CSV or Parquet, or predictions' Parquet, or a CSV that is
also validated, which takes longer than all the rest.
"""

from __future__ import annotations

import datetime
import io
from pathlib import Path
from typing import Any

import atheris
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness import fuzz

with atheris.instrument_imports(include=["moenas"]):
    from moenas.data.manifest import Manifest
    from moenas.predictions import Predictions

_MANIFEST = pd.DataFrame(
    {"path": ["a.png", "b.png"], "label": [1, 0], "split": ["val", "val"], "group": [3, None]}
)
_PREDICTIONS = pd.DataFrame(
    {"image_id": ["a", "b"], "label": [1, 0], "probability": [0.1, 0.9], "threshold": [0.5, 0.5]}
)
_FOREIGN = {
    "bytes": [b"a", b"\xff"],
    "times": [datetime.datetime(2020, 1, 1), None],
    "durations": [datetime.timedelta(1), None],
    "lists": [[1], None],
    "structs": [{"a": 1}, None],
    "categories": pa.array(["a", None]).dictionary_encode(),
    "nulls": [None, None],
}
"""Columns of types that no table of ours has."""


def _parquet(frame: pd.DataFrame, column: str = "", values: Any = None) -> bytes:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    if column:
        values = pa.array(values)
        known = column in table.column_names
        place = table.column_names.index(column) if known else table.num_columns
        change = table.set_column if known else table.add_column
        table = change(place, column, values).replace_schema_metadata()
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def seeds() -> list[bytes]:
    """A table of each kind, and with a column of each foreign type."""
    tables = [_parquet(frame) for frame in (_MANIFEST, _PREDICTIONS)]
    foreign = [
        kind + _parquet(frame, column, values)
        for kind, frame, columns in (
            (b"\1", _MANIFEST, ("path", "cluster", "group")),
            (b"\2", _PREDICTIONS, ("image_id", "cluster", "weight", "threshold")),
        )
        for column in columns
        for values in _FOREIGN.values()
    ]
    csv = _MANIFEST.to_csv(index=False).encode()
    full = b'path,label,split,x,y,width,height,weight\n"a ""b"".png",1,val,0,0,1e9,NaN,inf\n'
    return [b"\0" + csv, b"\0" + full, b"\1" + tables[0], b"\2" + tables[1], b"\3" + csv,
            *foreign]  # fmt: skip


def check(data: bytes, folder: Path) -> None:
    """Read a table and what is asked of each first."""
    kind = data[0] % 4 if data else 0
    path = folder / ("table.csv" if kind in (0, 3) else "table.parquet")
    path.write_bytes(data[1:])
    if kind == 2:
        predictions = Predictions.load(path)
        assert len(predictions.group) == len(predictions)
        return
    manifest = Manifest.load(path)
    assert len(manifest.boxes()) == len(manifest)
    if kind == 3:
        manifest.validate(check_images=False)


if __name__ == "__main__":
    fuzz(check, seeds(), text=True)
