"""How should finalists be chosen from noisy trials: as measured, shrunk, or after replicates?

A search of 60 trials on each landscape, then one finalist of each size class in four ways:

raw          hypervolume contribution of the values as measured (what a search does)
shrunk       the same of the Gaussian process's means at the trials
expected     the mean contribution over 32 draws of the sampler's surrogates
replicated   raw values of 48 trials, and the other 12 evaluations repeat what would be chosen

Printed: the noise-free hypervolume of the three as a share of the reference front's, and by how
many standard deviations of an objective their estimates are too good.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from commit import commit
from families import FAMILIES
from landscapes import DENSE, LIMIT, Landscape, Rows, Values
from moenas.nas.encoding import Grid
from moenas.nas.finalists import size_limits
from moenas.nas.front import contributions
from moenas.nas.surrogates.anova import AnovaGP
from moenas.nas.surrogates.mixture import Mixture
from moenas.nas.surrogates.quadratic import QuadraticBLR
from moenas.nas.surrogates.xgb import XGBEnsemble
from peers import SAMPLERS, space_of
from sampler import search

TRIALS, REPLICATES, BATCH, DRAWS = 60, 12, 8, 32
WAYS = ("raw", "shrunk", "expected", "replicated")

Gain = Callable[[Any], Values]


def choose(landscape: Landscape, X: Rows, gain: Gain) -> list[int]:
    """Return the index of the best of each size class, as `choose_finalists` does.

    Args:
        landscape: Knows sizes.
        X: [n, D], evaluated.
        gain: From a mask of eligible points to their worth [n].
    """
    sizes = landscape.size(X)
    chosen: list[int] = []
    for limit in size_limits(int(1e6 * DENSE), int(1e6 * LIMIT)).values():
        eligible = 1e6 * sizes <= limit
        eligible[chosen] = False
        if eligible.any():
            chosen.append(int(np.where(eligible, gain(eligible), -1.0).argmax()))
    return chosen


def measured(Y: Values) -> Gain:
    return lambda eligible: contributions(Y, eligible)


def ways(landscape: Landscape, X: Rows, Y: Values) -> dict[str, tuple[list[int], Values]]:
    """Return who is chosen in each way and what is believed of all trials."""
    space = space_of(landscape)
    grid = Grid(space)
    rows = [grid.encode(dict(zip(space, x, strict=True))) for x in X.tolist()]
    F, groups = grid.features(np.array(rows)), grid.feature_groups()
    rng = np.random.default_rng(0)
    process = AnovaGP(groups)
    process.fit(F, Y, rng)
    mixture = Mixture((XGBEnsemble(), QuadraticBLR(groups), AnovaGP(groups)))
    mixture.fit(F, Y, rng)
    shrunk, drawn = process.mean_std(F)[0], mixture.draws(F, DRAWS, rng)
    few = TRIALS - REPLICATES
    total, times = Y[:few].copy(), np.ones((few, 1))
    for _ in range(REPLICATES // 3):
        for i in choose(landscape, X[:few], measured(total / times)):
            total[i] += landscape.observe(X[i : i + 1], rng)[0]
            times[i] += 1
    mean = total / times
    return {
        "raw": (choose(landscape, X, measured(Y)), Y),
        "shrunk": (choose(landscape, X, measured(shrunk)), shrunk),
        "expected": (
            choose(landscape, X, lambda e: np.mean([contributions(d, e) for d in drawn], axis=0)),
            mixture.mean_std(F)[0],
        ),
        "replicated": (choose(landscape, X[:few], measured(mean)), mean),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", default=["noisy", "flat", "sat", "trees"])
    parser.add_argument("--instances", nargs="+", type=int, default=list(range(10)))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="one family, two instances")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if options.quick:
        options.families, options.instances = ["flat"], [0, 1]
    shares = np.empty((len(WAYS), len(options.families), len(options.instances)))
    optimism = np.empty_like(shares)
    for f, family in enumerate(options.families):
        for i, instance in enumerate(options.instances):
            landscape = FAMILIES[family](instance)
            sampler = SAMPLERS["mixture"](landscape, 0, BATCH)
            X, Y, _ = search(landscape, sampler, TRIALS, BATCH, seed=0)
            true = landscape.true(X)
            found = ways(landscape, X, Y)
            for w, way in enumerate(WAYS):
                chosen, believed = found[way]
                shares[w, f, i] = landscape.share(X[chosen], options.cache)
                optimism[w, f, i] = (believed[chosen] - true[chosen]).mean()
    rows = []
    print(f"\n{'way':<12}{'share':>7}{'of raw':>9}{'error':>8}{'optimism, sd':>14}   by family")
    for w, way in enumerate(WAYS):
        change = shares[w] - shares[0]
        error = float(np.sqrt((change.var(axis=1, ddof=1) / change.shape[1]).sum()) / len(change))
        families = dict(zip(options.families, shares[w].mean(axis=1).tolist(), strict=True))
        row = {
            "way": way, "share": float(shares[w].mean()), "of_raw": float(change.mean()),
            "error": error, "optimism": float(optimism[w].mean()), "families": families,
            "n": int(change.size), "commit": commit(),
        }  # fmt: skip
        rows.append(row)
        each = "  ".join(f"{name} {value:.3f}" for name, value in families.items())
        print(
            f"{way:<12}{row['share']:>7.3f}{row['of_raw']:>+9.3f}{error:>8.3f}"
            f"{row['optimism']:>+14.2f}   {each}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
