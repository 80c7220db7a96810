"""Failed trials of which it is in doubt whose fault it was: the architecture's or the machine's.

A machine in trouble (its GPU lost, its memory taken, the images gone) fails every trial within
seconds: told at once, a whole study would be FAILED for it. An architecture that is too large for
the machine kills its worker in the same way, and must not end a search, for it would do so again
each time. So such a trial is held until a later one is trained, which shows that the machine works:
then it is FAILED. Where none is trained in between, the search stops, and those that it holds stay
RUNNING: the same command tries them again, and what fails in a later call, too, is FAILED. Where
several processes share a study, one in trouble leaves what it holds to the others, which may be in
the same trouble: what failed there while they worked is for them a first failure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import optuna

from moenas.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingDependencyError,
    MoENASError,
    SearchError,
)
from moenas.execution.executor import WorkerDiedError
from moenas.masking import masked

IN_A_ROW = 3
"""Failures after which a search stops. One architecture in many kills its worker, two such may be
neighbours; that three are, and nothing between them is trained, is the machine's fault."""

SHARED = (WorkerDiedError, DataError, CheckpointError, ConfigError, MissingDependencyError)
"""Our errors that tell of what all trials share: machine, images, parents, settings, packages."""

FIRST_ERROR = "first_error"
"""Trial user attribute: what a trial failed with that is, or was, tried again."""


def is_doubtful(error: BaseException) -> bool:
    """Whether a trial's error may say nothing of its architecture."""
    return isinstance(error, SHARED) or not isinstance(error, MoENASError)


@dataclasses.dataclass
class Doubts:
    """The failures since the last trial that was trained.

    Attributes:
        fail: Tells the study that a trial failed.
        again: Numbers of the trials that an earlier call had failed with and left.
        held: Trials that are not told yet, with their errors.
        in_a_row: Number of failures, told ones included.
    """

    fail: Callable[[optuna.Trial, BaseException], None]
    again: frozenset[int] = frozenset()
    held: list[tuple[optuna.Trial, BaseException]] = dataclasses.field(default_factory=list)
    in_a_row: int = 0

    def add(self, trial: optuna.Trial, error: BaseException) -> None:
        """Hold a trial; fail it when it is one that an earlier call had held.

        Raises:
            SearchError: Too many failed in a row.
        """
        self.in_a_row += 1
        what = _in_a_line(error)
        if trial.number in self.again:
            self.fail(trial, error)
        else:
            trial.set_user_attr(FIRST_ERROR, what)
            self.held.append((trial, error))
        if self.in_a_row == IN_A_ROW:
            raise SearchError(
                f"{IN_A_ROW} trials in a row failed, which is rarely their architectures' fault; "
                f"the last one, {trial.number}, with: {what} Mend what it names and run the same "
                "command again: what was finished is kept, and those that failed for the first "
                "time are tried once more."
            )

    def leave(self) -> None:
        """End a search that has nothing left to try while other processes still train.

        Raises:
            SearchError: Always; those that are held are the others' to try.
        """
        trial, error = self.held[-1]
        raise SearchError(
            f"Trial {trial.number} failed here with: {_in_a_line(error)} It is left to the other "
            "processes of this search, whose machines may do better; if they don't, run the same "
            "command again."
        )

    def settle(self) -> None:
        """Fail all that are held: a trial was trained since, or there is none left to try."""
        self.in_a_row = 0
        while self.held:
            self.fail(*self.held.pop(0))


def _in_a_line(error: BaseException) -> str:
    text = masked(str(error)).strip().partition("\n")[0]
    text = text if isinstance(error, MoENASError) else f"{type(error).__name__}: {text}"
    return text if text.endswith(".") else f"{text}."
