"""``moenas audit``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from moenas.cli.arguments import ANYWHERE, Json, Run
from moenas.cli.output import group_table, light_table, score_table, show
from moenas.console import table
from moenas.errors import ConfigError
from moenas.workflows import audit
from moenas.workflows.audit import AuditConfig
from moenas.workflows.audit_models import Audited
from moenas.workflows.audit_predictions import audit_predictions
from moenas.workflows.settings import Cluster

NO_DATA = AuditConfig(data=())
"""The defaults, but with no data named: predictions are not held against drawn scenes unasked."""


def audit_command(
    config: AuditConfig = NO_DATA,
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
        _refuse_what_only_trainings_need(config, resources)
        data = config.data or None
        result = audit_predictions(predictions, run, data, image_size=config.image_size)
    else:
        config = dataclasses.replace(config, data=config.data or AuditConfig().data)
        result = audit.audit(config, run, resources)
    columns = ("model", "size", "scheme", *AUDITED.values())
    only = result.models[0].scores if len(result.models) == 1 else None
    details = []
    if only is not None:
        details = [score_table("Report half", only)]
        details += [group_table(only)] * bool(only.groups)
        details += [light_table(only)] * bool(only.lights)
    show(
        {
            "run": str(result.run),
            "report": str(result.report),
            "verdict": result.verdict,
            "models": [each.record() for each in result.models],
        },
        json,
        table(
            "Report half, per cent: balanced accuracy, fairness, worst group, poor light, "
            "overfitting",
            columns,
            [_row(each) for each in result.models],
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

OF_THE_IMAGES = ("data", "image_size")
"""Settings that an audit of predictions looks at, too."""


def _row(each: Audited) -> tuple[str, ...]:
    scores = each.scores
    if scores is None:
        return (each.model, "–", each.scheme or "–", *["–"] * len(AUDITED))
    means = [each.report.get(name, {}).get("mean") for name in AUDITED]  # over seeds
    cells = ["–" if value is None else f"{100 * value:.1f}" for value in means]
    size = f"{scores.parameters / 1e6:.2f}M" if scores.parameters else "–"
    return (each.model, size, each.scheme or "–", *cells)


def _refuse_what_only_trainings_need(config: AuditConfig, resources: Cluster) -> None:
    changed = [
        *(name for name in _changed(config) if name not in OF_THE_IMAGES),
        *_changed(resources),
    ]
    if changed:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise ConfigError(
            f"{flags} {'says' if len(changed) == 1 else 'say'} how models are trained, and "
            "--predictions trains none: leave out the one or the other."
        )


def _changed(settings: Any) -> list[str]:
    """Names of the settings that are not the defaults."""
    usual = type(settings)()
    return [
        field.name
        for field in dataclasses.fields(settings)
        if getattr(settings, field.name) != getattr(usual, field.name)
    ]
