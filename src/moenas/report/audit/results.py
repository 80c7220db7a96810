"""What an audit's run folder holds, read once and checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from moenas.errors import RunFolderError
from moenas.report.audit.listed import lost_tables
from moenas.report.results import ComparedModel, Number, Results, read_part, read_results
from moenas.report.tables import read_csv
from moenas.runs import RunFolder


@dataclasses.dataclass(frozen=True)
class AuditedModel:
    """One model's entry in ``summary.json``.

    ``tried``: balanced accuracy on the search half by scheme, None where the training failed.
    """

    model: str
    paper: str | None
    scheme: str | None
    judgement: tuple[str, ...]
    tried: dict[str, Number]
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _AuditSummary:
    leader: str
    searched: bool
    models: tuple[AuditedModel, ...]


@dataclasses.dataclass(frozen=True)
class AuditResults:
    """Everything the report of an audit reads; a table that the run does not have is empty.

    Attributes:
        results: What every run has.
        leader: The model that the others are compared with.
        searched: Whether that was the best on the search half; else it was named first.
        models: In the order of the run; with those whose trainings all failed.
        lost: A sentence for each table that the audit wrote and that is not there any more.
        answers: `compare_answers`.
        degradation: `degradation` with ``model`` and ``corruption``.
        intersections: `intersections` with ``model``.
        sensitivity: `sensitivity_table` with ``model``.
    """

    results: Results
    leader: str
    searched: bool
    models: tuple[AuditedModel, ...]
    lost: tuple[str, ...]
    answers: pd.DataFrame
    degradation: pd.DataFrame
    intersections: pd.DataFrame
    sensitivity: pd.DataFrame

    @property
    def compared(self) -> tuple[ComparedModel, ...]:
        """The models that have numbers, the most accurate first."""
        comparison = self.results.comparison
        models = comparison.models if comparison else ()
        return tuple(sorted(models, key=lambda m: -(m.report["balanced_accuracy"].mean or 0.0)))


def read_audit(run: RunFolder) -> AuditResults:
    """Read what an audit left.

    Raises:
        RunFolderError: A file is damaged, or there is nothing to report yet.
    """
    results = read_results(run)
    summary = read_part(run.summary, _AuditSummary)
    if summary is None or results.comparison is None:
        missing = run.summary if summary is None else run.comparison
        raise RunFolderError(
            f"'{run.path}' has nothing to report yet: there is no {missing.name}. Run the command "
            "that made it again; it continues where it stopped."
        )
    for model in results.comparison.models:
        accuracy = model.report.get("balanced_accuracy")
        if accuracy is None or accuracy.mean is None:
            raise RunFolderError(
                f"'{run.comparison}' is damaged or of another version: it has no balanced accuracy "
                f"of '{model.name}'. Run the command that made it again."
            )
    return AuditResults(
        results=results,
        leader=summary.leader,
        searched=summary.searched,
        models=summary.models,
        lost=tuple(lost_tables(run)),
        answers=_table(run.answers, {"model", "reference", "group", "difference", "low", "high"}),
        degradation=_table(run.degradation, {"model", "corruption", "severity", "score", "drop"}),
        intersections=_table(run.intersections, {"model", "n", "accuracy", "gap", "p_holm"}),
        sensitivity=_table(run.sensitivity, {"model", "rule", "group", "n", "accuracy"}),
    )


def _table(path: Path, needed: set[str]) -> pd.DataFrame:
    """One optional table; an empty one with its columns where there is none."""
    if not path.exists():
        return pd.DataFrame(columns=sorted(needed))
    try:
        frame = read_csv(path, ("model", "reference"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"'{path}' cannot be read: {error}.") from error
    if lost := sorted(needed - set(frame.columns)):
        raise RunFolderError(
            f"'{path}' is damaged or of another version: it has no column '{lost[0]}'. Run the "
            "command that made it again."
        )
    return frame
