"""The stages of a search, each passed over where its files are there."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna

from moenas.console import logger, note
from moenas.evaluation.scores import Scores
from moenas.execution.executor import Executor
from moenas.models.architecture import Architecture
from moenas.models.cost import layer_count
from moenas.models.latency import LatencyTable
from moenas.nas.budget import Clock
from moenas.nas.counting import count_feasible
from moenas.nas.driver import StudyDriver
from moenas.nas.finalists import Finalist, choose_finalists
from moenas.nas.halving import Halving
from moenas.nas.jobs import SEARCH_SEED, JobMaker
from moenas.nas.leases import Alone, FileLeases, Leases
from moenas.nas.objectives import defined_objectives
from moenas.nas.progress import SearchProgress
from moenas.nas.progress_view import line, watch
from moenas.nas.records import comparison_record, trial_records
from moenas.nas.rungs import Rungs
from moenas.nas.settings import SearchConfig
from moenas.nas.space import SearchSpace
from moenas.nas.stages import OnResult, run_jobs
from moenas.nas.storage import SharedStorage, announce, keep_copy
from moenas.nas.study import enqueue_dense, make_sampler, open_recorded_study, open_study
from moenas.nas.study_file import study_errors
from moenas.report.card.writing import leave_cards
from moenas.report.html import render
from moenas.runs import RunFolder
from moenas.runtime import pick_device
from moenas.serialisation import write_json
from moenas.tracking.recording import Recording
from moenas.training.job import DataReference, TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult
from moenas.training.subnet_job import run_subnet_job
from moenas.workflows.data import prepare
from moenas.workflows.latency import table_for, within_latency
from moenas.workflows.search_finalists import (
    Entrant,
    entrants,
    final_seeds,
    seconds_of_finalists,
    seconds_of_pruning,
)
from moenas.workflows.search_pruning import prune_largest
from moenas.workflows.search_summary import write_summary
from moenas.workflows.settings import Resources
from moenas.workflows.tracked import record_models, record_training, record_trial, trial_fields

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        run: Its folder.
        report: Its report.
        verdict: The report's first sentences.
        comparison: The content of ``comparison.json``.
    """

    run: Path
    report: Path
    verdict: tuple[str, ...]
    comparison: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Trials:
    """A study whose trials are done, as far as time allows, and what its finalists need, too."""

    study: optuna.Study
    objectives: tuple[str, ...]
    floor: float
    data: DataReference
    maker: JobMaker
    base: Scores
    complete: bool


