"""The parts of the page: each function turns results into what one section shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd
from markupsafe import Markup

from moenas.report import tables
from moenas.report.charts_compare import strip_chart
from moenas.report.charts_search import expert_glyph
from moenas.report.grid import Cell, Grid, Mark, Row
from moenas.report.measures import MEASURES, duration, millions, number, percent, probability
from moenas.report.results import ComparedModel, Comparison, Difference, Estimate, Trial
from moenas.report.svg import known
from moenas.report.tables import OUTCOME, csv_uri
from moenas.report.theme import Style

ROLE_NAMES = {
    "base": "base model",
    "wider": "wider dense model",
    "finalist": "finalist",
    "pruned": "pruned finalist",
}


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
                interval=_range(estimate),
                change=_change(difference),
                outcome=OUTCOME[difference.better] if difference else "",
                meaning=measure.meaning,
                lines=_lines(shown, triples, styles, 1),
            )
        )
    sizes = {model.name: (model.parameters / 1e6, None, None) for model in shown}
    base = next((model for model in shown if model.role == "base"), None)
    ratio = ""
    if base and hero is not base and base.parameters:
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


def leaderboard_grid(comparison: Comparison, styles: dict[str, Style]) -> Grid:
    """Return the table of all models and measures with intervals and marks."""
    models = {model.name: model for model in comparison.models}
    frame = tables.leaderboard(comparison)
    rows = []
    for name in frame["model"]:
        model = models[name]
        sub = " · ".join(
            part
            for part in (ROLE_NAMES[model.role], model.size_class, _seeds(len(model.seeds)))
            if part
        )
        cells = [
            Cell(name, sub=sub),
            Cell(
                millions(model.parameters),
                value=model.parameters,
                sub="" if model.macs is None else f"{number(model.macs / 1e6, 0)} M MACs",
            ),
        ]
        for key in MEASURES:
            estimate = model.report.get(key) or Estimate(None)
            cells.append(
                Cell(
                    percent(estimate.mean),
                    value=estimate.mean,
                    sub=_range(estimate),
                    marks=_marks(model, key),
                )
            )
        rows.append(Row(tuple(cells), slot=styles[name].slot))
    headers = ["Model", "Size, M"]
    headers += [f"{m.label}, {'%' if m.unit == '%' else 'pts'}" for m in MEASURES.values()]
    hints = ["", "Parameters, and multiply-adds (MACs) for one image, in millions"]
    hints += [measure.meaning for measure in MEASURES.values()]
    return Grid(tuple(headers), tuple(rows), csv_uri(frame), "leaderboard.csv", tuple(hints))


def _marks(model: ComparedModel, key: str) -> tuple[Mark, ...]:
    marks = []
    for reference in ("base", "wider"):
        difference = model.versus.get(reference, {}).get(key)
        if difference:
            marks.append(Mark(reference, OUTCOME[difference.better], _detail(difference)))
    return tuple(marks)


def _detail(difference: Difference) -> str:
    text = f"{percent(difference.difference, signed=True)} points"
    if difference.low is not None and difference.high is not None:
        text += f" ({percent(difference.low, signed=True)} to "
        text += f"{percent(difference.high, signed=True)})"
    if difference.p_holm is not None:
        text += f", Holm p {probability(difference.p_holm)}"
    return text


def _change(difference: Difference | None) -> str:
    if difference is None or difference.difference is None:
        return ""
    return f"{percent(difference.difference, signed=True)} points vs base"


def verdict_grid(comparison: Comparison, styles: dict[str, Style]) -> list[Row]:
    """Return one row a finalist or pruned model: its outcome in each main measure."""
    keys = ("balanced_accuracy", "fairness", "robustness", "overfitting", "worst_group_accuracy")
    return [
        Row(
            (
                Cell(model.name, sub=model.size_class or ""),
                *(Cell(MEASURES[key].label, marks=_marks(model, key)) for key in keys),
            ),
            slot=styles[model.name].slot,
        )
        for model in comparison.models
        if model.role in ("finalist", "pruned") and model.versus
    ]


def trials_grid(trials: tuple[Trial, ...]) -> Grid:
    """Return the table of all trials; its rows are linked to the marks of the Pareto views."""
    ordered = sorted(trials, key=lambda trial: (not trial.on_front, trial.number))
    rows = []
    for trial in ordered:
        status = "front" if trial.on_front else "feasible"
        if trial.feasible is False:
            status = "infeasible"
        if trial.state.upper() != "COMPLETE":
            status = trial.state.lower()
        rows.append(
            Row(
                (
                    Cell(str(trial.number), value=trial.number),
                    Cell(
                        "-".join(str(count) for count in trial.experts) or "–",
                        svg=expert_glyph(trial.experts) if trial.experts else None,
                    ),
                    Cell(status),
                    Cell(millions(trial.parameters), value=trial.parameters),
                    Cell(percent(trial.balanced_accuracy), value=trial.balanced_accuracy),
                    Cell(percent(trial.fairness), value=trial.fairness),
                    Cell(percent(trial.robustness), value=trial.robustness),
                    Cell(percent(trial.generalisation), value=trial.generalisation),
                    Cell(duration(trial.seconds), value=trial.seconds),
                ),
                trial=trial.number,
            )
        )
    headers = ["Trial", "Experts by layer", "Status", "Size, M", "Balanced accuracy, %"]
    headers += ["Fairness, %", "Robustness, %", "Generalisation, pts", "Time"]
    return Grid(tuple(headers), tuple(rows), csv_uri(tables.trials(trials)), "trials.csv")


def category_grid(
    frame: pd.DataFrame, styles: dict[str, Style], names: dict[str, str], file_name: str
) -> Grid:
    """Return a table of means with intervals, a row a model and a column a category.

    Args:
        frame: `tables.tones` or `tables.lights`; the download keeps its long form.
        styles: Style by model name.
        names: Heading by category, in order; categories that the frame lacks are left out.
        file_name: Name of the download.
    """
    present = set(frame["category"].astype(str))
    columns = [key for key in names if key in present]
    columns += sorted(present.difference(names), key=lambda key: (len(key), key))
    rows = []
    for model in dict.fromkeys(frame["model"]):
        part = frame[frame["model"] == model]
        by_category = {str(row.category): row for row in part.itertuples()}
        cells = [Cell(model)]
        for key in columns:
            row = by_category.get(key)
            if row is None or not known(row.mean):
                cells.append(Cell("–"))
                continue
            low, high = (v if known(v) else None for v in (row.low, row.high))
            estimate = Estimate(row.mean, low, high)
            cells.append(Cell(percent(row.mean), value=row.mean, sub=_range(estimate)))
        rows.append(Row(tuple(cells), slot=styles[model].slot))
    headers = []
    for key in columns:
        images = frame.loc[frame["category"].astype(str) == key, "n"].max()
        headers.append(f"{names.get(key, key)} (n\u00a0=\u00a0{images})")
    return Grid(("Model", *headers), tuple(rows), csv_uri(frame), file_name)


def counts_grid(frame: pd.DataFrame) -> Grid:
    """Return the table of images by split, tone and light."""
    names = {"split": "Split", "n": "Images", "positives": "With a person"}
    headers = tuple(
        names.get(str(name), str(name).replace("_", " ").capitalize()) for name in frame.columns
    )
    rows = tuple(
        Row(
            (
                Cell(str(record[0])),
                *(Cell(f"{int(v):,}".replace(",", "\u202f"), value=int(v)) for v in record[1:]),
            )
        )
        for record in frame.itertuples(index=False)
    )
    return Grid(headers, rows, csv_uri(frame), "data-counts.csv")


def _hundred(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _range(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def _seeds(count: int) -> str:
    if not count:
        return ""
    return "1 seed" if count == 1 else f"{count} seeds"
