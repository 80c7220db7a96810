"""``moenas audit``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import ANYWHERE, Json, Run
from moenas.cli.output import group_table, light_table, score_table, show
from moenas.config import to_dict
from moenas.console import table
from moenas.workflows import audit
from moenas.workflows.audit import AuditConfig
from moenas.workflows.audit_predictions import audit_predictions
from moenas.workflows.settings import Cluster


def audit_command(
    config: AuditConfig,
    run: Run = Path("runs/audit"),
    resources: Cluster = ANYWHERE,
    predictions: tuple[Path, ...] = (),
    json: Json = False,
) -> None:
    """Train edge models as they are, or judge predictions: who is accurate, fair and robust?

    Args:
        config: What to audit.
        run: Run folder.
        resources: Where and how long.
        predictions: Judge these files of predictions instead (Parquet or CSV); train nothing.
        json: JSON.
    """
    if predictions:
        result = audit_predictions(predictions, run, config.data, image_size=config.image_size)
    else:
        result = audit.audit(config, run, resources)
    rows = []
    for each in result.models:
        cells = ["–"] * len(AUDITED)
        if each.scores is not None:
            values = [getattr(each.scores, name) for name in AUDITED]
            cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
        known = each.scores is not None and each.scores.parameters
        size = f"{each.scores.parameters / 1e6:.2f}M" if known else "–"  # type: ignore[union-attr]
        rows.append((each.model, size, each.scheme or "–", *cells))
    columns = ("model", "size", "scheme", *AUDITED.values())
    only = result.models[0].scores if len(result.models) == 1 else None
    details = []
    if only is not None:
        details = [score_table("Report half", only), group_table(only), light_table(only)]
    show(
        {
            "run": str(result.run),
            "report": str(result.report),
            "verdict": result.verdict,
            "models": [to_dict(each) for each in result.models],
        },
        json,
        table(
            "Report half, per cent: balanced accuracy, fairness, worst group, poor light, "
            "overfitting",
            columns,
            rows,
        ),
        *details,
        *result.verdict,
        *(f"{each.model}: {each.judgement[0]}" for each in result.models),
        f"Table: {result.run / 'audit.csv'}",
        f"Report: {result.report}",
    )


AUDITED = {
    "balanced_accuracy": "acc.",
    "fairness": "fair",
    "worst_group_accuracy": "worst",
    "robustness": "dim",
    "overfitting": "overfit",
}
"""Scores in the audit's table, and what is above them on a terminal of 80 columns."""
