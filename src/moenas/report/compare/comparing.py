"""Hold the models of several runs against each other, on the images that the runs share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from moenas.evaluation.comparison import Comparison
from moenas.evaluation.records import pairs as compared_pairs
from moenas.evaluation.records import records
from moenas.evaluation.statistics import compare_answers
from moenas.report.compare.entrants import Entrant, ReadRun
from moenas.report.compare.images import Common, common_images, same_answers
from moenas.report.compare.settings import differing_settings
from moenas.report.compare.verdict import verdict
from moenas.report.measures import MEASURES
from moenas.report.results import ComparedModel
from moenas.report.tables import OUTCOME

UNTESTED = "one training each"
"""The outcome where nothing is known of what another training would do."""

BEST, SAME = "best of the run", "same network"
"""Why two models are held against each other."""

NAMED = 4
"""So many models are named; of more, the number is told."""

DIFFERENCES = (
    "model", "against", "why", "measure", "difference", "low", "high", "p", "p_holm", "outcome",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ComparedRuns:
    """All that the page of a comparison shows.

    Attributes:
        runs: As they were named.
        common: Their common images; None where nothing is compared.
        models: Models with predictions of the common images, measured on these.
        differences: One row a pair of models and measure, see `DIFFERENCES`; over seeds.
        answers: `compare_answers` of all models with the first run's best.
        settings: `differing_settings`.
        verdict: The first sentences.
        missing: What runs lack, in sentences.
    """

    runs: tuple[ReadRun, ...]
    common: Common | None
    models: tuple[ComparedModel, ...]
    differences: pd.DataFrame
    answers: pd.DataFrame
    settings: pd.DataFrame
    verdict: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def best(self) -> dict[str, Entrant]:
        """The model that stands for each compared run, by the run's label."""
        labels = self.common.runs if self.common else ()
        return {run.label: run.best for run in self.runs if run.label in labels and run.best}

    def record(self) -> dict[str, Any]:
        """Return the comparison as plain values, for machines."""
        return {
            "runs": [
                {"run": run.label, "kind": run.kind, "fingerprint": run.data.fingerprint,
                 "best": run.best.name if run.best else None}
                for run in self.runs
            ],
            "common_images": len(self.common.report) if self.common else 0,
            "verdict": list(self.verdict),
            "models": [
                {"model": model.name, "parameters": model.parameters, "seeds": len(model.seeds)}
                | {name: dataclasses.asdict(value) for name, value in model.report.items()}
                for model in self.models
            ],
            "differences": self.differences.to_dict("records"),
            "answers": self.answers.to_dict("records"),
            "settings": self.settings.to_dict("records"),
            "missing": list(self.missing),
        }  # fmt: skip


def compare_runs(runs: Sequence[ReadRun], missing: Sequence[str] = ()) -> ComparedRuns:
    """Compare runs.

    Each run's best model (see `ReadRun.best`) is held against the first run's, and each network
    that several runs trained against the first of its kind. These pairs are chosen without a look
    at the report half; Holm's correction is over all of them.

    Args:
        runs: At least one.
        missing: What is known to be missing already.
    """
    common, aside = common_images(runs)
    lacking = (*missing, *(line for run in runs for line in run.missing), *aside)
    settings = differing_settings(runs)
    empty = ComparedRuns(
        runs=tuple(runs),
        common=common,
        models=(),
        differences=pd.DataFrame(columns=list(DIFFERENCES)),
        answers=pd.DataFrame(),
        settings=settings,
        verdict=(),
        missing=lacking,
    )
    if common is None:
        return dataclasses.replace(empty, verdict=verdict(empty))
    entrants = [
        model for run in runs if run.label in common.runs for model in run.entrants
        if model.predictions
    ]  # fmt: skip
    best = empty.best
    first = best[common.runs[0]]
    paired = Comparison(common.tables)
    measured = records(paired, references=())
    halves = {key: tables[0].split("report") for key, tables in common.tables.items()}
    models = tuple(_model(model, measured[model.key]) for model in entrants)
    found = dataclasses.replace(
        empty,
        models=models,
        missing=(*lacking, *_unknown(common, models)),
        differences=_differences(paired, _pairs(entrants, best), common),
        answers=compare_answers(halves, first.key),
    )
    return dataclasses.replace(found, verdict=verdict(found))


def _pairs(entrants: Sequence[Entrant], best: dict[str, Entrant]) -> dict[tuple[str, str], str]:
    """Which models are held against each other, and why."""
    first, *others = best.values()
    pairs = {(other.key, first.key): BEST for other in others}
    known: dict[tuple[str, bool], Entrant] = {}
    for model in entrants:
        network = model.architecture, model.role == "pruned"
        other = known.setdefault(network, model)
        if other.run != model.run and (model.key, other.key) not in pairs:
            pairs[model.key, other.key] = SAME
    return pairs


def _model(entrant: Entrant, measured: dict[str, Any]) -> ComparedModel:
    record = {
        "name": entrant.key,
        "role": "audited",
        "architecture": entrant.architecture,
        "parameters": entrant.parameters,
        "seeds": entrant.seeds,
        **measured,
    }
    result: ComparedModel = TypeAdapter(ComparedModel).validate_python(record)
    return result


def _differences(
    paired: Comparison, pairs: dict[tuple[str, str], str], common: Common
) -> pd.DataFrame:
    rows = []
    for (one, two), measures in compared_pairs(paired, list(pairs)).items():
        same = same_answers(common, one, two)
        for measure in MEASURES:
            if (entry := measures.get(measure)) is None:
                continue
            outcome = OUTCOME[entry["better"]] if entry["p"] is not None else UNTESTED
            told = {"outcome": "same answers"} if same else {"outcome": outcome}
            rows.append(
                {"model": one, "against": two, "why": pairs[one, two], "measure": measure}
                | {name: entry[name] for name in ("difference", "low", "high", "p", "p_holm")}
                | told
            )
    frame = pd.DataFrame(rows, columns=list(DIFFERENCES))
    numbers = ["difference", "low", "high", "p", "p_holm"]
    return frame.astype(dict.fromkeys(numbers, "float64"))


def _unknown(common: Common, models: Sequence[ComparedModel]) -> tuple[str, ...]:
    """What the common images and the trainings cannot tell, in sentences."""
    gone = list(common.notes)
    if common.report["group"].nunique() < 2:
        gone.append("The common images have fewer than two skin tones: fairness is not compared.")
    if common.report["lighting"].isna().all():
        gone.append("The light of the common images is not known: robustness is not compared.")
    once = [model.name for model in models if len(model.seeds) < 2]
    if once:
        names = ", ".join(once[:NAMED])
        names += f" and {len(once) - NAMED} more" if len(once) > NAMED else ""
        gone.append(f"Trained once, so that no interval covers other trainings: {names}.")
    return tuple(gone)
