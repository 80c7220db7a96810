"""The paper's Fig. 11 for print: the same body with other heads, a panel a score."""

from __future__ import annotations

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from moenas.errors import DataError
from moenas.report.print_style import PAGE, PRINT_STYLE, plain
from moenas.report.theme import Style

HEADS = {
    "linear": Style("base", "#5b6470", "o", ""),
    "classical": Style("one", "#0072b2", "D", ""),
    "quantum": Style("three", "#b0578d", "v", ""),
}
"""Styles by kind of head; models of other names take them in turn."""

LABELS = {
    "balanced_accuracy": "Balanced accuracy",
    "fairness": "Fairness",
    "robustness": "Robustness",
    "overfitting": "Overfitting",
}
"""Scores in the figure's order, and what it calls them; overfitting is best at zero."""


@mpl.rc_context(PRINT_STYLE)
def heads_compared(frame: pd.DataFrame) -> Figure:
    """Draw each head's scores with intervals and its seeds (the paper's Fig. 11).

    The axes are cut to the data and not alike: bars from zero would hide differences of points.

    Args:
        frame: Rows ``model``, ``metric`` (of `LABELS`; others are left out), ``mean``, ``low``,
            ``high``, fractions, and ``values``, a list of one score a seed, or without them.

    Raises:
        DataError: No row has a known metric.
    """
    frame = frame.dropna(subset=["mean"])
    metrics = [metric for metric in LABELS if metric in set(frame["metric"])]
    if not metrics:
        raise DataError("There is no score of a head to draw.")
    models = list(dict.fromkeys(frame["model"]))
    figure = Figure(figsize=(PAGE, 2.2), layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        part = frame[frame["metric"] == metric].set_index("model")
        for place, model in enumerate(models):
            if model not in part.index:
                continue
            row, style = part.loc[model], _style(model, place)
            low, high = row["mean"] - row["low"], row["high"] - row["mean"]
            axes.errorbar(
                place, 100 * row["mean"], yerr=[[100 * max(0.0, low)], [100 * max(0.0, high)]],
                fmt=style.marker, color=style.colour, elinewidth=1.0, capsize=2.5, markersize=5,
            )  # fmt: skip
            seeds = row.get("values")
            if isinstance(seeds, list | tuple):
                x = [place + 0.22] * len(seeds)
                y = [100 * value for value in seeds]
                axes.plot(x, y, ".", color=style.colour, alpha=0.55, markersize=3)
        if metric == "overfitting":
            axes.axhline(0.0, color="#5b6470", linewidth=0.6, linestyle=":")
        axes.set_title(LABELS[metric], fontsize=8)
        axes.set_xticks(range(len(models)), [plain(model) for model in models], rotation=20)
        axes.set_xlim(-0.5, len(models) - 0.3)
        axes.grid(visible=False, axis="x")
    panels[0].set_ylabel("%")
    return figure


def _style(model: str, place: int) -> Style:
    others = list(HEADS.values())
    return HEADS.get(model, others[place % len(others)])
