"""What the sampler is compared with: Optuna's samplers, MO-BANANAS' idea, BoTorch's qLogNEHVI.

Optuna's samplers cannot take a free constraint: what they suggest beyond the size limit is told to
them, with values and violation, and not counted. The two others are given the limit, as ours is.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import moocore
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from landscapes import DENSE, LAYERS, LIMIT, PER_EXPERT, Landscape, Rows, Values
from moenas.nas.sampler import MoENASSampler

INITIAL = 24
Space = dict[str, BaseDistribution]


def space_of(landscape: Landscape) -> Space:
    """Return a landscape's parameters, in the order of its columns."""
    space: Space = {
        f"e{layer + 1}": IntDistribution(int(landscape.low[layer]), int(landscape.high[layer]))
        for layer in range(LAYERS)
    }
    for column in range(LAYERS, len(landscape.low)):
        choices = range(int(landscape.low[column]), int(landscape.high[column]) + 1)
        space[f"choice{column}"] = CategoricalDistribution(list(choices))
    return space


class SizeLimit:
    """A landscape's size limit as our sampler takes it."""

    def __init__(self, landscape: Landscape) -> None:
        self._landscape, self._names = landscape, list(space_of(landscape))

    def __call__(self, params: dict[str, Any]) -> float:
        """Return by how many million parameters one point is too large."""
        return float(self._landscape.size(np.array([[params[n] for n in self._names]]))[0] - LIMIT)

    def many(self, columns: Mapping[str, Any]) -> Any:
        """Return the same for many points."""
        X = np.stack([columns[n].astype(np.int64) for n in self._names], axis=1)
        return self._landscape.size(X) - LIMIT


class BatchSampler(BaseSampler):
    """Random feasible points first, then batches computed from all that was evaluated."""

    def __init__(self, landscape: Landscape, seed: int, batch: int) -> None:
        self.landscape, self.batch = landscape, batch
        self.rng = np.random.default_rng([seed, 99])
        self._space = space_of(landscape)
        self._queue: list[Any] = []

    def infer_relative_search_space(self, study: Any, trial: Any) -> Space:
        """Return the landscape's space."""
        return self._space

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
        """Return the next point of the batch."""
        if not self._queue:
            done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
            if len(done) < INITIAL:
                rows = self.landscape.random_feasible(self.batch, self.rng)
            else:
                X = np.array([[t.params[n] for n in self._space] for t in done])
                rows = self.propose(X, np.array([t.values for t in done]))
            self._queue = rows.tolist()
        return dict(zip(self._space, self._queue.pop(0), strict=True))

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        """Not needed: all parameters are sampled together."""
        raise NotImplementedError

    @abstractmethod
    def propose(self, X: Rows, Y: Values) -> Rows:
        """Return the next batch [b, D] after points [n, D] with maximised values [n, 4]."""


class Bananas(BatchSampler):
    """MO-BANANAS' idea (White et al. 2021, as in archai), compactly.

    Five networks predict the objectives; candidates are mutants of the observed front and random
    points; each objective of a candidate is drawn on its own from the networks' mean and spread
    (independent Thompson sampling), and the batch is NSGA-II's best of the draws.
    """

    NETWORKS, HIDDEN, STEPS, MUTANTS = 5, 64, 200, 400

    def propose(self, X: Rows, Y: Values) -> Rows:
        """See `BatchSampler.propose`."""
        front = X[moocore.is_nondominated(Y, maximise=True)]
        low, high = self.landscape.low, self.landscape.high
        mutants = front[self.rng.integers(0, len(front), self.MUTANTS)]
        step = self.rng.choice([-2, -1, 1, 2], mutants.shape)
        hit = self.rng.random(mutants.shape) < 1.5 / X.shape[1]
        mutants = np.clip(np.where(hit, mutants + step, mutants), low, high)
        pool = np.concatenate([mutants, self.landscape.random_feasible(100, self.rng)])
        pool = np.unique(pool[self.landscape.feasible(pool)], axis=0)
        pool = pool[~(pool[:, None] == X[None]).all(axis=2).any(axis=1)]
        predicted = self._predict(X, Y, pool)
        drawn = self.rng.normal(predicted.mean(0), predicted.std(0, ddof=1))
        rank = np.asarray(moocore.pareto_rank(drawn, maximise=True))
        order = np.lexsort((self.rng.random(len(pool)), rank))
        return pool[order[: self.batch]]

    def _predict(self, X: Rows, Y: Values, pool: Rows) -> Values:
        import torch

        def features(rows: Rows) -> torch.Tensor:
            F = (rows - self.landscape.low) / (self.landscape.high - self.landscape.low)
            return torch.tensor(2 * F - 1, dtype=torch.float32)

        draw = torch.Generator().manual_seed(int(self.rng.integers(2**31)))
        sizes = [X.shape[1], self.HIDDEN, self.HIDDEN, Y.shape[1]]
        weights = [
            (torch.randn(self.NETWORKS, a, b, generator=draw) * (2 / a) ** 0.5).requires_grad_()
            for a, b in pairwise(sizes)
        ]
        biases = [torch.zeros(self.NETWORKS, 1, b, requires_grad=True) for b in sizes[1:]]

        def networks(F: torch.Tensor) -> torch.Tensor:
            h = F.expand(self.NETWORKS, *F.shape)
            for k, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
                h = torch.baddbmm(bias, h.relu() if k else h, weight)
            return h

        target = torch.tensor((Y - Y.mean(0)) / (Y.std(0) + 1e-9), dtype=torch.float32)
        inputs = features(X)
        optimiser = torch.optim.Adam([*weights, *biases], lr=0.01, weight_decay=1e-4)
        for _ in range(self.STEPS):
            optimiser.zero_grad()
            ((networks(inputs) - target) ** 2).mean().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            return networks(features(pool)).double().numpy()


