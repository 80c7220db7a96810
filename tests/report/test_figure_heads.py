from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from moenas.errors import DataError
from moenas.report.figure_heads import LABELS, heads_compared


def scores(models: tuple[str, ...] = ("linear", "classical", "quantum")) -> pd.DataFrame:
    rows = [
        {"model": model, "metric": metric, "mean": 0.7 + 0.01 * i + 0.001 * j,
         "low": 0.65, "high": 0.8, "values": [0.69, 0.73]}
        for i, metric in enumerate(LABELS)
        for j, model in enumerate(models)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_it_draws_the_frame() -> None:
    frame = scores()
    figure = heads_compared(frame)
    assert [axes.get_title() for axes in figure.axes] == list(LABELS.values())
    for axes, metric in zip(figure.axes, LABELS, strict=True):
        drawn = [float(container.lines[0].get_ydata()[0]) for container in axes.containers]
        expected = frame.loc[frame["metric"] == metric, "mean"] * 100
        assert drawn == pytest.approx(expected.tolist())
        assert [label.get_text() for label in axes.get_xticklabels()] == [
            "linear", "classical", "quantum",
        ]  # fmt: skip
        seeds = [line for line in axes.lines if len(line.get_ydata()) == 2 and line.get_alpha()]
        assert [list(line.get_ydata()) for line in seeds] == [pytest.approx([69.0, 73.0])] * 3


def test_what_is_missing_is_left_out_and_odd_names_are_drawn() -> None:
    frame = scores(("_$x^", "long " * 30, "quantum")).drop(columns="values")
    frame = frame[frame["metric"] != "robustness"]
    frame.loc[frame.index[0], "mean"] = np.nan
    figure = heads_compared(frame)
    assert len(figure.axes) == 3
    assert len(figure.axes[0].containers) == 2
    figure.savefig(io.BytesIO())


def test_nothing_to_draw() -> None:
    with pytest.raises(DataError, match="no score"):
        heads_compared(scores().assign(metric="speed"))
