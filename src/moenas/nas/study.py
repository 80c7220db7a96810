"""The study: asks the sampler, has trials trained, tells the results; the storage is the state.

A trial that was running when the driver died is *adopted* by the next one: it keeps its number and
its folder, is trained on from its last epoch, and is told. A trial that fails is FAILED with its
error, never scored badly.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from math import isnan
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from moenas.console import logger
from moenas.errors import RunFolderError, SearchError
from moenas.execution.executor import Executor
from moenas.models.architecture import Architecture
from moenas.nas.jobs import TrialJob, run_trial
from moenas.nas.objectives import OBJECTIVES
from moenas.nas.observations import signs
from moenas.nas.rungs import FULL_LENGTH, Rungs
from moenas.nas.sampler import MoENASSampler
from moenas.nas.space import BASE, SearchSpace
from moenas.runs import RunFolder
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult

STUDY_NAME = "moenas"
"""Each run folder has one study; the folder can be renamed."""

NEWS = 5.0
"""Seconds after which a search asks anew how many workers there are: a cluster grows."""

MakeJob = Callable[[int, Architecture, int], TrialJob]


def open_study(
    run: RunFolder, objectives: tuple[str, ...], sampler: optuna.samplers.BaseSampler
) -> optuna.Study:
    """Open the run's study, or create it.

    Raises:
        RunFolderError: The study file is damaged or of other objectives.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection[OBJECTIVES[name].direction.upper()] for name in objectives]
    try:
        study = optuna.create_study(
            storage=run.study_url,
            study_name=STUDY_NAME,
            sampler=sampler,
            directions=directions,
            load_if_exists=True,
        )
    except Exception as error:  # SQLAlchemy's and Optuna's own, many kinds
        raise RunFolderError(f"The study '{run.study}' cannot be opened: {error}.") from error
    with warnings.catch_warnings():  # experimental since 2023
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_user_attr("objectives", list(objectives))
        study.set_metric_names(list(objectives))  # what plots of the study call its axes
    return study


def open_recorded_study(run: RunFolder) -> optuna.Study:
    """Open the study of a run that exists, to read it.

    Raises:
        RunFolderError: There is none, or it is damaged.
    """
    if not run.study.exists():
        raise RunFolderError(
            f"'{run.path}' has no study.db: only a search has one, and it is made when the dense "
            "parents are trained."
        )
    try:
        return optuna.load_study(study_name=STUDY_NAME, storage=run.study_url)
    except Exception as error:  # SQLAlchemy's and Optuna's own, many kinds
        raise RunFolderError(f"The study '{run.study}' cannot be read: {error}.") from error


