"""The driver: asks the sampler, has trials trained, tells the results; the storage is the state.

A trial that was running when its driver died is *adopted* by the next one, or by another that works
on the study (see `Leases`): it keeps its number and its folder, is trained on from its last state,
and is told. A trial that fails is FAILED with its error, never scored badly; one that may have
failed for the machine's sake is told later (see `Doubts`).
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from math import isnan
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from moenas.console import logger
from moenas.errors import RunFolderError, SearchError
from moenas.execution.executor import Executor
from moenas.masking import masked
from moenas.models.architecture import Architecture
from moenas.nas.counting import count_feasible
from moenas.nas.doubts import FIRST_ERROR, Doubts, is_doubtful
from moenas.nas.jobs import TrialJob, run_trial
from moenas.nas.leases import NEWS, Alone, Leases, wait_for_others
from moenas.nas.objectives import OBJECTIVES
from moenas.nas.rungs import FULL_LENGTH, Rungs
from moenas.nas.space import BASE, SearchSpace
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult

FINISHED = (TrialState.COMPLETE, TrialState.FAIL)

MakeJob = Callable[[int, Architecture, int], TrialJob]


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
        on_result: Called with each trial that is told, here or by another process.
        heard: Numbers of finished trials that ``on_result`` is not called with any more.
        leases: Which running trials are other processes'.
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
    heard: set[int] = dataclasses.field(default_factory=set)
    leases: Leases = dataclasses.field(default_factory=Alone)

    def run(self, trials: int, may_start: Callable[[], bool] = lambda: True) -> bool:
        """Train until the study has so many finished trials.

        Args:
            trials: Finished trials (complete or failed) to reach, those already there included.
            may_start: Asked before each new trial; False ends the search early.

        Returns:
            Whether all of them were reached; False: time was up, call again to go on.

        Raises:
            SearchError: Several in a row failed, see `Doubts`; call again to go on.
            RunFolderError: The folder cannot be written; call again to go on.
        """
        room = count_feasible(self.space, trials)
        if room < trials:
            logger.warning("Only %d architectures are within the limits: all are tried.", room)
            trials = room
        running: dict[Future[JobResult], optuna.Trial] = {}
        doubts = Doubts(self._fail, self._failed_before())
        in_time = True
        try:
            while True:
                held = [trial for trial, _ in doubts.held]
                in_time = in_time and self._fill(running, held, trials, may_start)
                self._hear()
                if not running:
                    if not in_time or len(self._told()) >= trials:
                        return in_time
                    if doubts.held:
                        if len(self._begun()) > len(doubts.held):
                            doubts.leave()
                        doubts.settle()
                        continue
                    wait_for_others()
                    in_time = may_start()
                    continue
                done, _ = concurrent.futures.wait(
                    running, timeout=NEWS, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in sorted(done, key=lambda f: running[f].number):
                    trial = running[future]
                    error = future.exception()
                    if isinstance(error, RunFolderError):
                        raise error  # a full disk: the trial stays RUNNING
                    del running[future]
                    if isinstance(error, OutOfTime):
                        in_time = self._leave(trial)
                    elif error is not None and is_doubtful(error):
                        doubts.add(trial, error)
                    else:
                        doubts.settle()
                        if not self._climbs(trial, future):
                            self._tell(trial, future)
                        elif in_time and may_start():
                            running[self._submit(trial)] = trial
                        else:
                            in_time = self._leave(trial)
        finally:
            for trial in (*running.values(), *[trial for trial, _ in doubts.held]):
                self.leases.give_back(_lease(trial))

    def _told(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=FINISHED)

    def _begun(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _failed_before(self) -> frozenset[int]:
        """Trials that an earlier call, here or elsewhere, failed with and left."""
        return frozenset(t.number for t in self._begun() if FIRST_ERROR in t.user_attrs)

    def _fill(
        self,
        running: dict[Future[JobResult], optuna.Trial],
        held: list[optuna.Trial],
        trials: int,
        may_start: Callable[[], bool],
    ) -> bool:
        """Adopt trials, then start new ones, while workers are free; False: time is up."""
        while len(running) < self.executor.workers:
            with self.leases.choosing():
                trial = self._adopt({t.number for t in (*running.values(), *held)})
                if trial is None:
                    begun = (*FINISHED, TrialState.RUNNING)
                    if len(self.study.get_trials(deepcopy=False, states=begun)) >= trials:
                        return True
                    if not may_start():
                        return False
                    trial = self.study.ask()
                    self.leases.take(_lease(trial))
                self._suggest(trial)
            running[self._submit(trial)] = trial
        return True

    def _adopt(self, mine: set[int]) -> optuna.Trial | None:
        """Take up a trial whose process is no more, if there is one."""
        for stale in self._begun():
            if stale.number in mine or not self.leases.take(_lease(stale)):
                continue
            now = self.study._storage.get_trial(stale._trial_id)
            if now.state == TrialState.RUNNING:
                return optuna.Trial(self.study, stale._trial_id)
            self.leases.give_back(_lease(stale))  # its process had finished it
        return None

    def _hear(self) -> None:
        """Pass on what other processes told the study."""
        for trial in self._told():
            self._pass_on(trial)

    def _pass_on(self, trial: FrozenTrial) -> None:
        if trial.number not in self.heard:
            self.heard.add(trial.number)
            if self.on_result:
                self.on_result(trial)

    def _suggest(self, trial: optuna.Trial) -> None:
        """Suggest what the trial has not been told yet: all, when it is new."""
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

    def _submit(self, trial: optuna.Trial) -> Future[JobResult]:
        """Train a trial, at the rung that it has reached."""
        rung = 0 if self.rungs is None else self.rungs.reached(trial.user_attrs)
        job = self.make_job(trial.number, self.space.architecture(trial.params), rung)
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

    def _leave(self, trial: optuna.Trial) -> bool:
        """Let a trial that time is up for stay RUNNING, to be adopted; return False."""
        self.leases.give_back(_lease(trial))
        return False

    def _tell(self, trial: optuna.Trial, future: Future[JobResult]) -> None:
        """Tell what a trial was trained to, or that it failed for its own sake."""
        error = future.exception()
        values = error or self._values(trial, future.result())
        if isinstance(values, BaseException):
            self._fail(trial, values)
            return
        told = self.study.tell(trial, self._note(trial, future.result(), values))
        self.leases.give_back(_lease(trial))
        self._pass_on(told)

    def _fail(self, trial: optuna.Trial, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        trial.set_user_attr("error", masked(text[-4000:]))
        told = self.study.tell(trial, state=TrialState.FAIL)
        logger.warning("Trial %d failed: %s", trial.number, error)
        self.leases.give_back(_lease(trial))
        self._pass_on(told)

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


def _lease(trial: optuna.Trial | FrozenTrial) -> str:
    return f"{trial.number:04d}"
