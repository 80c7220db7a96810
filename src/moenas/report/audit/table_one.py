"""The audit's main table: what was measured of each model beside the paper's Table I."""

from __future__ import annotations

from typing import Any

import pandas as pd

from moenas.report.audit.results import AuditResults
from moenas.report.measures import millions, percent, probability
from moenas.report.paper_table import paper_table

MEASURED = (
    "balanced_accuracy", "fairness", "fairness_debiased", "worst_group_accuracy",
    "gap_lightest_darkest", "robustness", "overfitting",
)  # fmt: skip
"""Measures in the table, in its order; each with ``_low`` and ``_high``."""

PAPERS = ("accuracy", "fairness", "robustness", "overfitting", "parameters_millions")
"""The paper's columns; ours begin with ``paper_``."""


def table_one(audit: AuditResults) -> pd.DataFrame:
    """Return one row a model, in the order of the run.

    Columns ``model, paper, scheme, seeds, parameters, macs``, each of `MEASURED` with its 95 %
    interval, ``noise_floor_mean``, ``fairness_p_value`` and that by Holm over models,
    ``fairness_p_holm``, and the paper's own numbers. Fractions 0–1; NaN where undefined.
    """
    compared = {model.name: model for model in audit.compared}
    paper = paper_table().set_index("model")
    rows = []
    for entry in audit.models:
        row: dict[str, Any] = {"model": entry.model, "paper": entry.paper, "scheme": entry.scheme}
        if model := compared.get(entry.model):
            row |= {"seeds": len(entry.seeds), "parameters": model.parameters, "macs": model.macs}
            for name in MEASURED:
                if value := model.report.get(name):
                    row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
            if floor := model.noise_floor:
                row |= {
                    "noise_floor_mean": floor.mean,
                    "fairness_p_value": floor.p_value,
                    "fairness_p_holm": floor.p_holm,
                }
        if entry.paper in paper.index:
            row |= {f"paper_{name}": paper.loc[entry.paper, name] for name in PAPERS}
        rows.append(row)
    bounds = [f"{name}{end}" for name in MEASURED for end in ("", "_low", "_high")]
    columns = ["model", "paper", "scheme", "seeds", "parameters", "macs", *bounds]
    columns += ["noise_floor_mean", "fairness_p_value", "fairness_p_holm"]
    columns += [f"paper_{name}" for name in PAPERS]
    frame = pd.DataFrame(rows).reindex(columns=columns)
    text = ("model", "paper", "scheme")
    numbers = frame.columns.difference(text)
    frame[numbers] = frame[numbers].apply(pd.to_numeric)
    return frame.astype({"seeds": "Int64", "parameters": "Int64", "macs": "Int64"})


def latex(frame: pd.DataFrame) -> str:
    """Write `table_one` as a LaTeX table for ``booktabs``: per cent with 95 % intervals.

    Args:
        frame: `table_one`.
    """
    shown = {
        "balanced_accuracy": "Bal. acc.",
        "fairness": "Fairness",
        "worst_group_accuracy": "Worst tone",
        "robustness": "Poor light",
        "overfitting": "Overfitting",
    }
    rows = []
    for _, row in frame.iterrows():
        size = "" if pd.isna(row["parameters"]) else millions(row["parameters"])
        cells = {"Model": row["model"], "Scheme": row["scheme"], "Size (M)": size}
        cells |= {title: _interval(row, name) for name, title in shown.items()}
        p = row["fairness_p_holm"]
        rows.append(cells | {"$p$": "" if pd.isna(p) else probability(p)})
    written = pd.DataFrame(rows).astype(object)
    written = written.where(written.notna(), "").map(_escaped)
    names = [column.replace("%", r"\%") for column in written.columns]
    style = written.set_axis(names, axis=1).style.hide(axis="index")
    return str(style.to_latex(hrules=True, column_format="ll" + "r" * (len(names) - 2)))


def _interval(row: pd.Series, name: str) -> str:
    if pd.isna(row[name]):
        return ""
    value = percent(row[name])
    if pd.isna(row[f"{name}_low"]):
        return value
    return f"{value} ({percent(row[f'{name}_low'])} to {percent(row[f'{name}_high'])})"


ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "−": "$-$", "<": "$<$", ">": "$>$",
}  # fmt: skip
"""What means something to TeX."""


def _escaped(text: object) -> str:
    return "".join(ESCAPES.get(letter, letter) for letter in str(text))
