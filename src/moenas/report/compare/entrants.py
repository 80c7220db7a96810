"""The models of a run that can be held against those of another, whatever kind of run it is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moenas.atomic import is_there
from moenas.errors import MoENASError, RunFolderError
from moenas.metrics.metric import METRICS
from moenas.models.architecture import Architecture
from moenas.predictions import Predictions
from moenas.report.data_facts import DataFacts, data_facts
from moenas.report.results import Comparison, Estimate, Pruning, Summary, read_part, report_scores
from moenas.runs import ModelFolder, RunFolder

ROLES = {
    "base": "base model",
    "wider": "wider dense model",
    "finalist": "finalist",
    "pruned": "pruned model",
    "audited": "audited model",
    "trained": "trained model",
}
"""What a model is in its run, as the page writes it."""


@dataclasses.dataclass(frozen=True)
class Entrant:
    """One model of a run.

    Attributes:
        run: Its run's label.
        name: Its name there.
        role: Key of `ROLES`.
        architecture: Id, or a device's name; equal ones are the same network.
        parameters: Size, None where nothing is known of it.
        seeds: Of its trainings.
        predictions: One table a seed; none where the run has lost them.
        stored: Its measures as the run wrote them down, of the run's own report half.
    """

    run: str
    name: str
    role: str
    architecture: str
    parameters: int | None
    seeds: tuple[int, ...]
    predictions: tuple[Predictions, ...]
    stored: Mapping[str, Estimate]

    @property
    def key(self) -> str:
        """A name that no other model of the compared runs has."""
        return f"{self.name} ({self.run})"

    def searched(self) -> float | None:
        """Balanced accuracy on the search half, mean over seeds; None where there is none."""
        halves = [table.split("search") for table in self.predictions]
        if not halves or any(set(half.frame["label"]) != {0, 1} for half in halves):
            return None
        accuracy = METRICS["balanced_accuracy"].function
        return sum(map(accuracy, halves)) / len(halves)


@dataclasses.dataclass(frozen=True)
class ReadRun:
    """What a run brings to a comparison; ``missing`` says what it lacks, in sentences."""

    label: str
    kind: str
    settings: Mapping[str, Any]
    summary: Summary | None
    data: DataFacts
    entrants: tuple[Entrant, ...]
    missing: tuple[str, ...]

    @functools.cached_property
    def best(self) -> Entrant | None:
        """The model that stands for the run, chosen without a look at the report half.

        Of what the run made (base models and pruned ones only where there is nothing else) it is
        the most accurate on the search half; where no image tells, the first.
        """
        able = [model for model in self.entrants if model.predictions]
        for roles in (("finalist", "audited", "trained"), ("pruned",), tuple(ROLES)):
            if chosen := [model for model in able if model.role in roles]:
                return max(chosen, key=lambda model: model.searched() or 0.0)
        return None


@dataclasses.dataclass(frozen=True)
class _Scheme:
    model: str
    scheme: str | None = None


@dataclasses.dataclass(frozen=True)
class _Schemes:
    """What an audit's ``summary.json`` says of how its models were trained."""

    models: tuple[_Scheme, ...] = ()


