"""The key numbers: one finalist beside the references, each with a strip of intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from markupsafe import Markup

from moenas.report.charts_compare import strip_chart
from moenas.report.measures import MEASURES, millions, number, percent, span
from moenas.report.results import ComparedModel, Comparison, Difference, Estimate, Trial
from moenas.report.tables import OUTCOME
from moenas.report.theme import Style


@dataclasses.dataclass(frozen=True)
class CardLine:
    """One model's line in a card."""

    model: str
    slot: str
    text: str
    value: float | None
    strip: Markup


@dataclasses.dataclass(frozen=True)
class Card:
    """One key number: the chosen finalist's value large, beside the references."""

    label: str
    unit: str
    text: str
    interval: str
    change: str
    outcome: str
    meaning: str
    lines: tuple[CardLine, ...]


def chosen_finalist(
    comparison: Comparison, trials: tuple[Trial, ...] | None
) -> ComparedModel | None:
    """Return the finalist that the cards show, chosen without a look at the reported half.

    It is the one whose trial had the highest balanced accuracy on the search half; where no trial
    tells, the first of the file.
    """
    finalists = [model for model in comparison.models if model.role == "finalist"]
    if not finalists:
        return None
    searched = {
        trial.architecture: trial.balanced_accuracy
        for trial in trials or ()
        if trial.architecture and trial.balanced_accuracy is not None
    }
    return max(finalists, key=lambda model: searched.get(model.architecture) or 0.0)


def cards(
    comparison: Comparison, trials: tuple[Trial, ...] | None, styles: dict[str, Style]
) -> list[Card]:
    """Return the key numbers: four qualities and the size."""
    chosen = chosen_finalist(comparison, trials)
    shown = [model for model in comparison.models if model.role in ("base", "wider")]
    if chosen:
        shown.append(chosen)
    if not shown:
        return []
    hero = chosen or shown[0]
    result = []
    for key in ("balanced_accuracy", "worst_group_accuracy", "fairness", "robustness"):
        measure = MEASURES[key]
        estimates = {model.name: model.report.get(key) or Estimate(None) for model in shown}
        triples = {
            name: (_hundred(e.mean), _hundred(e.low), _hundred(e.high))
            for name, e in estimates.items()
        }
        estimate = estimates[hero.name]
        difference = hero.versus.get("base", {}).get(key)
        result.append(
            Card(
                label=measure.label,
                unit=measure.unit,
                text=percent(estimate.mean),
                interval=span(estimate.low, estimate.high),
                change=_change(difference),
                outcome=OUTCOME[difference.better] if difference else "",
                meaning=measure.meaning,
                lines=_lines(shown, triples, styles, 1),
            )
        )
    sizes = {model.name: ((model.parameters or 0) / 1e6, None, None) for model in shown}
    base = next((model for model in shown if model.role == "base"), None)
    ratio = ""
    if base and hero is not base and base.parameters and hero.parameters:
        ratio = f"{number(hero.parameters / base.parameters, 2)} × base"
    result.append(
        Card(
            label="Size",
            unit="M",
            text=millions(hero.parameters),
            interval="parameters",
            change=ratio,
            outcome="",
            meaning="Parameters of the whole network; compute per image hardly grows with experts.",
            lines=_lines(shown, sizes, styles, 2),
        )
    )
    return result


def _lines(
    shown: list[ComparedModel],
    triples: Mapping[str, tuple[float | None, float | None, float | None]],
    styles: dict[str, Style],
    digits: int,
) -> tuple[CardLine, ...]:
    ends = [value for triple in triples.values() for value in triple if value is not None]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    pad = (high - low) * 0.06 or 0.5
    return tuple(
        CardLine(
            model=model.name,
            slot=styles[model.name].slot,
            text=number(triples[model.name][0], digits),
            value=triples[model.name][0],
            strip=strip_chart(
                [(model.name, *triples[model.name])],
                styles,
                domain=(low - pad, high + pad),
                label=f"{model.name}: {number(triples[model.name][0], digits)}",
            ),
        )
        for model in shown
    )


def _change(difference: Difference | None) -> str:
    if difference is None or difference.difference is None:
        return ""
    return f"{percent(difference.difference, signed=True)} points vs base"


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value
