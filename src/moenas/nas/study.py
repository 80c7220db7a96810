"""The study: opened or created, its sampler, and what its trials say."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from moenas.errors import RunFolderError
from moenas.models.architecture import Architecture
from moenas.nas.driver import StudyDriver
from moenas.nas.objectives import OBJECTIVES
from moenas.nas.observations import signs
from moenas.nas.sampler import MoENASSampler
from moenas.nas.space import BASE, SearchSpace
from moenas.nas.storage import STUDY_NAME, SharedStorage, shared_study, whereabouts
from moenas.nas.study_file import STORAGE, VALUES, check_file, sqlite_url, study_errors
from moenas.runs import RunFolder

__all__ = [
    "STUDY_NAME",
    "StudyDriver",
    "architecture_of",
    "enqueue_dense",
    "is_feasible",
    "make_sampler",
    "maximised",
    "open_recorded_study",
    "open_study",
]


def open_study(
    run: RunFolder,
    objectives: tuple[str, ...],
    sampler: optuna.samplers.BaseSampler,
    shared: SharedStorage | None = None,
) -> optuna.Study:
    """Open the run's study, or create it.

    Args:
        run: Its folder.
        objectives: Names.
        sampler: Of the study.
        shared: Where it is; None: in the run folder.

    Raises:
        RunFolderError: The study file is damaged, of other objectives, or somewhere else.
        SearchError: The shared storage does not work.
    """
    place: tuple[Any, str] = (sqlite_url(run.study), STUDY_NAME)
    if shared is not None:
        place = shared_study(run, shared)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection[OBJECTIVES[name].direction.upper()] for name in objectives]
    told = study_errors(run, "opened", STORAGE + VALUES) if shared is None else shared.explained()
    with told:
        if shared is None:
            check_file(run)
        study = optuna.create_study(
            storage=place[0],
            study_name=place[1],
            sampler=sampler,
            directions=directions,
            load_if_exists=True,
        )
        with warnings.catch_warnings():  # experimental since 2023
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_user_attr("objectives", list(objectives))
            study.set_metric_names(list(objectives))  # what plots of the study call its axes
        study.get_trials()  # all that is there can be read
    return study


def enqueue_dense(study: optuna.Study, space: SearchSpace) -> None:
    """Make the dense models the first trials; those that are there already stay as they are."""
    params = space.encode(Architecture.dense_base(space.base).experts)
    for name in space.bases:
        wanted = params | ({BASE: name} if space.wider else {})
        study.enqueue_trial(wanted, skip_if_exists=True)  # a kill may come between two of them


def open_recorded_study(run: RunFolder) -> optuna.Study:
    """Open the study of a run that exists, to read it.

    Raises:
        RunFolderError: There is none, or it is damaged.
    """
    if not run.study.exists() and run.storage.exists():
        raise RunFolderError(
            f"The study of '{run.path}' is in '{whereabouts(run).storage}' until its trials are "
            "finished."
        )
    if not run.study.exists():
        raise RunFolderError(
            f"'{run.path}' has no study.db: only a search has one, and it is made when the dense "
            "parents are trained."
        )
    with study_errors(run, "read", STORAGE + VALUES):
        check_file(run)
        study = optuna.load_study(study_name=STUDY_NAME, storage=sqlite_url(run.study))
        study.get_trials()
    return study


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
