"""``moenas audit``: how fair and robust are the models that one could just take?

Every model is trained under every scheme. The best scheme of each is chosen on the search half, and
only then is that one model looked at on the report half.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd

from moenas.config import to_dict
from moenas.console import logger
from moenas.data.manifest import Manifest
from moenas.data.sources.opening import names_of
from moenas.errors import ConfigError, MoENASError
from moenas.evaluation.judgement import judgement
from moenas.evaluation.scores import Scores
from moenas.evaluation.statistics import compare_answers
from moenas.models.architecture import Architecture
from moenas.models.zoo import PAPER_MODELS, get_model, is_model, models_for
from moenas.nas.stages import attempt_jobs
from moenas.predictions import Predictions
from moenas.report.paper_table import paper_table
from moenas.report.tables import csv_text
from moenas.runs import ModelFolder, RunFolder, write_json, write_text
from moenas.runtime import keep_freed_memory
from moenas.training.job import DataReference, TrainingJob
from moenas.training.outcome import JobResult
from moenas.training.schemes import SCHEMES
from moenas.training.scoring import ScoringJob, run_scoring_job
from moenas.workflows.data import data_record, prepare
from moenas.workflows.settings import Resources


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """What is audited.

    Attributes:
        data: What is trained and tested on: ``emoji``, a manifest, a CSV, a folder, a published
            data set, or FACET's folder and another. One name may stand without a tuple.
        models: Names of timm's, or of the paper's fourteen, which are the default.
        schemes: Training schemes; the best of each model is reported.
        epochs: Passes over the training images; fractions are allowed.
        image_size: Side of the images, pixels.
        batch_size: Images per step; learning rates follow it.
        seed: Of everything.
    """

    data: tuple[str, ...] = ("emoji",)
    models: tuple[str, ...] = tuple(PAPER_MODELS)
    schemes: tuple[str, ...] = tuple(SCHEMES)
    epochs: float = 100
    image_size: int = 128
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", names_of(self.data))
        for kind in ("models", "schemes"):
            names = getattr(self, kind)
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"Give one or more {kind}, each once.")
        if not self.epochs > 0 or self.batch_size < 1 or self.image_size < 1:
            raise ConfigError("epochs must be above 0, batch_size and image_size at least 1.")
        for name in self.models:
            if not is_model(name):
                get_model(name)  # says what there is
        for name in self.schemes:
            SCHEMES[name]


@dataclasses.dataclass(frozen=True)
class Audited:
    """One model's result.

    Attributes:
        model: Its name.
        paper: Its name in the paper's Table I, None for others.
        scheme: The best one, None where all failed, like the next two.
        scores: Of the report half.
        judgement: What they mean.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
    """

    model: str
    paper: str | None
    scheme: str | None
    scores: Scores | None
    judgement: tuple[str, ...]
    tried: dict[str, float | None]


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """A finished audit: its folder, and the models in the order in which they were named."""

    run: Path
    models: tuple[Audited, ...]


def audit(config: AuditConfig, run: Path | str, resources: Resources | None = None) -> AuditResult:
    """Train models under several schemes and tell how accurate, fair and robust they are.

    Args:
        config: What to audit.
        run: The run folder; one of an unfinished audit with equal settings goes on.
        resources: Where and how long to compute.

    Raises:
        OutOfTime: The time limit came; the same call goes on.
        MoENASError: Bad data or settings, or every training failed.
    """
    resources = resources or Resources()
    deadline = resources.deadline()
    models_for(config.models, config.image_size)  # refuses what cannot take the images
    folder = RunFolder.create(run, "audit", to_dict(config))
    keep_freed_memory()
    with folder.locked(), resources.executor() as executor:
        data = prepare(config.data, config.image_size, folder)
        jobs = _jobs(config, folder, data, resources, deadline)
        outcomes = attempt_jobs(executor, list(jobs.values()), "Trainings")
        found = dict(zip(jobs, outcomes, strict=True))
        for (model, scheme), outcome in found.items():
            if not isinstance(outcome, JobResult):
                logger.warning("%s could not be trained with %s: %s", model, scheme, outcome)
        tried = {m: {s: _accuracy(found[m, s]) for s in config.schemes} for m in config.models}
        best = {m: _best(own) for m, own in tried.items()}
        chosen = {m: s for m, s in best.items() if s is not None}
        if not chosen:
            raise MoENASError(f"Every training failed; the last one: {outcomes[-1]}")
        looks = {
            model: executor.submit(
                run_scoring_job,
                ScoringJob(jobs[model, s].folder, data, ("search", "report"), resources.device),
            )
            for model, s in chosen.items()
        }
        scores = {model: look.result().scores["report"] for model, look in looks.items()}
    models = tuple(
        Audited(
            model=model,
            paper=PAPER_MODELS.get(model),
            scheme=best[model],
            scores=scores.get(model),
            judgement=judgement(scores[model]) if model in scores else ("No training succeeded.",),
            tried=tried[model],
        )
        for model in config.models
    )
    write_text(folder.audit, csv_text(table_of(models)))
    if len(scores) > 1:
        tables = {
            model: Predictions.load(ModelFolder(Path(jobs[model, s].folder)).predictions)
            for model, s in chosen.items()
        }
        leader = max(chosen, key=lambda model: tried[model][chosen[model]] or 0.0)
        answers = compare_answers({m: t.split("report") for m, t in tables.items()}, leader)
        write_text(folder.answers, csv_text(answers))
    write_json(
        folder.summary,
        {
            "run": folder.name,
            "data": data_record(data),
            "models": [{**to_dict(m), "folder": _relative(folder, jobs, m)} for m in models],
        },
    )
    return AuditResult(folder.path, models)


def table_of(models: tuple[Audited, ...]) -> pd.DataFrame:
    """One row a model: what was measured, and the paper's own numbers where it has some."""
    paper = paper_table().set_index("model")
    rows = []
    for each in models:
        row: dict[str, Any] = {"model": each.model, "scheme": each.scheme}
        if each.scores is not None:
            numbers = each.scores.to_frame().set_index("score")
            for name in TOLD:
                if name in numbers.index:
                    row[name] = numbers.loc[name, "value"]
                    row[f"{name}_low"] = numbers.loc[name, "low"]
                    row[f"{name}_high"] = numbers.loc[name, "high"]
        if each.paper is not None:
            row |= {f"paper_{name}": paper.loc[each.paper, name] for name in PAPERS}
        rows.append(row)
    return pd.DataFrame(rows)


