"""What a run folder holds, read once and checked, so that the rest of the report can rely on it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from moenas.errors import RunFolderError
from moenas.evaluation.judgement import GUESSING
from moenas.runs import RunFolder
from moenas.serialisation import read_json


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite)]
"""A number, or None where it could not be computed (NaN and infinity count as that)."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval, fractions 0-1."""

    mean: Number
    low: Number = None
    high: Number = None
    values: tuple[Number, ...] = ()


@dataclasses.dataclass(frozen=True)
class GroupEstimate:
    """Accuracy on one group (skin tone)."""

    group: int
    n: int
    mean: Number
    low: Number = None
    high: Number = None


@dataclasses.dataclass(frozen=True)
class LightEstimate:
    """Balanced accuracy in one light."""

    lighting: str
    n: int
    mean: Number
    low: Number = None
    high: Number = None


@dataclasses.dataclass(frozen=True)
class NoiseFloor:
    """Fairness that a perfectly fair model would have by chance: mean, sd, 5 % quantile.

    ``p_value``: how often it is as unfair as the model; ``p_holm``: for all models together.
    """

    mean: Number
    sd: Number = None
    low: Number = None
    p_value: Number = None
    p_holm: Number = None


@dataclasses.dataclass(frozen=True)
class Difference:
    """A model minus a reference in one measure; ``better`` is None when it is undecided."""

    difference: Number
    low: Number = None
    high: Number = None
    p: Number = None
    p_holm: Number = None
    better: bool | None = None


@dataclasses.dataclass(frozen=True)
class ComparedModel:
    """One model of the comparison."""

    name: str
    role: Literal["base", "wider", "finalist", "pruned", "audited"]
    architecture: str
    parameters: int | None
    report: dict[str, Estimate]
    macs: int | None = None
    size_class: str | None = None
    seeds: tuple[int, ...] = ()
    groups: tuple[GroupEstimate, ...] = ()
    lights: tuple[LightEstimate, ...] = ()
    noise_floor: NoiseFloor | None = None
    versus: dict[str, dict[str, Difference]] = dataclasses.field(default_factory=dict)

    @property
    def able(self) -> bool:
        """Whether it is shown to be better than guessing."""
        return (self.report["balanced_accuracy"].low or 0.0) > GUESSING


@dataclasses.dataclass(frozen=True)
class Comparison:
    """``comparison.json``: finalists beside the base and the wider dense model, or audited models.

    All numbers are of the report half.
    """

    models: Annotated[tuple[ComparedModel, ...], Field(min_length=1)]
    verdict: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Trial:
    """One trial of the search; its numbers are of the search half and of one seed.

    One that was stopped after a short training has its ``rung`` and no values.
    """

    number: int
    state: str
    architecture: str | None = None
    experts: tuple[int, ...] = ()
    parameters: int | None = None
    macs: int | None = None
    latency_ms: Number = None
    balanced_accuracy: Number = None
    fairness: Number = None
    robustness: Number = None
    generalisation: Number = None
    feasible: bool | None = None
    seconds: Number = None
    on_front: bool | None = False
    rung: int | None = None


@dataclasses.dataclass(frozen=True)
class SearchSummary:
    """How the search was run and how it went."""

    sampler: str | None = None
    preset: str | None = None
    strategy: str | None = None
    router: str | None = None
    bases: tuple[str, ...] = ()
    trials: int | None = None
    completed: int | None = None
    failed: int | None = None
    infeasible: int | None = None
    short: int | None = None
    seconds_a_trial: Number = None
    max_parameters: int | None = None
    max_latency_ms: Number = None
    accuracy_floor: Number = None
    hypervolume: tuple[Number, ...] = ()


@dataclasses.dataclass(frozen=True)
class SplitCounts:
    """How many images a split has: all, with a person, of each tone and of each light."""

    n: int
    positives: int
    groups: dict[str, int] = dataclasses.field(default_factory=dict)
    lights: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class DataSummary:
    """Where the images come from."""

    source: str
    counts: dict[str, SplitCounts] = dataclasses.field(default_factory=dict)
    note: str | None = None
    fingerprint: str | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """``summary.json``."""

    created: str | None = None
    machine: dict[str, Any] = dataclasses.field(default_factory=dict)
    versions: dict[str, Any] = dataclasses.field(default_factory=dict)
    base: str | None = None
    wider: str | None = None
    image_size: int | None = None
    seconds: dict[str, Number] = dataclasses.field(default_factory=dict)
    data: DataSummary | None = None
    search: SearchSummary | None = None
    verdict: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class RemovedExpert:
    """The expert that a pruning step removed; ``usage`` is its share of its layer's tokens."""

    layer: int | str
    expert: int
    usage: Number = None


