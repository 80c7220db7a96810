"""Images that cannot be read: left out where they are few, an error where a group loses many."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.console import logger
from moenas.errors import DataError

TOO_MANY = 0.05
"""Of the images of one split, label and group, the share that may be skipped."""

_CELL = ["split", "label", "group"]


def skipped_table(frame: pd.DataFrame, skipped: npt.NDArray[np.bool_]) -> pd.DataFrame:
    """Count skipped images: ``split, label, group, n, skipped``, where any is skipped.

    Args:
        frame: A manifest's table.
        skipped: [n] which of its rows cannot be used.
    """
    table = frame[_CELL].assign(skipped=skipped)
    counts = table.groupby(_CELL, dropna=False)["skipped"].agg(n="size", skipped="sum")
    return counts[counts["skipped"] > 0].reset_index()


def tell_skipped(
    frame: pd.DataFrame, skipped: npt.NDArray[np.bool_], why: str, at_most: float = TOO_MANY
) -> None:
    """Warn of skipped images, counted per split, label and group.

    Args:
        frame: A manifest's table.
        skipped: [n] which of its rows cannot be used.
        why: What is wrong with the first of them.
        at_most: The share of a split, label and group that may be skipped.

    Raises:
        DataError: More are skipped in one of them: its scores would be of other images.
    """
    if not skipped.any():
        return
    table = skipped_table(frame, skipped)
    places = "; ".join(_cell(row) for row in table.itertuples())
    rows = ", ".join(str(row) for row in np.flatnonzero(skipped)[:5])
    message = (
        f"{int(skipped.sum())} of {len(frame)} images cannot be read ({places}). The first rows: "
        f"{rows}. The first: {why}"
    )
    worst = table.loc[table["skipped"] > at_most * table["n"]]
    if len(worst):
        raise DataError(
            f"{message} More than {100 * at_most:g} % are missing in: "
            f"{'; '.join(_cell(row) for row in worst.itertuples())}. Get these files, or remove "
            "their rows on purpose."
        )
    logger.warning("%s They are left out.", message)


def _cell(row: Any) -> str:
    group = "" if pd.isna(row.group) else f", group {row.group}"
    kind = "with a person" if row.label == 1 else "without"
    return f"{row.split}, {kind}{group}: {row.skipped} of {row.n}"