TOLD = (
    "parameters", "macs", "n", "balanced_accuracy", "fairness", "fairness_p_value",
    "fairness_debiased", "noise_floor_mean", "worst_group_accuracy", "gap_lightest_darkest",
    "robustness", "overfitting",
)  # fmt: skip
"""Scores in the table, in its order."""

PAPERS = ("accuracy", "fairness", "robustness", "overfitting", "parameters_millions")


def _jobs(
    config: AuditConfig,
    folder: RunFolder,
    data: DataReference,
    resources: Resources,
    deadline: float | None,
) -> dict[tuple[str, str], TrainingJob]:
    split = Manifest.load(data.manifest).frame["split"]
    images = int((split == "train").sum())
    names = models_for(config.models, config.image_size)
    return {
        (model, scheme): TrainingJob(
            architecture=Architecture.dense_base(names[model]).id,
            folder=str(folder.audited(model, scheme).path),
            data=data,
            scheme=SCHEMES[scheme].fitted(images, config.epochs, config.batch_size),
            seed=config.seed,
            device=resources.device,
            precision=resources.precision(),
            deadline=deadline,
        )
        for model in config.models
        for scheme in config.schemes
    }


def _accuracy(outcome: JobResult | MoENASError) -> float | None:
    if isinstance(outcome, JobResult):
        return outcome.scores["search"].balanced_accuracy
    return None


def _best(tried: dict[str, float | None]) -> str | None:
    done = {scheme: value for scheme, value in tried.items() if value is not None}
    return max(done, key=lambda scheme: done[scheme], default=None)


def _relative(
    folder: RunFolder, jobs: dict[tuple[str, str], TrainingJob], model: Audited
) -> str | None:
    if model.scheme is None:
        return None
    return Path(jobs[model.model, model.scheme].folder).relative_to(folder.path).as_posix()
