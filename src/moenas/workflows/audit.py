"""``moenas audit``: how fair and robust are the models that one could just take?

Every model is trained under every scheme. The best scheme of each is chosen on the search half, and
only then is that one model looked at on the report half.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from moenas.config import to_dict
from moenas.console import logger
from moenas.data.corruptions import CORRUPTIONS
from moenas.data.sources.opening import DRAWN, names_of
from moenas.errors import ConfigError, MoENASError
from moenas.execution.executor import Executor
from moenas.models.architecture import Architecture
from moenas.models.zoo import PAPER_MODELS, get_model, is_model, models_for
from moenas.nas.stages import attempt_jobs, check_time
from moenas.predictions import Predictions
from moenas.run_log import working
from moenas.runs import ModelFolder, RunFolder
from moenas.runtime import keep_freed_memory, pick_device
from moenas.tracking.recording import Recording, recording
from moenas.training.degrading import DegradationJob, run_degradation_job
from moenas.training.job import DataReference, TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult, read_result
from moenas.training.schemes import PAPER_SCHEMES, SCHEMES
from moenas.training.scoring import ScoringJob, run_scoring_job
from moenas.workflows.audit_findings import find
from moenas.workflows.audit_models import Candidate
from moenas.workflows.audit_writing import AuditResult, conclude
from moenas.workflows.data import data_record, prepare
from moenas.workflows.settings import Resources
from moenas.workflows.tracked import record_models, record_training


@dataclasses.dataclass(frozen=True)
class AuditConfig:
    """What is audited.

    Attributes:
        data: What is trained and tested on: ``emoji`` (the drawn scenes, if nothing is named), a
            manifest, a CSV, a folder, a published data set, or FACET's folder and another. One
            name may stand without a tuple.
        models: Names of timm's, or of the paper's fourteen, which are the default.
        schemes: Training schemes; the best of each model is reported.
        epochs: Passes over the training images; fractions are allowed.
        image_size: Side of the images, pixels.
        batch_size: Images per step; learning rates follow it.
        seeds: Trainings of each model with its best scheme; with one, nothing tells models from
            lucky trainings.
        corruptions: What the reported models' images are spoilt with, in five severities.
        seed: Of everything; further trainings count up from it.
    """

    data: tuple[str, ...] = (DRAWN,)
    models: tuple[str, ...] = tuple(PAPER_MODELS)
    schemes: tuple[str, ...] = PAPER_SCHEMES
    epochs: float = 100
    image_size: int = 128
    batch_size: int = 128
    seeds: int = 1
    corruptions: tuple[str, ...] = ("low_light",)
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", names_of(self.data))
        for kind in ("models", "schemes"):
            names = getattr(self, kind)
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"Give one or more {kind}, each once.")
        if not self.epochs > 0 or min(self.batch_size, self.image_size, self.seeds) < 1:
            raise ConfigError(
                "epochs must be above 0, batch_size, image_size and seeds at least 1."
            )
        for name in self.models:
            if not is_model(name):
                get_model(name)  # says what there is
        for name in self.schemes:
            SCHEMES[name]
        for name in self.corruptions:
            CORRUPTIONS[name]


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
    names = models_for(config.models, config.image_size)  # refuses what cannot take the images
    settings = to_dict(config)
    folder = RunFolder.create(run, "audit", settings)
    keep_freed_memory()
    with (
        working(folder, settings),
        recording(resources.track, folder, settings) as record,
        resources.start() as executor,
    ):
        data = prepare(config.data, config.image_size, folder)
        work = _Audit(config, names, folder, data, resources, executor, record)
        tried = work.try_schemes()
        chosen, failed = work.train_chosen(tried)
        start = time.monotonic()
        work.look_at_report_half(chosen)
        curves = work.degrade(chosen)
        candidates = [
            work.candidate(m, tried[m], chosen.get(m, {}), failed.get(m, {})) for m in config.models
        ]
        trained = [
            read_result(ModelFolder(Path(job.folder))).seconds
            for jobs in chosen.values()
            for job in jobs.values()
        ]
        result = conclude(
            folder,
            find(candidates),
            data=data_record(data),
            image_size=config.image_size,
            seconds={
                "trainings_of_all_workers": round(sum(trained), 1),
                "evaluation": round(time.monotonic() - start, 1),
            },
            device=pick_device(resources.device),
            curves=curves,
        )
        record_models(record, [each.record() for each in result.models])
        record.attach(result.report)
        return result


Tried = dict[str, JobResult | MoENASError]
"""Outcome by scheme."""

Chosen = dict[str, dict[int, TrainingJob]]
"""Finished jobs of the best scheme by model and seed."""


class _Audit:
    """The stages of one audit."""

    def __init__(
        self,
        config: AuditConfig,
        names: dict[str, str],
        folder: RunFolder,
        data: DataReference,
        resources: Resources,
        executor: Executor,
        record: Recording,
    ) -> None:
        self.config, self.names = config, names  # what models are called for images of this size
        self.folder, self.data = folder, data
        self.resources, self.executor = resources, executor
        self.keep = partial(record_training, record)
        self.deadline = resources.deadline()
        self.images = data.counts()["train"]

    def try_schemes(self) -> dict[str, Tried]:
        """Train every model under every scheme; a training that fails is one scheme less."""
        config = self.config
        pairs = [(model, scheme) for model in config.models for scheme in config.schemes]
        jobs = [self._job(*pair, config.seed) for pair in pairs]
        outcomes = attempt_jobs(self.executor, jobs, "Trainings", self.keep)
        tried: dict[str, Tried] = {model: {} for model in config.models}
        for (model, scheme), outcome in zip(pairs, outcomes, strict=True):
            tried[model][scheme] = outcome
            if not isinstance(outcome, JobResult):
                logger.warning("%s could not be trained with %s: %s", model, scheme, outcome)
        if not any(isinstance(outcome, JobResult) for outcome in outcomes):
            raise MoENASError(f"Every training failed; the last one: {outcomes[-1]}")
        return tried

    def train_chosen(self, tried: dict[str, Tried]) -> tuple[Chosen, dict[str, dict[int, str]]]:
        """Train each model's best scheme with the other seeds.

        Returns:
            The jobs that succeeded, the first seed's at least, and why others failed, by model and
            seed.
        """
        seeds = range(self.config.seed, self.config.seed + self.config.seeds)
        best = {model: scheme for model, own in tried.items() if (scheme := _best(own))}
        wanted = [(model, seed) for model in best for seed in seeds]
        jobs = [self._job(model, best[model], seed) for model, seed in wanted]
        chosen: Chosen = {model: {} for model in best}
        failed: dict[str, dict[int, str]] = {model: {} for model in best}
        outcomes = attempt_jobs(self.executor, jobs, "Seeds", self.keep)
        for (model, seed), job, outcome in zip(wanted, jobs, outcomes, strict=True):
            if isinstance(outcome, JobResult):
                chosen[model][seed] = job
                continue
            failed[model][seed] = str(outcome)
            logger.warning(
                "%s could not be trained with %s, seed %d: %s. Its other seeds count.",
                model, best[model], seed, str(outcome).rstrip("."),
            )  # fmt: skip
        return chosen, failed

    def look_at_report_half(self, chosen: Chosen) -> None:
        """Score the chosen models on it, each once."""
        looks = [
            self.executor.submit(
                run_scoring_job,
                ScoringJob(
                    job.folder,
                    self.data,
                    ("search", "report"),
                    self.resources.device,
                    self.deadline,
                ),
            )
            for own in chosen.values()
            for job in own.values()
        ]
        _results(looks)

    def degrade(self, chosen: Chosen) -> pd.DataFrame | None:
        """Scores of the first seeds on worse and worse images."""
        futures = {
            (model, corruption): self.executor.submit(
                run_degradation_job,
                DegradationJob(
                    own[self.config.seed].folder,
                    self.data,
                    corruption,
                    device=self.resources.device,
                    seed=self.config.seed,
                    deadline=self.deadline,
                ),
            )
            for model, own in chosen.items()
            for corruption in self.config.corruptions
        }
        if not futures:
            return None
        tables = dict(zip(futures, _results(list(futures.values())), strict=True))
        return pd.concat(tables, names=["model", "corruption"]).reset_index(level=[0, 1])

    def candidate(
        self, model: str, tried: Tried, jobs: dict[int, TrainingJob], failed: dict[int, str]
    ) -> Candidate:
        """What is known of a model before it is judged."""
        folders = {seed: ModelFolder(Path(job.folder)) for seed, job in jobs.items()}
        first = next(iter(folders.values()), None)
        scores = None if first is None else read_result(first).scores["report"]
        return Candidate(
            model=model,
            predictions=tuple(Predictions.load(f.predictions) for f in folders.values()),
            seeds=tuple(folders),
            failed=failed,
            parameters=scores.parameters if scores else None,
            macs=scores.macs if scores else None,
            paper=PAPER_MODELS.get(model),
            scheme=_best(tried),
            tried={scheme: _accuracy(outcome) for scheme, outcome in tried.items()},
            folder=first.path.relative_to(self.folder.path).as_posix() if first else None,
        )

    def _job(self, model: str, scheme: str, seed: int) -> TrainingJob:
        config, resources = self.config, self.resources
        return TrainingJob(
            architecture=Architecture.dense_base(self.names[model]).id,
            folder=str(self.folder.audited(model, scheme, seed).path),
            data=self.data,
            scheme=SCHEMES[scheme].fitted(self.images, config.epochs, config.batch_size),
            seed=seed,
            device=resources.device,
            deadline=self.deadline,
        )


R = TypeVar("R")


def _results(futures: Sequence[Future[R]]) -> list[R]:
    """What jobs returned; one that fails, or ends at the time limit, does not end the others.

    Raises:
        OutOfTime: The limit came; what was finished is kept.
        Exception: A job's own.
    """
    outcomes = [future.exception() or future.result() for future in futures]
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, OutOfTime):
            raise outcome
    check_time(outcomes)
    return [future.result() for future in futures]


def _accuracy(outcome: JobResult | MoENASError) -> float | None:
    if isinstance(outcome, JobResult):
        return outcome.scores["search"].balanced_accuracy
    return None


def _best(tried: Tried) -> str | None:
    done = {s: value for s, found in tried.items() if (value := _accuracy(found)) is not None}
    return max(done, key=lambda scheme: done[scheme], default=None)