@dataclasses.dataclass(frozen=True)
class PruningPoint:
    """A model on the way of pruning; the qualities are of the search half.

    ``low`` and ``high``: ends of the intervals of those that have one, by name.
    """

    parameters: int | None = None
    file_bytes: int | None = None
    balanced_accuracy: Number = None
    fairness: Number = None
    robustness: Number = None
    overfitting: Number = None
    worst_group_accuracy: Number = None
    architecture: str | None = None
    step: int = 0
    removed: RemovedExpert | None = None
    low: dict[str, Number] = dataclasses.field(default_factory=dict)
    high: dict[str, Number] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pruning:
    """``pruned/curve.json``.

    ``thresholds``: for each quality the share of its starting value that had to remain.
    ``accepted``: how many of the steps were kept; those from the one that broke a threshold on were
    not. ``fine_tuned``: the accepted model after a training at the end.
    """

    model: str
    start: PruningPoint
    steps: tuple[PruningPoint, ...] = ()
    thresholds: dict[str, Number] = dataclasses.field(default_factory=dict)
    stopped_because: str | None = None
    accepted: int | None = None
    importance: str = "usage"
    fine_tuned: PruningPoint | None = None
    fine_tuned_kept: bool = False

    @property
    def kept(self) -> int:
        """Number of experts that stayed removed."""
        return len(self.steps) if self.accepted is None else min(self.accepted, len(self.steps))

    def least(self) -> dict[str, float]:
        """Return the least allowed value of each quality, 0-1."""
        result = {}
        for name, share in self.thresholds.items():
            start = getattr(self.start, name, None)
            if share is not None and isinstance(start, float):
                result[name] = start - (1 - share) * abs(start)  # a fairness may be negative
        return result


@dataclasses.dataclass(frozen=True)
class Results:
    """Everything the report reads; a part that the run does not have is None."""

    name: str
    kind: str
    settings: dict[str, Any]
    summary: Summary | None
    trials: tuple[Trial, ...] | None
    comparison: Comparison | None
    pruning: Pruning | None


def read_part(path: Path, kind: Any) -> Any:
    """Read and check one optional file; None when it does not exist."""
    if not path.exists():
        return None
    try:
        return TypeAdapter(kind).validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise RunFolderError(
            f"'{path}' is damaged or of another version, at {where}: {first['msg']}. Run the "
            "command that made the run folder again; it continues where it stopped."
        ) from error


@dataclasses.dataclass(frozen=True)
class _StoredScores:
    scores: dict[str, dict[str, Any] | None]


def report_scores(path: Path) -> dict[str, Any]:
    """Return a model's scores on the report half as its ``scores.json`` has them; none, if so.

    Raises:
        RunFolderError: The file is damaged.
    """
    stored: _StoredScores | None = read_part(path, _StoredScores)
    return (stored.scores.get("report") if stored else None) or {}


def read_results(run: RunFolder) -> Results:
    """Read what a run folder holds.

    Raises:
        RunFolderError: A file is damaged, or there is nothing to report yet.
    """
    config = run.read_config()
    results = Results(
        name=run.name,
        kind=str(config.get("kind", "run")),
        settings=dict(config.get("settings") or {}),
        summary=read_part(run.summary, Summary),
        trials=read_part(run.path / "trials.json", tuple[Trial, ...]),
        comparison=read_part(run.comparison, Comparison),
        pruning=read_part(run.pruning, Pruning),
    )
    parts = (results.summary, results.trials, results.comparison, results.pruning)
    if not any(parts):
        raise RunFolderError(
            f"'{run.path}' has nothing to report yet: no summary.json, trials.json, "
            "comparison.json or pruned/curve.json. Run the command that made it again; it "
            "continues where it stopped."
        )
    return results
