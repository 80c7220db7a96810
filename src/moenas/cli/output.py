"""What commands print: tables for people on stderr, JSON for machines on stdout."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

from moenas.config import to_dict
from moenas.console import console, table
from moenas.evaluation.scores import SHOWN, Scores
from moenas.masking import shown
from moenas.serialisation import json_text


def show(value: Any, as_json: bool, *human: Any) -> None:
    """Print for people, and as JSON for machines where they asked."""
    for item in human:
        if isinstance(item, str):
            console.print(shown(item), markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(item)
    if as_json:
        plain = to_dict(value) if dataclasses.is_dataclass(value) else value
        sys.stdout.write(json_text(plain))


def score_table(title: str, scores: Scores) -> Any:
    """A model's scores with intervals."""
    rows = []
    for name in SHOWN:
        value = getattr(scores, name)
        low, high = scores.interval_of(name) or (None, None)
        text = "–" if value is None else f"{100 * value:.1f}"
        rows.append((name.replace("_", " "), text, interval(low, high)))
    if scores.parameters:  # of a device's answers nothing is known
        rows.append(("parameters", f"{scores.parameters / 1e6:.2f}M", ""))
    return table(f"{title} ({scores.n} images)", ("score", "per cent", "95 % interval"), rows)


def group_table(scores: Scores) -> Any:
    """Accuracy of each group."""
    rows = [
        (
            f"{g.group} (too few)" if g.too_few else g.group,
            g.n,
            f"{100 * g.accuracy:.1f}",
            interval(g.low, g.high),
        )
        for g in scores.groups
    ]
    return table("Accuracy by group", ("group", "images", "per cent", "95 % interval"), rows)


def light_table(scores: Scores) -> Any:
    """Balanced accuracy in each light."""
    rows = [
        (
            light.lighting.replace("_", " "),
            light.n,
            "–" if light.balanced_accuracy is None else f"{100 * light.balanced_accuracy:.1f}",
            interval(light.low, light.high),
        )
        for light in scores.lights
    ]
    columns = ("light", "images", "per cent", "95 % interval")
    return table("Balanced accuracy by light", columns, rows)


def group_counts(counts: dict[str, dict[str, Any]]) -> list[Any]:
    """How many images of each group each split has; nothing where there are no groups."""
    groups = sorted({int(group) for part in counts.values() for group in part["groups"]})
    rows = [
        (group, *(part["groups"].get(str(group), 0) for part in counts.values()))
        for group in groups
    ]
    return [table("Images of each group (skin tone)", ("group", *counts), rows)] if rows else []


def interval(low: float | None, high: float | None) -> str:
    """An interval in per cent; empty where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def duration(seconds: float) -> str:
    """A duration as a person says it."""
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} hours" if seconds < 172800 else f"{seconds / 86400:.1f} days"
