"""How all figures for print look: widths of the paper's columns, type, lines, names."""

from __future__ import annotations

from typing import Any

COLUMN, PAGE = 3.5, 7.16
"""Widths of one and of two columns of the paper's format, in inches."""

PRINT_STYLE: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7ea",
    "grid.linewidth": 0.6,
    "axes.edgecolor": "#5b6470",
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.1,
    "lines.markersize": 4,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "moenas",
    "savefig.dpi": 300,
}
"""Settings for `matplotlib.rc_context`."""


def plain(name: str) -> str:
    """Keep a name short, from being read as TeX and from being hidden by an underscore."""
    short = name if len(name) <= 28 else name[:27] + "…"
    safe = "".join(c for c in short if c.isprintable()).replace("$", r"\$")
    return " " + safe if safe.startswith("_") else safe