def read_run(run: RunFolder, label: str) -> ReadRun:
    """Read what a run folder holds; what it lacks is told, not raised.

    Args:
        run: Its folder.
        label: What it is called in the comparison.

    Raises:
        RunFolderError: It is of another format, or its settings are damaged.
    """
    config = RunFolder.open(run.path).read_config()
    kind, missing = str(config["kind"]), []

    def attempt(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except MoENASError as error:
            missing.append(f"{label}: {error}")
            return None

    summary = attempt(lambda: read_part(run.summary, Summary))
    readers = {"search": _searched, "audit": _audited, "train": _trained, "prune": _pruned}
    entrants: list[Entrant] = []
    if kind in readers:
        entrants = attempt(lambda: readers[kind](run, label, config["settings"], missing)) or []
    else:
        missing.append(f"{label}: a run of kind '{kind}' leaves no models that can be compared.")
    return ReadRun(
        label=label,
        kind=kind,
        settings=config["settings"],
        summary=summary,
        data=attempt(lambda: data_facts(run)) or DataFacts(),
        entrants=tuple(entrants),
        missing=tuple(missing),
    )


def _searched(
    run: RunFolder, label: str, settings: Mapping[str, Any], missing: list[str]
) -> list[Entrant]:
    return _recorded(
        run,
        label,
        missing,
        lambda model, seed: (
            run.pruned() if model.role == "pruned" else run.finalist(model.architecture, seed)
        ),
    )


def _audited(
    run: RunFolder, label: str, settings: Mapping[str, Any], missing: list[str]
) -> list[Entrant]:
    schemes: dict[str, str | None] = {}
    if is_there(run.summary):
        listed = read_part(run.summary, _Schemes).models
        schemes = {entry.model: entry.scheme for entry in listed}
    return _recorded(
        run,
        label,
        missing,
        lambda model, seed: (
            run.audited(model.name, scheme, seed)
            if (scheme := schemes.get(model.name))
            else run.judged(model.name)
        ),
    )


def _recorded(
    run: RunFolder,
    label: str,
    missing: list[str],
    place: Callable[[Any, int], ModelFolder],
) -> list[Entrant]:
    """The models of ``comparison.json``."""
    record = read_part(run.comparison, Comparison)
    if record is None:
        missing.append(
            f"{label}: there is no {run.comparison.name}: it has not ended, or an older version "
            "made it. Run its command again; it continues where it stopped."
        )
        return []
    result = []
    for model in record.models:
        folders = {seed: place(model, seed) for seed in model.seeds or (0,)}
        tables = {seed: _load(folder, missing, label) for seed, folder in folders.items()}
        known = {seed: table for seed, table in tables.items() if table is not None}
        result.append(
            Entrant(
                run=label,
                name=model.name,
                role=model.role,
                architecture=_identity(model.architecture),
                parameters=model.parameters,
                seeds=tuple(known) or model.seeds,
                predictions=tuple(known.values()),
                stored=model.report,
            )
        )
    return result


def _trained(
    run: RunFolder, label: str, settings: Mapping[str, Any], missing: list[str]
) -> list[Entrant]:
    name = str(settings.get("architecture", "model"))
    return _single(run.model(), label, name, "trained", name, settings.get("seed"), missing)


def _pruned(
    run: RunFolder, label: str, settings: Mapping[str, Any], missing: list[str]
) -> list[Entrant]:
    curve = read_part(run.pruning, Pruning)
    name = architecture = "pruned model"
    if curve is not None:
        left = (curve.start, *curve.steps)[curve.kept]
        name, architecture = f"{curve.model} pruned", left.architecture or name
    return _single(run.pruned(), label, name, "pruned", architecture, None, missing)


def _single(
    folder: ModelFolder,
    label: str,
    name: str,
    role: str,
    architecture: str,
    seed: int | None,
    missing: list[str],
) -> list[Entrant]:
    """The one model of a run, from its own scores."""
    if not folder.finished:
        missing.append(f"{label}: its model is not finished. Run its command again.")
        return []
    scores = report_scores(folder.scores)
    table = _load(folder, missing, label)
    return [
        Entrant(
            run=label,
            name=name,
            role=role,
            architecture=_identity(architecture),
            parameters=scores.get("parameters"),
            seeds=() if seed is None else (seed,),
            predictions=() if table is None else (table,),
            stored=stored_estimates(scores),
        )
    ]


def stored_estimates(scores: Mapping[str, Any]) -> dict[str, Estimate]:
    """Return the numbers of ``scores.json``; the interval of fairness is of the debiased one."""
    intervals = scores.get("intervals", {})
    bounds = {**intervals, "fairness_debiased": intervals.get("fairness")}
    bounds.pop("fairness", None)
    return {
        name: Estimate(value, *(bounds.get(name) or ()))
        for name, value in scores.items()
        if isinstance(value, float)
    }


def _identity(name: str) -> str:
    """The id of an architecture; of a name that is none, the name."""
    for read in (Architecture.parse, Architecture.dense_base):
        try:
            return read(name).id
        except MoENASError:
            continue
    return name


def _load(folder: ModelFolder, missing: list[str], label: str) -> Predictions | None:
    try:
        table = Predictions.load(folder.predictions)
    except MoENASError as error:
        missing.append(f"{label}: {error}")
        return None
    if not (table.frame["split"] == "report").any():
        missing.append(f"{label}: '{folder.predictions}' has no image of the report half.")
        return None
    return table


def labels(paths: list[Path]) -> list[str]:
    """Name runs by their folders, by as much of the path as tells them apart.

    Raises:
        RunFolderError: A run is named twice.
    """
    full = [path.resolve() for path in paths]
    for path in full:
        if full.count(path) > 1:
            raise RunFolderError(f"The run '{path}' is named twice.")
    for parts in range(1, max(len(path.parts) for path in full) + 1):
        short = ["/".join(path.parts[-parts:]) for path in full]
        if len(set(short)) == len(short):
            return short
    raise AssertionError("unreachable")