class QLogNEHVI(BatchSampler):
    """BoTorch's qLogNoisyExpectedHypervolumeImprovement over the integers.

    One GP an objective with BoTorch's defaults (ARD kernel, dimension-scaled priors, normalised
    inputs, standardised outputs), greedy batches by discrete local search within the limit. Only
    for landscapes without a choice: their size is linear.
    """

    DRAWS = 32

    def propose(self, X: Rows, Y: Values) -> Rows:
        """See `BatchSampler.propose`."""
        import torch
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from botorch.models.transforms import Normalize, Standardize
        from botorch.optim import optimize_acqf_discrete_local_search
        from botorch.sampling import SobolQMCNormalSampler
        from gpytorch.mlls import SumMarginalLogLikelihood

        seed = int(self.rng.integers(2**31))
        torch.manual_seed(seed)
        D, M = X.shape[1], Y.shape[1]
        rows, values = torch.tensor(X, dtype=torch.float64), torch.tensor(Y)
        bounds = torch.tensor(np.stack([self.landscape.low, self.landscape.high])).double()
        model = ModelListGP(
            *[
                SingleTaskGP(
                    rows,
                    values[:, m : m + 1],
                    input_transform=Normalize(D, bounds=bounds),
                    outcome_transform=Standardize(1),
                )
                for m in range(M)
            ]
        )
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        front = values[torch.tensor(moocore.is_nondominated(Y, maximise=True))]
        worst, best = front.min(dim=0).values, front.max(dim=0).values
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            ref_point=worst - 0.1 * (best - worst),
            X_baseline=rows,
            prune_baseline=True,
            sampler=SobolQMCNormalSampler(torch.Size([self.DRAWS]), seed=seed),
            alpha=1e-2,
        )
        # DENSE + PER_EXPERT (x - 1) <= LIMIT, as "coefficients x >= bound"
        cost = torch.tensor(-PER_EXPERT)
        room = -(LIMIT - DENSE + float(PER_EXPERT.sum()))
        levels = [torch.arange(a, b + 1).double() for a, b in bounds.T.int().tolist()]
        with torch.no_grad():
            found, _ = optimize_acqf_discrete_local_search(
                acquisition,
                discrete_choices=levels,
                q=self.batch,
                num_restarts=4,
                raw_samples=128,
                inequality_constraints=[(torch.arange(D), cost, room)],
                X_avoid=rows,
            )
        return np.asarray(found.round().long().numpy())


def ours(preset: str) -> Callable[[Landscape, int, int], BaseSampler]:
    return lambda landscape, seed, batch: MoENASSampler(
        seed, preset, SizeLimit(landscape), INITIAL, batch, search_space=space_of(landscape)
    )


def tpe(*, multivariate: bool) -> Callable[[Landscape, int, int], BaseSampler]:
    return lambda _, seed, __: optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=INITIAL, multivariate=multivariate, constant_liar=True
    )


SAMPLERS: dict[str, Callable[[Landscape, int, int], BaseSampler]] = {
    "mixture": ours("mixture"),
    "paper": ours("paper"),
    "tpe": tpe(multivariate=False),
    "tpe-multivariate": tpe(multivariate=True),
    "nsga2": lambda _, s, __: optuna.samplers.NSGAIISampler(seed=s, population_size=INITIAL),
    "nsga3": lambda _, s, __: optuna.samplers.NSGAIIISampler(seed=s, population_size=INITIAL),
    "mo-bananas": Bananas,
    "qlognehvi": QLogNEHVI,
    "random": lambda _, seed, __: optuna.samplers.RandomSampler(seed=seed),
}
if importlib.util.find_spec("botorch") is None:
    del SAMPLERS["qlognehvi"]
