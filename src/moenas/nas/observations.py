"""What a study knows, as arrays: results, points under evaluation, points never to repeat."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from moenas.nas.encoding import Grid, Rows

RESERVED = "moenas:params"  # trial system attribute: what was suggested, before it is all asked for


@dataclasses.dataclass(frozen=True)
class Observations:
    """Finished evaluations: rows [n, D], maximised values [n, M], violations [n, K], K >= 0."""

    X: Rows
    Y: NDArray[np.float64]
    C: NDArray[np.float64]

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Which rows met all measured constraints, bool [n]."""
        return np.asarray((self.C <= 0).all(axis=1))

    def key(self) -> tuple[bytes, ...]:
        """Return a value that differs whenever the observations do."""
        shape = np.array([*self.Y.shape, self.C.shape[1]])
        return tuple(a.tobytes() for a in (shape, self.X, self.Y, self.C))


@dataclasses.dataclass(frozen=True)
class History:
    """A study, read for one grid.

    Attributes:
        data: The completed trials.
        pending: Rows of the running and enqueued trials, [p, D].
        tried: Every row that must not be suggested again, failed ones included.
    """

    data: Observations
    pending: Rows
    tried: set[bytes]


def read_history(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], grid: Grid, current: int
) -> History:
    """Read the trials of a study; those that are no points of the grid are left out.

    Args:
        trials: All trials.
        directions: One an objective; values to minimise change their sign.
        grid: The space.
        current: Number of the trial that is being sampled, which is no history.
    """
    rows: list[tuple[int, ...]] = []
    values: list[Sequence[float]] = []
    violations: list[Mapping[str, float]] = []
    pending: list[tuple[int, ...]] = []
    tried: list[tuple[int, ...]] = []
    for trial in trials:
        row = None if trial.number == current else grid.encode(suggested(trial))
        if row is None:
            continue
        tried.append(row)
        if trial.state == TrialState.COMPLETE:
            rows.append(row)
            values.append(trial.values)
            violations.append(trial.constraints)
        elif not trial.state.is_finished():
            pending.append(row)
    sign = signs(directions)
    D = len(grid.names)
    data = Observations(
        X=np.array(rows, dtype=np.int64).reshape(-1, D),
        Y=_bounded(np.array(values, dtype=np.float64).reshape(-1, len(sign)) * sign),
        C=_violations(violations),
    )
    everything = np.array(tried, dtype=np.int64).reshape(-1, D)
    return History(
        data, np.array(pending, dtype=np.int64).reshape(-1, D), {r.tobytes() for r in everything}
    )


def signs(directions: Sequence[StudyDirection]) -> NDArray[np.float64]:
    """Return what values are multiplied with to be maximised: 1 or -1 for each objective."""
    return np.array([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions])


def suggested(trial: FrozenTrial) -> dict[str, Any]:
    """Return a trial's parameters, of an unfinished one also those that it will ask for."""
    if trial.state.is_finished():
        return trial.params
    attributes = trial.system_attrs
    reserved = attributes.get(RESERVED, {})
    return {**reserved, **attributes.get("fixed_params", {}), **trial.params}


def _bounded(Y: NDArray[np.float64], *known: float) -> NDArray[np.float64]:
    """Replace infinite values by ones beyond the finite, and the known, ones of their column."""
    for m in range(Y.shape[1]):
        finite = np.append(Y[np.isfinite(Y[:, m]), m], known)
        if not np.isinf(Y[:, m]).any():
            continue
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
        beyond = high - low or 1.0  # where nothing differs: so that these do
        Y[:, m] = np.nan_to_num(Y[:, m], nan=np.nan, posinf=high + beyond, neginf=low - beyond)
    return Y


def _violations(violations: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """Return [n, K] of all constraints by name; one that a trial did not report counts as met."""
    names = sorted({name for values in violations for name in values})
    C = np.array([[v.get(name, np.nan) for name in names] for v in violations], dtype=np.float64)
    # Zero is between those that are met and those that are not: infinite ones stay on their side.
    C = _bounded(C.reshape(len(violations), len(names)), 0.0)
    for k in range(C.shape[1]):
        known = C[~np.isnan(C[:, k]), k]
        met = known[known <= 0]
        C[np.isnan(C[:, k]), k] = np.median(met) if len(met) else 0.0
    return C
