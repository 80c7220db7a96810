"""``moenas search``: dense parents → study → finalists → pruning → comparison → report.

Every stage leaves its files in the run folder and is passed over when they are there: the same
command goes on where it was ended, however it was ended.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import optuna

from moenas.config import to_dict
from moenas.console import logger, progress
from moenas.data.manifest import describe
from moenas.data.sources.emoji import EmojiConfig, planned_manifest
from moenas.evaluation.scores import Scores
from moenas.execution.executor import Executor
from moenas.models.architecture import Architecture
from moenas.models.cost import layer_count
from moenas.models.latency import LatencyTable
from moenas.models.storage import load_model
from moenas.nas.budget import Clock, Estimate, estimate, measure_speed
from moenas.nas.finalists import Finalist, choose_finalists
from moenas.nas.halving import Halving
from moenas.nas.jobs import SEARCH_SEED, JobMaker
from moenas.nas.objectives import defined_objectives
from moenas.nas.progress import SearchProgress
from moenas.nas.progress_view import watch
from moenas.nas.records import comparison_record, search_record, trial_records
from moenas.nas.rungs import Rungs
from moenas.nas.settings import SearchConfig
from moenas.nas.space import BASE, SearchSpace
from moenas.nas.stages import run_jobs
from moenas.nas.study import StudyDriver, count_feasible, make_sampler, open_study
from moenas.report.html import render
from moenas.runs import ModelFolder, RunFolder, is_there, read_json, write_json
from moenas.runtime import Machine, peak_memory, pick_device
from moenas.training.job import DataReference, TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import read_result
from moenas.training.subnet_job import run_subnet_job
from moenas.workflows.data import data_record, open_manifest, prepare
from moenas.workflows.doctor import library_versions
from moenas.workflows.latency import given_table, table_for, within_latency
from moenas.workflows.prune import prune_run
from moenas.workflows.settings import Resources

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


def search(
    config: SearchConfig, run: Path | str, resources: Resources | None = None
) -> SearchResult:
    """Search for small models that are accurate, fair, robust and general, and report on them.

    Args:
        config: What to search.
        run: The run folder; one of an unfinished search with equal settings goes on.
        resources: Where and how long to compute.

    Raises:
        OutOfTime: The time limit came; the same call goes on.
        MoENASError: Bad data, settings or folder; the message says what to do.
    """
    resources = resources or Resources()
    clock = Clock(None if resources.time_limit is None else 60 * resources.time_limit)
    table = None if is_there(RunFolder(Path(run)).latency) else given_table(config)
    search_space(config, table)  # settings that cannot work are refused before anything is written
    if config.wider_base is not None:
        layer_count(config.wider_base)
    else:
        logger.info("No wider dense model is compared with; name one of about the finalists' size.")
    folder = RunFolder.create(run, "search", to_dict(config))
    with folder.locked(), resources.executor() as executor:
        return _Search(config, folder, resources, clock, executor).run()


def price(config: SearchConfig, resources: Resources | None = None) -> Estimate:
    """Tell what a search will cost, from a few measured training steps; nothing is written.

    Args:
        config: What to search. Its data must be there, or be the drawn scenes.
        resources: Where to compute.
    """
    resources = resources or Resources()
    search_space(config, given_table(config))
    counts = {name: part["n"] for name, part in _counts(config).items()}
    speed = measure_speed(config, pick_device(resources.device))
    return estimate(config, counts, speed, resources.count_workers())


@dataclasses.dataclass
class _Search:
    config: SearchConfig
    folder: RunFolder
    resources: Resources
    clock: Clock
    executor: Executor
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    def run(self) -> SearchResult:
        table = self._latency()
        self.config = within_latency(self.config, table)
        space = search_space(self.config, table)
        if table is not None and not self.folder.latency.exists():
            table.save(self.folder.latency)
        data = self._timed("data", self._data)
        maker = JobMaker(
            self.config,
            self.folder,
            data,
            device=self.resources.device,
            precision=self.resources.precision(),
            deadline=self.clock.deadline,
        )
        base = self._timed("parents", lambda: self._parents(maker))
        if self.config.strategy == "supernet":
            base = self._timed("supernet", lambda: self._supernets(maker))
        study, objectives, floor = self._study(base, space)
        self._timed("search", lambda: self._trials(study, space, objectives, floor, maker))
        write_json(self.folder.trials, trial_records(study, objectives))
        finalists = choose_finalists(
            study,
            self.config.base,
            base.parameters,
            self.config.max_parameters,
            self.config.finalists,
        )
        models, folders = self._timed("finalists", lambda: self._finals(maker, finalists))
        self._timed("pruning", lambda: self._prune(data, finalists, models, folders))
        comparison = comparison_record(models, folders, self.config.image_size)
        write_json(self.folder.comparison, comparison)
        self._summarise(data, study, floor, comparison["verdict"])
        report = render(self.folder)
        return SearchResult(self.folder.path, report, tuple(comparison["verdict"]), comparison)

    def _timed(self, stage: str, work: Callable[[], T]) -> T:
        start = time.monotonic()
        result = work()
        self.seconds[stage] = round(time.monotonic() - start, 1)
        logger.info("%s: %.0f s", stage.capitalize(), self.seconds[stage])
        return result

    def _latency(self) -> LatencyTable | None:
        if not self.config.needs_latency:
            return None
        device = self.resources.device
        return self._timed("latency", lambda: table_for(self.config, self.folder, device))

    def _data(self) -> DataReference:
        return prepare(self.config.data, self.config.image_size, self.folder, self.config.protocol)

    def _parents(self, maker: JobMaker) -> Scores:
        """Train all dense parents; return the scores of the search's own."""
        config = self.config
        seeds = range(SEARCH_SEED + 1, SEARCH_SEED + 1 + config.seeds)
        jobs = [maker.parent(base, SEARCH_SEED) for base in config.search_parents]
        jobs += [maker.parent(config.base, seed) for seed in seeds]
        if config.wider_base is not None:
            jobs += [maker.parent(config.wider_base, seed) for seed in seeds]
        return run_jobs(self.executor, jobs, "Dense parents")[0].scores["search"]

    def _supernets(self, maker: JobMaker) -> Scores:
        """Train the supernets; return the scores of the base model as a part of its own."""
        config = self.config
        jobs = [maker.supernet(base) for base in config.searched_bases]
        run_jobs(self.executor, jobs, "Supernets")
        dense = maker.part(maker.dense(config.base), self.folder.supernet_base(config.base))
        return self.executor.submit(run_subnet_job, dense).result().scores["search"]

    def _study(
        self, base: Scores, space: SearchSpace
    ) -> tuple[optuna.Study, tuple[str, ...], float]:
        dense = Architecture.dense_base(space.base)
        objectives = defined_objectives(base, self.config.objectives, space.costs(dense))
        sampler = make_sampler(self.config.sampler, space, self.config.seed)
        study = open_study(self.folder, objectives, sampler)
        if not study.get_trials(deepcopy=False):  # the dense models are the first trials
            params = space.encode(dense.experts)
            for name in space.bases:
                study.enqueue_trial(params | ({BASE: name} if space.wider else {}))
        return study, objectives, base.balanced_accuracy - self.config.accuracy_margin

    def _trials(
        self,
        study: optuna.Study,
        space: SearchSpace,
        objectives: tuple[str, ...],
        floor: float,
        maker: JobMaker,
    ) -> None:
        """Train trials until enough are finished or the finalists need the rest of the time."""
        total = count_feasible(space, self.config.trials)
        seen = SearchProgress.of(study, objectives, total, self.executor.workers)
        with watch(seen) as show:

            def finish(trial: optuna.trial.FrozenTrial) -> None:
                seen.finish(trial)
                show()

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
            )
            reserve = self._seconds_of_finals(maker)
            complete = driver.run(self.config.trials, lambda: self.clock.has(reserve))
        if not complete and not self.clock.has(0):
            raise OutOfTime("The time limit came in the search. Run the same command to go on.")

    def _seconds_of_finals(self, maker: JobMaker) -> float:
        """What the finalists will take, from what their parents took; kept back from the search."""
        if self.clock.deadline is None:
            return 0.0
        config = self.config
        share = config.finalist_epochs / config.parent_epochs
        seeds = range(SEARCH_SEED + 1, SEARCH_SEED + 1 + config.seeds)
        bases = [config.base] if config.wider_base is None else [config.base, config.wider_base]
        took = [sum(self._took(maker.parent(base, seed)) for seed in seeds) for base in bases]
        finalist = max(took[: len(config.searched_bases)])
        total = sum(took) + finalist * config.finalists
        return 1.2 * share * total / self.executor.workers

    def _took(self, job: TrainingJob) -> float:
        return read_result(ModelFolder(Path(job.folder))).seconds

    def _finals(
        self, maker: JobMaker, finalists: list[Finalist]
    ) -> tuple[list[dict[str, Any]], dict[str, list[ModelFolder]]]:
        """Train base, wider and finalists with every seed; return what the comparison needs."""
        config = self.config
        seeds = list(range(SEARCH_SEED + 1, SEARCH_SEED + 1 + config.seeds))
        entrants: list[tuple[str, str, str | None, Architecture]] = [
            (config.base, "base", None, maker.dense(config.base))
        ]
        if config.wider_base is not None:
            entrants.append((config.wider_base, "wider", None, maker.dense(config.wider_base)))
        entrants += [(f.name, "finalist", f.size_class, f.architecture) for f in finalists]
        jobs = {
            name: [maker.finalist(architecture, seed) for seed in seeds]
            for name, _, _, architecture in entrants
        }
        run_jobs(self.executor, [job for own in jobs.values() for job in own], "Finalists")
        models = [
            {
                "name": name,
                "role": role,
                "size_class": size_class,
                "architecture": architecture.id,
                "seeds": seeds,
            }
            for name, role, size_class, architecture in entrants
        ]
        return models, {
            name: [ModelFolder(Path(j.folder)) for j in own] for name, own in jobs.items()
        }

    def _prune(
        self,
        data: DataReference,
        finalists: list[Finalist],
        models: list[dict[str, Any]],
        folders: dict[str, list[ModelFolder]],
    ) -> None:
        """Prune the largest finalist's first seed and add it to the comparison."""
        if not finalists:
            return
        largest = finalists[-1]
        target = self.folder.pruned()
        if not _pruned_from(target, largest):
            work = functools.partial(prune_run, device=self.resources.device)
            with progress() as bar:
                bar.add_task("Pruning", total=None, note=largest.name)
                source = folders[largest.name][0]
                self.executor.submit(
                    work, source, target, self.folder.pruning, data, largest.name
                ).result()
        card = load_model(target.checkpoint)[1]
        name = f"{largest.name} pruned"
        models.append(
            {
                "name": name,
                "role": "pruned",
                "size_class": None,
                "architecture": card.architecture,
                "seeds": [SEARCH_SEED + 1],
            }
        )
        folders[name] = [target]

    def _summarise(
        self, data: DataReference, study: optuna.Study, floor: float, verdict: list[str]
    ) -> None:
        config = self.config
        before = read_json(self.folder.summary)["seconds"] if self.folder.summary.exists() else {}
        seconds = {k: max(v, before.get(k, 0.0)) for k, v in self.seconds.items()}
        write_json(
            self.folder.summary,
            {
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "machine": to_dict(Machine.here(pick_device(self.resources.device))),
                "versions": library_versions(),
                "base": config.base,
                "wider": config.wider_base,
                "image_size": config.image_size,
                "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
                "data": data_record(data),
                "search": {
                    "sampler": "MoENASSampler",
                    "preset": config.sampler,
                    "strategy": config.strategy,
                    "router": config.router,
                    "bases": list(config.searched_bases),
                    "trials": config.trials,
                    "max_parameters": config.max_parameters,
                    "max_latency_ms": config.max_latency_ms,
                    "accuracy_floor": floor,
                    **search_record(study),
                },
                "verdict": verdict,
                "peak_memory_bytes": peak_memory(),
            },
        )


def _pruned_from(folder: ModelFolder, finalist: Finalist) -> bool:
    """Whether this finalist was pruned before: a search that went on may have chosen another."""
    if not folder.finished:
        return False
    card = load_model(folder.checkpoint)[1]
    return bool(card.extra.get("pruned_from") == finalist.architecture.id)


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


def _counts(config: SearchConfig) -> dict[str, dict[str, Any]]:
    if config.data == "emoji":  # known without drawing anything
        return describe(planned_manifest(EmojiConfig(size=config.image_size)))
    return describe(open_manifest(config.data, config.image_size))
