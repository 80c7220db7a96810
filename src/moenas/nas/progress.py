"""How far a search is: what the terminal shows while it runs, computed from trial to trial."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from moenas.nas.jobs import TrialJob
from moenas.nas.live_front import LiveFront
from moenas.nas.observations import signs
from moenas.nas.rungs import FULL_LENGTH
from moenas.nas.study import is_feasible
from moenas.runs import ModelFolder
from moenas.training.job import TrainingJob


@dataclasses.dataclass(frozen=True)
class Result:
    """A finished trial.

    Attributes:
        number: Of the trial.
        architecture: Its id.
        values: Of the objectives, as measured; none when it failed or was stopped early.
        feasible: Whether it meets all constraints.
        on_front: Whether no trial before it was better in everything.
        stopped: Whether it was stopped after a short training (see `Rungs`).
    """

    number: int
    architecture: str
    values: tuple[float, ...]
    feasible: bool = False
    on_front: bool = False
    stopped: bool = False


@dataclasses.dataclass(frozen=True)
class Running:
    """A trial at work: its architecture's id, its folder, epochs it will have (0: no training)."""

    architecture: str
    folder: ModelFolder
    epochs: int

    def epochs_done(self) -> int:
        """Count the epochs in its history."""
        try:
            return self.folder.history.read_bytes().count(b"\n")
        except OSError:  # not begun
            return 0


class SearchProgress:
    """The state of a search; `start` and `finish` keep it up to date, at a small, constant cost.

    Everything in it is replaced, never changed in place: another thread may read it.

    Args:
        objectives: Their names.
        directions: Theirs, in this order.
        total: How many trials there will be.
        workers: Trainings at once.
    """

    def __init__(
        self,
        objectives: tuple[str, ...],
        directions: list[StudyDirection],
        total: int,
        workers: int = 1,
    ) -> None:
        self.objectives = objectives
        self.total = total
        self.workers = workers
        self.front = LiveFront(len(objectives))
        self.failed = 0
        self.stopped = 0
        self.best: tuple[Result | None, ...] = (None,) * len(objectives)
        self.last: Result | None = None
        self.running: dict[int, Running] = {}
        self._signs = signs(directions)
        self._best = np.full(len(objectives), -np.inf)
        self._started = self._changed = time.monotonic()
        self._seconds = 0.0

    @classmethod
    def of(
        cls,
        study: optuna.Study,
        objectives: tuple[str, ...],
        total: int,
        workers: int = 1,
        on_result: Callable[[SearchProgress, FrozenTrial], None] | None = None,
    ) -> SearchProgress:
        """The progress of a study that may have trials already.

        Args:
            study: The study.
            objectives: See the class.
            total: See the class.
            workers: See the class.
            on_result: Called after each of them, with the progress up to it.
        """
        progress = cls(objectives, study.directions, total, workers)
        finished = (TrialState.COMPLETE, TrialState.FAIL)
        trials = study.get_trials(deepcopy=False, states=finished)
        for trial in sorted(trials, key=lambda t: (t.datetime_complete, t.number)):
            progress.finish(trial)
            if on_result:
                on_result(progress, trial)
        return progress

    @property
    def done(self) -> int:
        """Finished trials, failed and stopped ones included."""
        return self.front.count + self.failed + self.stopped

    @property
    def infeasible(self) -> int:
        """Complete trials that break a constraint."""
        return self.front.count - self.front.feasible

    @property
    def elapsed(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Seconds to the last trial, if all take what those before took; None: none is finished."""
        trained = self.front.count + self.stopped
        if not trained:
            return None
        trials = max(self.total - self.done, 0)
        since = time.monotonic() - self._changed
        return max(trials * self._seconds / trained / self.workers - since, 0.0)

    def start(self, number: int, job: TrialJob) -> None:
        """Note that a trial is being trained, or looked at."""
        epochs = int(np.ceil(job.scheme.epochs)) if isinstance(job, TrainingJob) else 0
        begun = Running(job.architecture, ModelFolder(Path(job.folder)), epochs)
        self.running = {**self.running, number: begun}

    def finish(self, trial: FrozenTrial) -> None:
        """Note a trial that is complete or failed."""
        self._changed = time.monotonic()
        self.running = {k: v for k, v in self.running.items() if k != trial.number}
        architecture = str(trial.user_attrs.get("architecture", ""))
        if trial.state != TrialState.COMPLETE:
            self.failed += 1
            self.last = Result(trial.number, architecture, ())
            return
        self._seconds += trial.user_attrs.get("seconds", 0.0)
        if FULL_LENGTH in trial.constraints:  # its values are guesses, for the sampler alone
            self.stopped += 1
            self.last = Result(trial.number, architecture, (), stopped=True)
            return
        values, feasible = self._signs * np.array(trial.values), is_feasible(trial)
        joins = self.front.add(values, feasible)
        self.last = Result(trial.number, architecture, tuple(trial.values), feasible, joins)
        if feasible:
            better = values > self._best
            self._best = np.maximum(values, self._best)
            pairs = zip(better, self.best, strict=True)
            self.best = tuple(self.last if new else old for new, old in pairs)
