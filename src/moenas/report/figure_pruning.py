"""The pruning curve for print: every quality with its interval, by experts removed (Fig. 9)."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from moenas.report.print_style import COLUMN, PRINT_STYLE

LOOKS = {
    "balanced_accuracy": ("Accuracy", "#0072b2", "o"),
    "fairness": ("Fairness", "#009e73", "^"),
    "robustness": ("Robustness", "#b0578d", "s"),
    "worst_group_accuracy": ("Worst group", "#8a7a00", "v"),
    "overfitting": ("Overfitting", "#5b6470", "D"),
}
"""Name, colour and mark of each quality; one panel a quality. The accuracy is balanced."""


@mpl.rc_context(PRINT_STYLE)
def pruning_study(frame: pd.DataFrame, least: Mapping[str, float] | None = None) -> Figure:
    """Draw each quality with its interval over the experts removed, a panel a quality.

    Accuracy is the balanced one.
    Removed experts are below, the parameters that are left above. The vertical line marks the
    accepted step; hollow marks are steps after it. The band of fairness is the interval of the true
    fairness: what is measured on few images may lie below it.

    Args:
        frame: `tables.pruning`; search-half numbers. Qualities without values are left out.
        least: Least allowed value of a quality, 0-1; dotted.
    """
    shown = [key for key in LOOKS if key in frame and frame[key].notna().any()]
    height = 0.55 + 1.05 * max(1, len(shown))
    figure = Figure(figsize=(COLUMN, height), layout="constrained")
    panels = figure.subplots(max(1, len(shown)), 1, sharex=True, squeeze=False)[:, 0]
    for axes, key in zip(panels, shown, strict=False):
        _quality(axes, frame, key, (least or {}).get(key))
    panels[-1].set_xlabel("Experts removed")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    _sizes(panels[0], frame)
    kept = frame[frame["kept"].astype(bool)]
    if len(kept):
        accepted = int(kept["step"].max())
        for axes in panels:
            axes.axvline(accepted, color="#d55e00", linewidth=0.9, zorder=1)
        handle = Line2D([], [], color="#d55e00", linewidth=0.9)
        allowed = Line2D([], [], color="#5b6470", linewidth=0.9, linestyle=":")
        handles, labels = [handle], [f"accepted: {accepted} removed"]
        if least:
            handles, labels = [*handles, allowed], [*labels, "least allowed"]
        figure.legend(handles, labels, ncols=2, loc="outside lower center")
    return figure


def _quality(axes: Axes, frame: pd.DataFrame, key: str, least: float | None) -> None:
    name, colour, marker = LOOKS[key]
    part = frame.dropna(subset=[key])
    step, value = part["step"].astype(int), part[key].astype(float) * 100
    axes.plot(step, value, color=colour, zorder=3)
    for rows, face in ((part["kept"].astype(bool), colour), (~part["kept"].astype(bool), "white")):
        axes.plot(
            step[rows], value[rows], marker, color=colour, markerfacecolor=face, markersize=2.6,
            markeredgewidth=0.7, zorder=3,
        )  # fmt: skip
    ends = [f"{key}_{end}" for end in ("low", "high")]
    if set(ends) <= set(part.columns):
        known = part.dropna(subset=ends)
        low, high = (known[end].astype(float) * 100 for end in ends)
        axes.fill_between(
            known["step"].astype(int), low, high, color=colour, alpha=0.16, linewidth=0
        )
    if least is not None:
        axes.axhline(100 * least, color="#5b6470", linewidth=0.9, linestyle=":")
    axes.set_ylabel(f"{name}\n({'points' if key == 'overfitting' else '%'})")


def _sizes(axes: Axes, frame: pd.DataFrame) -> None:
    """Write the parameters that are left above the first panel."""
    sizes = frame.dropna(subset=["parameters"])
    if not len(sizes):
        return
    picks = sizes.iloc[[round(i * (len(sizes) - 1) / 4) for i in range(5)]]
    picks = picks.drop_duplicates("step")
    above = axes.secondary_xaxis("top")
    above.set_xticks(
        picks["step"].astype(int), [f"{float(n) / 1e6:.2f}" for n in picks["parameters"]]
    )
    above.set_xlabel("Parameters left (M)")
    above.spines["top"].set_visible(True)
