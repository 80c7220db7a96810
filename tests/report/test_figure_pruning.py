from __future__ import annotations

import numpy as np

from moenas.report import tables
from moenas.report.figure_pruning import pruning_study
from moenas.report.results import read_results


def test_the_curve_its_bands_and_the_accepted_step_are_drawn(full_run):
    pruning = read_results(full_run).pruning
    frame = tables.pruning(pruning)
    figure = pruning_study(frame, pruning.least())
    assert [a.get_ylabel().split("\n")[0] for a in figure.axes] == [
        "Accuracy", "Fairness", "Robustness", "Overfitting",
    ]  # fmt: skip
    first = figure.axes[0]
    line = first.lines[0]
    assert list(line.get_ydata()) == list(frame["balanced_accuracy"] * 100)
    band = first.collections[0].get_paths()[0].vertices[:, 1]
    assert np.isclose(band.min(), 100 * frame["balanced_accuracy_low"].min())
    assert np.isclose(band.max(), 100 * frame["balanced_accuracy_high"].max())
    assert any(list(line.get_xdata()) == [16, 16] for line in first.lines)
    assert any(list(line.get_ydata()) == [100 * pruning.least()["balanced_accuracy"]] * 2
               for line in first.lines)  # fmt: skip


def test_older_runs_have_no_bands(full_run):
    frame = tables.pruning(read_results(full_run).pruning)
    plain = frame[[name for name in frame if not name.endswith(("_low", "_high"))]]
    assert not pruning_study(plain).axes[0].collections
    assert pruning_study(plain.head(1)).axes
    assert pruning_study(plain.assign(balanced_accuracy=np.nan)).axes[0].get_ylabel()
