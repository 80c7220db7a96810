"""Table I of the paper as data, to stand beside what a run measured."""

from __future__ import annotations

from importlib import resources

import pandas as pd


def paper_table() -> pd.DataFrame:
    """Return Table I of the MoENAS paper (arXiv 2502.07422), trained on COCO, tested on FACET.

    Returns:
        17 rows with columns ``category`` (edge, hw-nas, moenas), ``model``, ``accuracy``,
        ``fairness``, ``accuracy_lightest``, ``accuracy_darkest``, ``robustness``, ``overfitting``
        (fractions, 0-1) and ``parameters_millions``. ``accuracy`` is over images that all show a
        person, so it is a recall; it cannot be compared with a balanced accuracy.
    """
    with (
        resources.files("moenas.report").joinpath("paper_table.csv").open(encoding="utf-8") as file
    ):
        return pd.read_csv(file)
