"""Manifests and predictions: any bytes as CSV or Parquet are a table, or a `DataError`.

The first byte says which: a manifest's CSV or Parquet, or predictions' Parquet, or a CSV that is
also validated, which takes longer than all the rest.
"""

from __future__ import annotations

import io
from pathlib import Path

import atheris
import pandas as pd

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


def seeds() -> list[bytes]:
    """A table of each kind."""
    tables = []
    for frame in (_MANIFEST, _PREDICTIONS):
        file = io.BytesIO()
        frame.to_parquet(file, index=False)
        tables.append(file.getvalue())
    csv = _MANIFEST.to_csv(index=False).encode()
    full = b'path,label,split,x,y,width,height,weight\n"a ""b"".png",1,val,0,0,1e9,NaN,inf\n'
    return [b"\0" + csv, b"\0" + full, b"\1" + tables[0], b"\2" + tables[1], b"\3" + csv]


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
