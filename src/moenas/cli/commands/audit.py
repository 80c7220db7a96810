"""``moenas audit``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import ANY, Json, Run
from moenas.cli.output import group_table, light_table, score_table, show
from moenas.config import to_dict
from moenas.console import table
from moenas.workflows import audit
from moenas.workflows.audit import AuditConfig
from moenas.workflows.audit_predictions import audit_predictions
from moenas.workflows.settings import Resources


def audit_command(
    config: AuditConfig,
    run: Run = Path("runs/audit"),
    resources: Resources = ANY,
    predictions: Path | None = None,
    json: Json = False,
) -> None:
    """Train edge models as they are, or judge predictions: who is accurate, fair and robust?

    Args:
        config: What to audit.
        run: Run folder.
        resources: Where and how long.
        predictions: Judge this file of predictions instead (Parquet or CSV), write nothing.
        json: JSON.
    """
    if predictions is not None:
        found = audit_predictions(predictions, config.data, image_size=config.image_size)
        for split, scores in found.scores.items():
            last = split == list(found.scores)[-1]
            tables = [group_table(scores)] * bool(scores.groups)
            tables += [light_table(scores)] * bool(scores.lights)
            notes = [*tables, *found.judgement] if last else []
            show({}, False, score_table(f"{predictions} on {split}", scores), *notes)
        if json:
            show({"scores": to_dict(found.scores), "judgement": found.judgement}, True)
        return
    result = audit.audit(config, run, resources)
    rows = []
    for each in result.models:
        cells = ["–"] * len(AUDITED)
        if each.scores is not None:
            values = [getattr(each.scores, name) for name in AUDITED]
            cells = ["–" if value is None else f"{100 * value:.1f}" for value in values]
        size = "–" if each.scores is None else f"{each.scores.parameters / 1e6:.2f}M"
        rows.append((each.model, size, each.scheme or "none", *cells))
    columns = ("model", "size", "scheme", *AUDITED.values())
    show(
        {"run": str(result.run), "models": [to_dict(each) for each in result.models]},
        json,
        table(
            "Report half, per cent: balanced accuracy, fairness, worst group, poor light, "
            "overfitting",
            columns,
            rows,
        ),
        *(f"{each.model}: {each.judgement[0]}" for each in result.models),
        f"Table: {result.run / 'audit.csv'}",
    )


AUDITED = {
    "balanced_accuracy": "acc.",
    "fairness": "fair",
    "worst_group_accuracy": "worst",
    "robustness": "dim",
    "overfitting": "overfit",
}
"""Scores in the audit's table, and what is above them on a terminal of 80 columns."""
