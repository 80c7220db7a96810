"""A study that others write, read without any chance of changing it."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Container

from optuna.storages import RDBStorage, _CachedStorage
from optuna.trial import FrozenTrial, TrialState

from moenas.nas.study_file import sqlite_url
from moenas.runs import RunFolder


class ReadOnlyStorage(_CachedStorage):
    """A run's study from a file that SQLite opens to read: every write is an error.

    Finished trials are read once, so that looking again is cheap, also for the search: SQLite lets
    nobody write while someone reads.

    Trials carry their constraints in Optuna's old form, too, which optuna-dashboard 0.21 reads: it
    does not know the form of Optuna 5, and would show infeasible trials as feasible ones.

    Args:
        run: Its folder; the study must exist.
    """

    def __init__(self, run: RunFolder) -> None:
        uri = f"{run.study.resolve().as_uri()}?mode=ro"

        def connect() -> sqlite3.Connection:
            return sqlite3.connect(uri, uri=True, check_same_thread=False)

        super().__init__(RDBStorage(sqlite_url(run.study), engine_kwargs={"creator": connect}))

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        """Return the trials of the study."""
        return [_with_old_form(t) for t in super().get_all_trials(study_id, deepcopy, states)]


def _with_old_form(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.system_attrs = {**trial.system_attrs, "constraints": list(trial.constraints.values())}
    return shown
