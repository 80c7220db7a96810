"""The first sentences of a comparison: is one run's best model better, and how sure is that?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from moenas.evaluation.comparison import TESTED
from moenas.evaluation.statistics.answers import EVERYONE
from moenas.evaluation.words import listed
from moenas.report.measures import MEASURES, percent, span

if TYPE_CHECKING:
    from moenas.report.compare.comparing import ComparedRuns
    from moenas.report.compare.entrants import Entrant


def verdict(compared: ComparedRuns) -> tuple[str, ...]:
    """Say which run's best model is better, in one sentence a run, and what that rests on.

    Args:
        compared: All but its verdict.
    """
    if compared.common is None:
        if len(compared.runs) == 1:
            return (f"Only {compared.runs[0].label} could be read: there is nothing to compare.",)
        return (
            "Nothing is compared: these runs have no images of the report half in common, or no "
            "predictions of them. The numbers below are each of a run's own images.",
        )
    first, *others = compared.best.values()
    sentences = [_against(compared, other.key, first.key) for other in others]
    if len(others) > 1:
        sentences.insert(0, _all_runs(compared, first, others))
    images = compared.common.report
    n, clusters = len(images), images["cluster"].nunique()
    of = f" of {clusters} independent subjects" if clusters < n else ""
    sentences.append(
        f"Measured on the {n} images{of} of the report half that "
        f"{'both' if len(compared.best) == 2 else 'all'} runs share. Each run's best model is the "
        "most accurate one on its own search half, so the report half had no say in the choice."
    )
    if not (compared.differences["outcome"].isin(["better", "worse"])).any():
        sentences.append(
            "To decide more, train with more seeds (--seeds) and test on more subjects: both make "
            "the intervals narrower. Until then, take the smaller or the cheaper model."
        )
    guessing = [
        model.name
        for model in compared.models
        if model.name in {entrant.key for entrant in compared.best.values()} and not model.able
    ]
    sentences += [
        f"{name} is not shown to be better than guessing: its fairness and robustness mean nothing."
        for name in guessing
    ]
    return tuple(sentences)


def _all_runs(compared: ComparedRuns, first: Entrant, others: list[Entrant]) -> str:
    """One sentence for all of several runs."""
    frame = compared.differences[compared.differences["against"] == first.key]
    groups: dict[str, list[str]] = {"better": [], "worse": [], "mixed": [], "": []}
    for other in others:
        found = set(frame.loc[frame["model"] == other.key, "outcome"]) & {"better", "worse"}
        groups["mixed" if len(found) == 2 else min(found, default="")].append(other.run)
    if len(groups[""]) == len(others):
        return f"No other run's best model certainly differs from {first.key}."
    words = {
        "better": "better in something, and worse in nothing",
        "worse": "worse in something, and better in nothing",
        "mixed": "better in some respects and worse in others",
        "": "not certainly different",
    }
    parts = [f"{listed(runs)}: {words[kind]}" for kind, runs in groups.items() if runs]
    return f"Each run's best model against {first.key}. {'; '.join(parts)}."


def _against(compared: ComparedRuns, one: str, two: str) -> str:
    frame = compared.differences
    rows = frame[(frame["model"] == one) & (frame["against"] == two)]
    rows = rows[rows["measure"].isin(TESTED)]
    if (rows["outcome"] == "same answers").all():
        return f"{one} gives the same answer as {two} to every image."
    if rows["p"].isna().all():
        return _one_training(compared, one, two)
    sure = {
        outcome: [_telling(row) for row in rows[rows["outcome"] == outcome].to_dict("records")]
        for outcome in ("better", "worse")
    }
    if sure["better"] and sure["worse"]:
        return (
            f"{one} is better than {two} in {listed(sure['better'])}, but worse in "
            f"{listed(sure['worse'])}."
        )
    for outcome, told in sure.items():
        if told:
            rest = " Nothing else is certain." if len(told) < len(rows) else ""
            return f"{one} is {outcome} than {two} in {listed(told)}.{rest}"
    most = rows.loc[rows["difference"].abs().idxmax()].to_dict()
    return (
        f"{one} cannot be told from {two}: after correction for all comparisons no difference is "
        f"certain. The largest is {_telling(most)}."
    )


def _one_training(compared: ComparedRuns, one: str, two: str) -> str:
    """What the answers of two trained models say; of other trainings they say nothing."""
    answers = compared.answers
    row = answers[(answers["model"] == one) & (answers["group"] == EVERYONE)].iloc[0]
    told = f"{percent(abs(row['difference']))} points of balanced accuracy ({_span(row)})"
    lead = {
        True: f"{one} is more accurate than {two} by {told}",
        False: f"{one} is less accurate than {two} by {told}",
        None: f"{one} cannot be told from {two} in accuracy ({_signed(row)} points, {_span(row)})",
    }[row["better"]]
    return (
        f"{lead}. Each was trained once, so this holds for these trained models alone: another "
        "training may turn it round."
    )


def _telling(row: dict[Any, Any]) -> str:
    label = MEASURES[row["measure"]].label.lower()
    return f"{label} ({_signed(row)} points, {_span(row)})"


def _signed(row: Any) -> str:
    return percent(row["difference"], signed=True)


def _span(row: Any) -> str:
    low, high = (percent(row[end], signed=True) for end in ("low", "high"))
    return f"95 % interval {low} to {high}" if pd.notna(row["low"]) else span(None, None)
