"""Draws what `experts.py` measured: paired differences from the dense models, with intervals.

``python benchmarks/plot_experts.py RESULTS.json ... --out experts.svg``: one panel a file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

METRIC = "balanced_accuracy"
PEERS = (("base", "#0072b2", "o"), ("wider", "#c77700", "s"))  # Okabe and Ito's palette


def panel(axes: Axes, results: dict[str, Any], rows: int) -> None:
    """Draw one file's models, the first one on top.

    Args:
        axes: Where.
        results: What ``experts.py --json`` wrote.
        rows: Room for so many models.
    """
    models = [m for m in results["models"] if m["model"] != results["base"]]
    for row, model in enumerate(models):
        scores = model["scores"][METRIC]
        for (role, colour, marker), shift in zip(PEERS, (-0.13, 0.13), strict=True):
            if results[role] not in scores:
                continue
            middle, low, high = (100 * value for value in scores[results[role]])
            axes.errorbar(
                middle, row + shift, xerr=[[middle - low], [high - middle]], color=colour,
                marker=marker, markersize=5, capsize=2.5, linewidth=1.3,
            )  # fmt: skip
    axes.axvline(0, color="#5b6470", linewidth=0.8)
    axes.set_yticks(range(len(models)))
    axes.set_yticklabels([f"{m['model']}\n{m['parameters_M']:.2f}M" for m in models])
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_title(f"{results['epochs']:g} epochs, {results['seeds']} seeds", fontsize=9)
    axes.set_xlabel("balanced accuracy, points more than")
    axes.grid(axis="x", color="#e4e7ea", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    plt.rcParams.update({"font.size": 8, "svg.hashsalt": "moenas"})
    files = [json.loads(path.read_text()) for path in options.results]
    rows = max(len(results["models"]) for results in files) - 1
    figure, all_axes = plt.subplots(
        1,
        len(files),
        figsize=(0.6 + 3.7 * len(files), 1.1 + 0.42 * rows),
        squeeze=False,
        sharex=True,
    )
    for axes, results in zip(all_axes[0], files, strict=True):
        panel(axes, results, rows)
    first = files[0]
    marks = [
        plt.Line2D([], [], color=colour, marker=marker, label=first[role])
        for role, colour, marker in PEERS
    ]
    figure.legend(handles=marks, ncols=2, loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(options.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
