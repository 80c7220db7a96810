"""Tables as the page shows them: rows of cells, each with the exact number behind its text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from moenas.report.tables import csv_uri


@dataclasses.dataclass(frozen=True)
class Mark:
    """How a number compares with a reference: shape and words, never colour alone."""

    against: str
    outcome: str
    detail: str

    @property
    def sign(self) -> str:
        """``▲`` better, ``▼`` worse, ``≈`` undecided."""
        return {"better": "▲", "worse": "▼"}.get(self.outcome, "≈")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: its text, the number behind it, an interval and a note beneath, marks beside."""

    text: str
    value: float | int | None = None
    sub: str = ""
    note: str = ""
    marks: tuple[Mark, ...] = ()
    svg: Markup | None = None
    swatch: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row; ``slot`` names the model's colour, ``model`` links it to the model's marks."""

    cells: tuple[Cell, ...]
    slot: str = ""
    model: str | None = None


@dataclasses.dataclass(frozen=True)
class Grid:
    """A whole table with its download."""

    headers: tuple[str, ...]
    rows: tuple[Row, ...]
    csv: str
    file_name: str
    hints: tuple[str, ...] = ()


def plain_grid(
    frame: pd.DataFrame,
    file_name: str,
    headers: Mapping[str, str],
    write: Mapping[str, Callable[[float], str]] | None = None,
    slots: Mapping[str, str] | None = None,
    download: pd.DataFrame | None = None,
) -> Grid:
    """Turn a frame into a table: chosen columns, each number written by its own function.

    Args:
        frame: The data; all of it goes into the download.
        file_name: Name of the download.
        headers: Column to heading, in order; other columns are not shown.
        write: Column to the function that writes its numbers; others are written as they are.
        slots: Model name to colour slot, for frames with a column ``model``.
        download: What the download holds, where that is more than is shown.
    """
    rows = []
    for record in frame.to_dict("records"):
        cells = tuple(_cell(record[column], (write or {}).get(str(column))) for column in headers)
        model = record.get("model")
        slot = (slots or {}).get(str(model), "")
        rows.append(Row(cells, slot=slot, model=None if model is None else str(model)))
    uri = csv_uri(frame if download is None else download)
    return Grid(tuple(headers.values()), tuple(rows), uri, file_name)


def _cell(value: Any, write: Callable[[float], str] | None) -> Cell:
    missing = value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
    if missing:
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if isinstance(value, int | float):
        text = write(value) if write else f"{value:,}".replace(",", "\u202f")
        return Cell(text, value=value)
    return Cell(str(value))
