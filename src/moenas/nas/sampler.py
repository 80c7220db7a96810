"""The Optuna sampler of the search: many objectives, few evaluations, a free constraint."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from moenas.errors import ConfigError, SearchError
from moenas.nas.candidates import ENUMERABLE, all_feasible, neighbours, spread, unseen
from moenas.nas.encoding import Grid, Rows
from moenas.nas.feasibility import Constraint, Feasibility
from moenas.nas.observations import RESERVED, History, Observations, read_history
from moenas.nas.paper import PaperProposer
from moenas.nas.proposal import MixtureProposer
from moenas.registry import Registry

ENOUGH = 8  # completed trials that a surrogate needs, unless ``initial`` is smaller
DESIGNS = 8  # candidates of a space-filling point; with many, the corners alone would win
FIT, POOL, DRAW, DESIGN, EXTRA = range(5)  # independent streams of random numbers


class Proposer(Protocol):
    """A fitted model of the objectives that makes a pool of candidates and chooses from it."""

    def pool(self, rng: np.random.Generator) -> Rows:
        """Return feasible candidate rows [n, D], the most promising first."""

    def rank(self, X: Rows) -> Rows:
        """Return rows [n, D] in the same order."""

    def choose(self, pool: Rows, pending: Rows, rng: np.random.Generator) -> int:
        """Return the index of the best one of a ranked pool, given the points under evaluation."""


class ProposerFactory(Protocol):
    """Builds a proposer from observations (two or more)."""

    def __call__(
        self, data: Observations, space: Feasibility, rng: np.random.Generator
    ) -> Proposer:
        """Fit the model."""


PRESETS: Registry[ProposerFactory] = Registry("sampler preset")
PRESETS.add("mixture", MixtureProposer)
PRESETS.add("paper", PaperProposer)


class MoENASSampler(BaseSampler):
    """Model-based sampler for integer and categorical parameters and one to five objectives.

    The first ``initial`` points fill the space; then surrogates are fitted to the completed trials
    and the candidate with the largest expected hypervolume improvement is suggested, given what
    the surrogates expect of the trials that still run. Points that were tried, run or wait are
    never suggested again, failed ones neither, and no point that breaks the constraint. Trials
    that report constraints (``trial.set_constraint``) above zero don't count for the front, and
    the chance of meeting them is learnt.

    The study's storage is the only state: the random numbers come from the seed and the trial's
    number, so a restarted process and one that never stopped suggest the same, and any number of
    workers can share a study. Floats work too, on 1,001 levels. Parameters that not every trial
    has (define-by-run branches) are drawn at random, as in Optuna's own samplers; those that all
    have are then suggested again where nothing new is left of them.

    Args:
        seed: Seed of everything random, >= 0.
        preset: ``"mixture"`` (default) or ``"paper"``, the reading of the paper's text: one
            XGBoost model an objective, an evolved population, its predicted front.
        constraint: Maps the parameter dict to a violation, <= 0 is feasible. It must be pure and
            cheap; an object with a method ``many(columns) -> violations [n]`` is much faster.
        initial: Space-filling points before the model takes over, >= 1.
        batch: Suggestions that share one pool and one set of posterior draws, >= 1: as many as run
            at the same time.
        search_space: The parameters' distributions. When left out they are taken from the study's
            trials; until one has shown them, each parameter is drawn alone (its lowest value or
            first choice, if there is a constraint). Give it when several workers start at once.
        repeats: What to do when every feasible point has been tried: suggest the points again
            (True; useful when evaluations are noisy) or raise (False).

    Raises:
        ConfigError: An argument is out of range.
        SearchError: While sampling: no point meets the constraint, or none is left.
    """

    def __init__(
        self,
        seed: int = 0,
        preset: str = "mixture",
        constraint: Constraint | None = None,
        initial: int = 24,
        batch: int = 8,
        *,
        search_space: Mapping[str, BaseDistribution] | None = None,
        repeats: bool = False,
    ) -> None:
        if constraint is not None and not callable(constraint):
            raise ConfigError("The sampler's 'constraint' must be a function of the parameters.")
        for name, value, least in (("seed", seed, 0), ("initial", initial, 1), ("batch", batch, 1)):
            if value < least:
                raise ConfigError(f"The sampler's '{name}' is {value}; it must be >= {least}.")
        self._seed = seed
        self._preset = preset
        self._build = PRESETS[preset]
        self._constraint = constraint
        self._initial = initial
        self._batch = batch
        self._search_space = None if search_space is None else dict(search_space)
        self._repeats = repeats
        # Nothing below is state: all of it is recomputed from the storage when it is not there.
        self._space: Feasibility | None = None
        self._fitted: tuple[object, Proposer] | None = None
        self._pooled: tuple[object, Rows] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_space": None, "_fitted": None, "_pooled": None}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the given space, or what the study's trials have in common."""
        if self._search_space is not None:
            return dict(self._search_space)
        trials = study.get_trials(deepcopy=False)
        space = intersection_search_space(trials)
        if not space:  # nothing completed yet: running trials know the space, too
            shown = [t for t in trials if t.distributions and t.number != trial.number]
            if shown and not any(t.state == TrialState.COMPLETE for t in trials):
                space = max((t.distributions for t in shown), key=len)
        return {name: space[name] for name in sorted(space, key=_natural)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Suggest the parameters of the search space together."""
        if search_space.keys() <= trial.params.keys():  # none, or adopted: it was suggested once
            return {}
        space = self._feasibility(search_space)
        fixed = trial.system_attrs.get("fixed_params", {})
        params: dict[str, Any] = {}
        refused: set[bytes] = set()
        reserved = space.grid.encode(trial.system_attrs.get(RESERVED, {}))
        while True:
            trials = study.get_trials(deepcopy=False)
            history = read_history(trials, study.directions, space.grid, trial.number)
            if reserved is not None:  # taken up from a process that died before it asked for all
                mine, reserved = np.array(reserved, dtype=np.int64), None
                if mine.tobytes() not in history.tried:
                    return space.grid.decode(mine)
            # Beside parameters that are drawn elsewhere, equal ones are not the same point again.
            again = self._repeats or any(t.params.keys() - search_space.keys() for t in trials)
            row = self._suggest(space, history, trial.number, fixed, refused, again)
            if params and row.tobytes() in refused:  # repeats allowed and nothing new is left
                return params
            params = space.grid.decode(row)
            finished = {t.number for t in trials if t.state.is_finished()}
            # Other workers learn of the point before it is asked for, parameter by parameter ...
            study._storage.set_trial_system_attr(trial._trial_id, RESERVED, params)
            # ... and a point that another one reserved meanwhile is given up. Those that were
            # finished have not changed: few of a long study are to be looked at again.
            later = [t for t in study.get_trials(deepcopy=False) if t.number not in finished]
            tried = read_history(later, study.directions, space.grid, trial.number).tried
            if row.tobytes() not in tried - history.tried:
                return params
            refused.add(row.tobytes())

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw one parameter at random, whatever the others are."""
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        if self._constraint is not None and not any(t.distributions for t in others):
            return Grid({param_name: param_distribution}).values[0][0]
        key = [self._seed, trial.number, zlib.crc32(param_name.encode())]
        seed = int(np.random.SeedSequence(key).generate_state(1)[0])
        random = RandomSampler(seed=seed)
        return random.sample_independent(study, trial, param_name, param_distribution)

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, stream, number])

    def _feasibility(self, search_space: dict[str, BaseDistribution]) -> Feasibility:
        space = self._space
        if space is None or space.grid.distributions != search_space:
            space = self._space = Feasibility(Grid(search_space), self._constraint)
        return space

    def _suggest(
        self,
        space: Feasibility,
        history: History,
        number: int,
        fixed: Mapping[str, Any],
        refused: set[bytes],
        again: bool,
    ) -> Rows:
        """Return the row [D] for a trial; ``again``: one that was tried where no other is left."""
        tried = history.tried | refused
        known = len(history.data.X) + len(history.pending)
        few = known < self._initial or len(history.data.X) < min(self._initial, ENOUGH)
        if few:
            rng = self._rng(DESIGN, number)
            pool = space.sample_around(_van_der_corput(number + 1), DESIGNS, rng)
        else:
            pool = self._pool(space, history.data, number)
        pool = self._new(space, _with_fixed(space.grid, pool, fixed), tried)
        last = not len(pool)
        if last:
            pool = self._last_resort(space, tried, fixed, number, again)
        if few:
            points = np.concatenate([history.data.X, history.pending])
            return np.asarray(pool[spread(space.grid.features(pool), space.grid.features(points))])
        proposer = self._proposer(space, history.data)
        if last:
            pool = proposer.rank(np.unique(pool, axis=0))
        rng = self._rng(DRAW, number // self._batch)
        return np.asarray(pool[proposer.choose(pool, history.pending, rng)])

    def _proposer(self, space: Feasibility, data: Observations) -> Proposer:
        key = (space, data.key())
        fitted = self._fitted
        if fitted is None or fitted[0] != key:
            fitted = self._fitted = (key, self._build(data, space, self._rng(FIT, 0)))
        return fitted[1]

    def _pool(self, space: Feasibility, data: Observations, number: int) -> Rows:
        key = (space, data.key(), number // self._batch)
        pooled = self._pooled
        if pooled is None or pooled[0] != key:
            rng = self._rng(POOL, number // self._batch)
            pooled = self._pooled = (key, self._proposer(space, data).pool(rng))
        return pooled[1]

    def _new(self, space: Feasibility, pool: Rows, tried: set[bytes]) -> Rows:
        pool = unseen(pool, tried)
        return pool[space(pool)]

    def _last_resort(
        self,
        space: Feasibility,
        tried: set[bytes],
        fixed: Mapping[str, Any],
        number: int,
        again: bool,
    ) -> Rows:
        """Return feasible rows when the usual pool has nothing new: the space is nearly empty."""
        grid = space.grid
        if grid.count <= ENUMERABLE:
            everything = all_feasible(space)
        else:
            rng = self._rng(EXTRA, number)
            known = np.array([np.frombuffer(t, dtype=np.int64) for t in sorted(tried)])
            known = known.reshape(-1, len(grid.names))
            everything = np.concatenate(
                [space.anchor()[None], space.sample(4096, rng), neighbours(known, grid)]
            )
        everything = _with_fixed(grid, everything, fixed)
        pool = self._new(space, everything, tried)
        if len(pool):
            return pool
        if again:
            pool = self._new(space, everything, set())
            if len(pool):  # shuffled: all of them are equally near to what was tried
                return np.asarray(self._rng(EXTRA, number).permutation(pool))
        space.anchor()  # raises when nothing is feasible at all
        raise SearchError(
            f"Every feasible point that could be found ({len(tried)} tried) has been suggested: "
            "the space is exhausted. Stop here, loosen the constraint, or use repeats=True."
        )


def _with_fixed(grid: Grid, pool: Rows, fixed: Mapping[str, Any]) -> Rows:
    """Return the pool with an enqueued trial's fixed parameters put in."""
    names = [name for name in grid.names if name in fixed]
    if not names:
        return pool
    row = grid.encode(grid.decode(np.zeros_like(grid.sizes)) | {n: fixed[n] for n in names})
    if row is None:
        return pool
    pool = pool.copy()
    for name in names:
        d = grid.names.index(name)
        pool[:, d] = row[d]
    return pool


def _van_der_corput(k: int) -> float:
    """Return number k >= 1 of the sequence 1/2, 1/4, 3/4, 1/8, ...: evenly spread at any length."""
    return int(f"{k:b}"[::-1], 2) / 2.0 ** k.bit_length()


def _natural(name: str) -> tuple[str, int]:
    """Sort e2 before e10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or -1)
