"""How all figures for print look: widths of the paper's columns, type, lines, names."""

from __future__ import annotations

from typing import Any

from moenas.report.measures import shortened

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


def unread(name: str, most: int) -> str:
    """Keep a name short and from being read as TeX."""
    return "".join(c for c in shortened(name, most) if c.isprintable()).replace("$", r"\$")


def plain(name: str) -> str:
    """Keep a name of a legend as `unread` does, and from being hidden by an underscore."""
    safe = unread(name, 28)
    return " " + safe if safe.startswith("_") else safe
