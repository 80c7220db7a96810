"""The tables of the page: each function turns results into the cells that one table shows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import pandas as pd

from moenas.evaluation.statistics.answers import EVERYONE
from moenas.report import tables
from moenas.report.charts_search import expert_glyph
from moenas.report.grid import Cell, Grid, Mark, Row, plain_grid
from moenas.report.measures import MEASURES, millions, number, percent, probability, span
from moenas.report.results import ComparedModel, Comparison, Difference, Estimate, Trial
from moenas.report.svg import known
from moenas.report.tables import OUTCOME, csv_uri
from moenas.report.theme import Style
from moenas.report.trial_data import Column

ROLE_NAMES = {
    "base": "base model",
    "wider": "wider dense model",
    "finalist": "finalist",
    "pruned": "pruned finalist",
}


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
                    sub=span(estimate.low, estimate.high),
                    marks=_marks(model, key),
                )
            )
        rows.append(Row(tuple(cells), slot=styles[name].slot, model=name))
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


def trials_grid(trials: Sequence[Trial], columns: Sequence[Column], most: int = 50) -> Grid:
    """Return the table of the first trials; the page's script shows the others page by page.

    Args:
        trials: All of them, in the order of the page; the download has them all.
        columns: `trial_data.columns` of them.
        most: How many are in the page itself.
    """
    rows = []
    for place, trial in enumerate(trials[:most]):
        cells = []
        for column in columns:
            value = column["values"][place]
            if "digits" in column:
                cells.append(Cell(number(value, column["digits"]), value=value))
            else:
                drawn = column["label"] == "Experts by layer" and trial.experts
                cells.append(Cell(value, svg=expert_glyph(trial.experts) if drawn else None))
        rows.append(Row(tuple(cells)))
    frame = tables.trials(tuple(trials))
    headers = tuple(column["label"] for column in columns)
    return Grid(headers, tuple(rows), csv_uri(frame), "trials.csv")


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
            cells.append(
                Cell(percent(row.mean), value=row.mean, sub=span(estimate.low, estimate.high))
            )
        rows.append(Row(tuple(cells), slot=styles[model].slot, model=model))
    headers = []
    for key in columns:
        images = frame.loc[frame["category"].astype(str) == key, "n"].max()
        headers.append(f"{names.get(key, key)} (n\u00a0=\u00a0{images})")
    return Grid(("Model", *headers), tuple(rows), csv_uri(frame), file_name)


def differences_grid(frame: pd.DataFrame, styles: Mapping[str, Style]) -> Grid:
    """Return one row a pair of models and measure.

    Args:
        frame: `tables.differences`; the download is all of it.
        styles: Style by model name.
    """
    names = {key: measure.label for key, measure in MEASURES.items()}
    return plain_grid(
        frame.replace({"measure": names}),
        "differences.csv",
        {
            "model": "Model",
            "against": "Against",
            "measure": "Measure",
            "difference": "Difference, pts",
            "low": "Low",
            "high": "High",
            "p": "p",
            "p_holm": "p, Holm",
            "outcome": "Outcome",
        },
        SIGNED | dict.fromkeys(("p", "p_holm"), probability),
        {name: style.slot for name, style in styles.items()},
    )


SIGNED = dict.fromkeys(("difference", "low", "high"), functools.partial(percent, signed=True))
"""How differences are written."""


def answer_outcomes(frame: pd.DataFrame) -> list[str]:
    """Say of each row of `compare_answers` whether the model is the more accurate one."""
    told = {True: "more accurate", False: "less accurate"}
    return [told.get(value, "undecided") for value in frame["better"]]


def answers_grid(
    frame: pd.DataFrame,
    other: str,
    styles: Mapping[str, Style] | None = None,
    skipped: tuple[str, ...] = (),
) -> Grid:
    """Return one row a model: its answers against a reference's, image by image, for everyone.

    Args:
        frame: `compare_answers`; the download has the rows of each skin tone, too.
        other: Heading of the images that only the reference gets right.
        styles: Style by model name; None: as the page has it for all.
        skipped: Columns that the table has no room for.
    """
    everyone = frame[frame["group"] == EVERYONE].sort_values("difference", ascending=False)
    headers = {
        "model": "Model",
        "difference": "Difference, pts",
        "low": "Low",
        "high": "High",
        "only_model": "Right alone",
        "only_reference": other,
        "detectable": "Detectable, pts",
        "p": "p",
        "p_holm": "p, Holm",
        "outcome": "Outcome",
    }
    return plain_grid(
        everyone.assign(outcome=answer_outcomes(everyone)),
        "answers.csv",
        {name: text for name, text in headers.items() if name not in skipped},
        SIGNED | {"detectable": percent} | dict.fromkeys(("p", "p_holm"), probability),
        {name: style.slot for name, style in (styles or {}).items()},
        download=frame,
    )


def counts_grid(frame: pd.DataFrame) -> Grid:
    """Return the table of images: a row a kind (all, persons, tones, lights), a column a split."""
    names = {"n": "Images", "positives": "With a person"}
    rows = []
    for column in frame.columns.drop("split"):
        label = names.get(str(column), str(column).replace("_", " ").capitalize())
        cells = [
            Cell(f"{count:,}".replace(",", "\u202f"), value=count)
            for count in map(int, frame[column])
        ]
        rows.append(Row((Cell(label), *cells)))
    return Grid(("", *frame["split"]), tuple(rows), csv_uri(frame), "data-counts.csv")


def _seeds(count: int) -> str:
    if not count:
        return ""
    return "1 seed" if count == 1 else f"{count} seeds"