def make_sampler(name: str, space: SearchSpace, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a search: ``mixture``, ``paper`` or ``random`` (feasible points only).

    Args:
        name: See `SearchConfig`.
        space: What is feasible.
        seed: Of its random numbers.
    """
    options: dict[str, Any] = {
        "seed": seed,
        "constraint": space.constraint,
        "search_space": space.distributions(),
    }
    if name == "random":  # never leaves the space-filling design
        return MoENASSampler(initial=sys.maxsize, **options)
    return MoENASSampler(preset=name, **options)


def maximised(
    study: optuna.Study, trials: Sequence[FrozenTrial]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the values [n, objectives] of complete trials, to maximise, and feasibility [n]."""
    sign = signs(study.directions)
    values = np.array([t.values for t in trials]).reshape(-1, len(sign)) * sign
    return np.asarray(values), np.array([is_feasible(t) for t in trials], dtype=bool)


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether a complete trial meets all of its constraints."""
    return all(value <= 0 for value in trial.constraints.values())


def architecture_of(trial: FrozenTrial, base: str) -> Architecture:
    """The architecture that a trial trains; ``base`` where the study has one base model."""
    params = dict(trial.params)
    return Architecture(
        params.pop(BASE, base), tuple(params[f"e{i + 1}"] for i in range(len(params)))
    )


def count_feasible(space: SearchSpace, enough: int) -> int:
    """Count the points of a space within its limits, up to ``enough``."""
    count = 0
    for base in space.bases:
        with contextlib.suppress(SearchError):  # a wider model may be above a limit in itself
            count += _count_vectors(space.of(base), enough)
    return min(count, enough)


def _count_vectors(space: SearchSpace, enough: int) -> int:
    vectors = np.full((1, space.layers), space.low)
    for layer in range(space.layers):  # the layers after it have the fewest experts
        more = np.repeat(vectors, space.high - space.low + 1, axis=0)
        more[:, layer] = np.tile(np.arange(space.low, space.high + 1), len(vectors))
        vectors = more[space.feasible(more)]
        if len(vectors) >= enough:
            return enough
    return len(vectors)


@dataclasses.dataclass
class StudyDriver:
    """Runs trials of a study on an executor.

    Attributes:
        study: An Optuna study with a sampler.
        space: The search space.
        objectives: Names of the study's objectives, in its order.
        executor: Where trials are trained.
        make_job: From a trial's number, architecture and rung to its job.
        floor: Balanced accuracy (search half) that a feasible trial reaches.
        rungs: Which trials are trained on after a short training; None: all are trained fully.
        on_start: Called before each training or look, with the trial's number and the job.
        on_result: Called after each trial that is told.
    """

    study: optuna.Study
    space: SearchSpace
    objectives: tuple[str, ...]
    executor: Executor
    make_job: MakeJob
    floor: float
    rungs: Rungs | None = None
    on_start: Callable[[int, TrialJob], None] | None = None
    on_result: Callable[[FrozenTrial], None] | None = None

    def run(self, trials: int, may_start: Callable[[], bool] = lambda: True) -> bool:
        """Train until the study has so many finished trials.

        Args:
            trials: Finished trials (complete or failed) to reach, those already there included.
            may_start: Asked before each new trial; False ends the search early.

        Returns:
            Whether all of them were reached; False: time was up, call again to go on.
        """
        room = count_feasible(self.space, trials)
        if room < trials:
            logger.warning("Only %d architectures are within the limits: all are tried.", room)
            trials = room
        running: dict[Future[JobResult], optuna.Trial] = {}
        for stale in self.study.get_trials(states=(TrialState.RUNNING,)):
            trial = optuna.Trial(self.study, stale._trial_id)
            running[self._submit(trial)] = trial
        finished = self._finished()  # counted here from now on: the storage reads all of them
        in_time = True
        while True:
            while in_time and len(running) < self.executor.workers:
                if finished + len(running) >= trials:
                    break
                if not may_start():
                    in_time = False
                    break
                trial = self.study.ask()
                running[self._submit(trial)] = trial
            if not running:
                return in_time
            done, _ = concurrent.futures.wait(
                running, timeout=NEWS, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in sorted(done, key=lambda f: running[f].number):
                trial = running.pop(future)
                if self._climbs(trial, future):
                    if in_time and may_start():
                        running[self._submit(trial)] = trial
                    else:  # it stays RUNNING, to be adopted
                        in_time = False
                else:
                    told = self._tell(trial, future)
                    finished += told
                    in_time &= told

    def _finished(self) -> int:
        states = (TrialState.COMPLETE, TrialState.FAIL)
        return sum(1 for t in self.study.get_trials(deepcopy=False) if t.state in states)

    def _submit(self, trial: optuna.Trial) -> Future[JobResult]:
        """Suggest what the trial has not been told yet (all, when it is new) and train it."""
        space = self.space
        params: dict[str, Any] = {}
        if space.wider:
            params[BASE] = trial.suggest_categorical(BASE, space.bases)
        for name in space.names:
            params[name] = trial.suggest_int(name, space.low, space.high)
        architecture = space.architecture(params)
        trial.set_user_attr("architecture", architecture.id)
        for name, cost in space.costs(architecture).items():
            trial.set_user_attr(name, cost)
        rung = 0 if self.rungs is None else self.rungs.reached(trial.user_attrs)
        job = self.make_job(trial.number, architecture, rung)
        if self.on_start:
            self.on_start(trial.number, job)
        return self.executor.submit(run_trial, job)

    def _climbs(self, trial: optuna.Trial, future: Future[JobResult]) -> bool:
        """Whether a trial's training was a short one that promises more; it is noted."""
        if self.rungs is None or future.exception() is not None:
            return False
        values = self._values(trial, future.result())
        if isinstance(values, SearchError):
            return False
        architecture = self.space.architecture(trial.params)
        return self.rungs.climbs(trial, architecture, values, future.result())

    def _values(self, trial: optuna.Trial, result: JobResult) -> list[float] | SearchError:
        """The objectives' values, or what is wrong with them."""
        scores, costs = result.scores["search"], trial.user_attrs
        found = {name: OBJECTIVES[name].measure(scores, costs) for name in self.objectives}
        missing = [name for name, value in found.items() if value is None or isnan(value)]
        if missing:
            return SearchError(f"Not defined on the search images: {', '.join(missing)}.")
        return [value for value in found.values() if value is not None]

    def _tell(self, trial: optuna.Trial, future: Future[JobResult]) -> bool:
        """Tell one result; False when it ran out of time (it stays RUNNING, to be adopted)."""
        error = future.exception()
        if isinstance(error, OutOfTime):
            return False
        values: list[float] = []
        if error is None:
            result = future.result()
            measured = self._values(trial, result)
            if isinstance(measured, SearchError):
                error = measured
            else:
                values = self._note(trial, result, measured)
        if error is None:
            frozen = self.study.tell(trial, values)
        else:
            text = "".join(traceback.format_exception(error))
            trial.set_user_attr("error", text[-4000:])
            frozen = self.study.tell(trial, state=TrialState.FAIL)
            logger.warning("Trial %d failed: %s", trial.number, error)
        if self.on_result:
            self.on_result(frozen)
        return True

    def _note(self, trial: optuna.Trial, result: JobResult, values: list[float]) -> list[float]:
        """Write down what is known of a trial beside its values; return the values to tell."""
        scores = result.scores["search"]
        attributes: dict[str, Any] = {
            "macs": scores.macs,
            "seconds": result.seconds,
            "stopped_because": result.stopped_because,
        }
        constraints = {"accuracy": self.floor - scores.balanced_accuracy}
        if self.rungs is not None:
            attributes["seconds"] = self.rungs.seconds(trial.user_attrs)
            missing = self.rungs.halving.last - self.rungs.reached(trial.user_attrs)
            if missing:
                constraints = {FULL_LENGTH: float(missing)}
                values = self.rungs.guess(values, self.rungs.reached(trial.user_attrs))
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        for name, violation in constraints.items():
            if name not in trial.constraints:  # set before a kill
                trial.set_constraint(name, violation)
        return values