@dataclasses.dataclass
class SearchRun:
    """A process's part in a search.

    Attributes:
        config: What to search.
        folder: The run.
        resources: Where and how long to compute.
        clock: What is left of that time.
        executor: Where models are trained.
        record: Where a tracker gets the numbers.
        shared: Where the study is, when other processes work on it, too; None: in the folder.
        seconds: What each stage took.
    """

    config: SearchConfig
    folder: RunFolder
    resources: Resources
    clock: Clock
    executor: Executor
    record: Recording
    shared: SharedStorage | None = None
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.leases: Leases = Alone() if self.shared is None else FileLeases(self.folder)

    def lead(self) -> SearchResult:
        """Do all that is not there yet; the folder must be locked."""
        found = self._find()
        if self.shared is not None:  # what others tell after a time limit is in no file, or in all
            with self._study_told():
                keep_copy(self.folder, found.study)
            found = dataclasses.replace(found, study=open_recorded_study(self.folder))
        write_json(self.folder.trials, trial_records(found.study, found.objectives))
        finalists, reported = self._train_finalists(found)
        models = [entrant.record(final_seeds(self.config)) for entrant in reported]
        folders = {entrant.name: entrant.folders for entrant in reported}
        self._timed(
            "pruning",
            lambda: prune_largest(
                self.folder,
                found.data,
                finalists,
                models,
                folders,
                self.executor,
                self.resources.device,
                self.clock.deadline,
            ),
        )
        comparison = comparison_record(models, folders, self.config.image_size)
        write_json(self.folder.comparison, comparison)
        write_summary(
            self.folder,
            self.config,
            found.data,
            found.study,
            device=pick_device(self.resources.device),
            floor=found.floor,
            verdict=comparison["verdict"],
            seconds=self.seconds,
        )
        report = render(self.folder)
        leave_cards(self.folder)
        record_models(self.record, comparison["models"])
        self.record.attach(report)
        return SearchResult(self.folder.path, report, tuple(comparison["verdict"]), comparison)

    def help(self) -> None:
        """Train with the process that leads, as long as there is something to train.

        The data must be prepared.

        Raises:
            OutOfTime: This process's time came before the trials were finished: only the leader,
                who may have more time, chooses finalists among fewer.
        """
        found = self._find(leads=False)
        if not found.complete:
            raise OutOfTime(
                "The time limit of this process came. The one that leads the search goes on; run "
                "the same command to help it again."
            )
        self._train_finalists(found)

    def _find(self, *, leads: bool = True) -> Trials:
        """Do all that comes before the finalists, beside other processes where there are some.

        Args:
            leads: Keep time back for the finalists.
        """
        table = self._latency()
        self.config = within_latency(self.config, table)
        space = search_space(self.config, table)
        if table is not None and not self.folder.latency.exists():
            table.save(self.folder.latency)
        data = self._timed("data", self._data)
        maker = JobMaker(
            self.config.fitted(data.counts()["train"]),
            self.folder,
            data,
            device=self.resources.device,
            deadline=self.clock.deadline,
        )
        base = self._timed("parents", lambda: self._parents(maker))
        if self.config.strategy == "supernet":
            base = self._timed("supernet", lambda: self._supernets(maker))
        study, objectives, floor = self._study(base, space)
        reserve = 0.0
        if leads and self.clock.deadline is not None:  # what comes after gets the rest of the time
            reserve = seconds_of_finalists(self.config, maker, self.executor.workers)
            reserve += seconds_of_pruning(self.config, maker)
        complete = self._timed(
            "search", lambda: self._trials(study, space, objectives, floor, maker, reserve)
        )
        return Trials(study, objectives, floor, data, maker, base, complete)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = time.monotonic()
        result = work()
        self.seconds[stage] = round(time.monotonic() - start, 1)
        logger.info(
            "%s: %.0f s", stage.capitalize(), self.seconds[stage],
            extra={"event": "stage", "fields": {"stage": stage, "seconds": self.seconds[stage]}},
        )  # fmt: skip
        return result

    def _latency(self) -> LatencyTable | None:
        if not self.config.needs_latency:
            return None
        device = self.resources.device
        return self._timed("latency", lambda: table_for(self.config, self.folder, device))

    def _data(self) -> DataReference:
        return prepare(self.config.data, self.config.image_size, self.folder, self.config.protocol)

    def _run(
        self, jobs: list[TrainingJob], title: str, on_result: OnResult | None = None
    ) -> list[JobResult]:
        return run_jobs(self.executor, jobs, title, on_result, self.leases)

    def _parents(self, maker: JobMaker) -> Scores:
        """Train all dense parents; return the scores of the search's own."""
        config = self.config
        seeds = final_seeds(config)
        jobs = [maker.parent(base, SEARCH_SEED) for base in config.search_parents]
        jobs += [maker.parent(config.base, seed) for seed in seeds]
        if config.wider_base is not None:
            jobs += [maker.parent(config.wider_base, seed) for seed in seeds]
        keep = partial(record_training, self.record)
        return self._run(jobs, "Dense parents", keep)[0].scores["search"]

    def _supernets(self, maker: JobMaker) -> Scores:
        """Train the supernets; return the scores of the base model as a part of its own."""
        config = self.config
        jobs = [maker.supernet(base) for base in config.searched_bases]
        self._run(jobs, "Supernets")
        dense = maker.part(maker.dense(config.base), self.folder.supernet_base(config.base))
        return self.executor.submit(run_subnet_job, dense).result().scores["search"]

    def _study(
        self, base: Scores, space: SearchSpace
    ) -> tuple[optuna.Study, tuple[str, ...], float]:
        dense = Architecture.dense_base(space.base)
        objectives = defined_objectives(base, self.config.objectives, space.costs(dense))
        sampler = make_sampler(self.config.sampler, space, self.config.seed)
        with self.leases.choosing():  # another process may be about to make it
            study = open_study(self.folder, objectives, sampler, self.shared)
            with self._study_told():
                enqueue_dense(study, space)
            if self.shared is not None:
                announce(self.folder, self.shared, study)
        return study, objectives, base.balanced_accuracy - self.config.accuracy_margin

    def _study_told(self) -> contextlib.AbstractContextManager[None]:
        """Tell what goes wrong with the study of the place where it is."""
        if self.shared is None:
            return study_errors(self.folder, "written")
        return self.shared.explained()

    def _trials(
        self,
        study: optuna.Study,
        space: SearchSpace,
        objectives: tuple[str, ...],
        floor: float,
        maker: JobMaker,
        reserve: float,
    ) -> bool:
        """Train trials; return whether all are, before only ``reserve`` seconds are left.

        Raises:
            OutOfTime: None are.
        """
        total = count_feasible(space, self.config.trials)
        keep = partial(record_trial, self.record)
        heard: set[int] = set()  # what is told between this look and the driver's is news to it

        def begin(seen: SearchProgress, trial: optuna.trial.FrozenTrial) -> None:
            heard.add(trial.number)
            keep(seen, trial)

        seen = SearchProgress.of(study, objectives, total, self.executor.workers, begin)
        with watch(seen) as show:

            def finish(trial: optuna.trial.FrozenTrial) -> None:
                seen.finish(trial)
                show()
                note("trial", line(seen), **trial_fields(trial, objectives))
                keep(seen, trial)

            rungs = None
            if self.config.rungs > 1:
                halving = Halving(self.config.rungs)
                rungs = Rungs(study, halving, self.config.accuracy_margin)
            driver = StudyDriver(
                study,
                space,
                objectives,
                self.executor,
                lambda number, architecture, rung: maker.trial(number, architecture, floor, rung),
                floor,
                rungs,
                on_start=seen.start,
                on_result=finish,
                heard=heard,
                leases=self.leases,
            )
            with self._study_told():
                complete = driver.run(self.config.trials, lambda: self.clock.has(reserve))
        if not complete and not self.clock.has(0):
            raise OutOfTime("The time limit came in the search. Run the same command to go on.")
        return complete

    def _train_finalists(self, found: Trials) -> tuple[list[Finalist], list[Entrant]]:
        """Train all that is reported, with every seed; return the finalists, and all entrants."""
        finalists = choose_finalists(
            found.study,
            self.config.base,
            found.base.parameters,
            self.config.max_parameters,
            self.config.finalists,
        )
        reported = entrants(self.config, found.maker, finalists)
        jobs = [job for entrant in reported for job in entrant.jobs]
        self._timed("finalists", lambda: self._run(jobs, "Finalists"))
        return finalists, reported


def search_space(config: SearchConfig, latency: LatencyTable | None = None) -> SearchSpace:
    """The space that a search looks through; without a table yet, without a limit of latency."""
    base, *wider = config.searched_bases
    return SearchSpace(
        base,
        layer_count(base),
        max_parameters=config.max_parameters,
        wider=tuple(wider),
        max_latency_ms=None if latency is None else config.max_latency_ms,
        latency=latency,
    )
