"""How much of the reachable front does a sampler find with few evaluations?

127 evaluations (the paper's number) in batches of 8 on four families of synthetic landscapes; the
score is the noise-free hypervolume of what was evaluated, as a share of a reference front's. All
samplers get the same number of evaluations; for those that cannot take the size limit as a free
constraint, infeasible suggestions are told (values and violation) and not counted.

    python benchmarks/sampler.py --quick
    python benchmarks/sampler.py --seeds 3 --json results.json --cache /tmp/references
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: one thread is what is measured

import argparse
import json
import subprocess
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

import landscapes
from landscapes import FAMILIES, Landscape
from moenas.nas.sampler import MoENASSampler

NAMES = [f"e{layer}" for layer in range(1, landscapes.LAYERS + 1)]
SPACE = {name: IntDistribution(landscapes.LOW, landscapes.HIGH) for name in NAMES}
DIRECTIONS = ["maximize"] * landscapes.OBJECTIVES
INITIAL, GOAL, SECONDS_GOAL, LARGE_GOAL = 24, 0.68, 0.1, 1.0


class SizeLimit:
    """The landscapes' size limit as our sampler takes it."""

    def __call__(self, params: dict[str, Any]) -> float:
        """Return by how many million parameters one vector is too large."""
        return float(landscapes.size(np.array([[params[n] for n in NAMES]]))[0] - landscapes.LIMIT)

    def many(self, columns: Mapping[str, Any]) -> Any:
        """Return the same for many vectors."""
        return landscapes.size(np.stack([columns[n] for n in NAMES], 1)) - landscapes.LIMIT


LIMIT = SizeLimit()


def ours(preset: str, seed: int, batch: int) -> optuna.samplers.BaseSampler:
    return MoENASSampler(seed, preset, LIMIT, INITIAL, batch, search_space=SPACE)


def tpe(seed: int, multivariate: bool) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=INITIAL, multivariate=multivariate, constant_liar=True
    )


SAMPLERS: dict[str, Callable[[int, int], optuna.samplers.BaseSampler]] = {
    "mixture": lambda seed, batch: ours("mixture", seed, batch),
    "paper": lambda seed, batch: ours("paper", seed, batch),
    "tpe": lambda seed, _: tpe(seed, multivariate=False),
    "tpe-multivariate": lambda seed, _: tpe(seed, multivariate=True),
    "nsga2": lambda seed, _: optuna.samplers.NSGAIISampler(seed=seed, population_size=INITIAL),
    "random": lambda seed, _: optuna.samplers.RandomSampler(seed=seed),
}


def vector(params: Mapping[str, Any]) -> list[int]:
    return [params[name] for name in NAMES]


def search(
    landscape: Landscape,
    sampler: optuna.samplers.BaseSampler,
    evaluations: int,
    batch: int,
    seed: int,
) -> tuple[Any, float]:
    """Return the evaluated feasible vectors [n, 9] and the CPU seconds a suggestion."""
    rng = np.random.default_rng([seed, landscape.instance])
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    rows: list[list[int]] = []
    spent, asked = 0.0, 0
    while len(rows) < evaluations:
        start = time.process_time()
        trials = [study.ask(SPACE) for _ in range(min(batch, evaluations - len(rows)))]
        spent += time.process_time() - start
        asked += len(trials)
        for trial in trials:
            row = vector(trial.params)
            violation = LIMIT(trial.params)
            trial.set_constraint("size", violation)
            study.tell(trial, landscape.observe(np.array([row]), rng)[0].tolist())
            if violation <= 1e-9:
                rows.append(row)
    return np.array(rows), spent / asked


def seconds_at(trials: int, preset: str, repeats: int = 4) -> tuple[float, float]:
    """Return CPU seconds of a suggestion after new results, and averaged over a batch of 8."""
    landscape, rng = Landscape("inter", 0), np.random.default_rng(0)
    study = optuna.create_study(directions=DIRECTIONS, sampler=ours(preset, 0, 8))
    X = np.unique(landscapes.random_feasible(trials, rng), axis=0)
    for row, values in zip(X, landscape.observe(X, rng), strict=True):
        params = dict(zip(NAMES, row.tolist(), strict=True))
        trial = create_trial(params=params, distributions=SPACE, values=values.tolist())
        study.add_trial(trial)
    study.tell(study.ask(SPACE), [0.0] * landscapes.OBJECTIVES)  # first calls import things
    first, whole = [], []
    for _ in range(repeats):
        times = []
        batch = []
        for _ in range(8):
            start = time.process_time()
            batch.append(study.ask(SPACE))
            times.append(time.process_time() - start)
        for trial in batch:
            values = landscape.observe(np.array([vector(trial.params)]), rng)[0]
            study.tell(trial, values.tolist())
        first.append(times[0])
        whole.append(float(np.mean(times)))
    return float(np.median(first)), float(np.median(whole))


def summary(shares: Any) -> tuple[float, float]:
    """Return mean and standard error of shares [families, instances, seeds].

    Runs of one instance are not independent, so the error is over instances.
    """
    by_instance = shares.mean(axis=2)
    n = by_instance.shape[1]
    error = by_instance.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(shares), np.nan)
    return float(shares.mean()), float(np.sqrt((error**2).sum()) / len(shares))


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    here = Path(__file__).parent
    return subprocess.run(
        command, cwd=here, capture_output=True, text=True, check=False
    ).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one instance and seed, 63 evaluations"
    )
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--samplers", nargs="+", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--instances", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--evaluations", type=int, default=127)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cache", type=Path, help="folder for the reference fronts")
    parser.add_argument("--json", type=Path, help="write the results here")
    options = parser.parse_args()
    if options.quick:
        options.instances, options.seeds, options.evaluations = [0], 1, 63
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

    stamp = commit()
    shape = (len(options.families), len(options.instances), options.seeds)
    shares = {name: np.zeros(shape) for name in options.samplers}
    seconds: dict[str, list[float]] = {name: [] for name in options.samplers}
    for f, i, s in np.ndindex(shape):
        landscape = Landscape(options.families[f], options.instances[i])
        for name in options.samplers:
            sampler = SAMPLERS[name](s, options.batch)
            X, each = search(landscape, sampler, options.evaluations, options.batch, s)
            shares[name][f, i, s] = landscape.share(X, options.cache)
            seconds[name].append(each)
        line = "  ".join(f"{name} {shares[name][f, i, s]:.3f}" for name in options.samplers)
        print(f"{landscape.family} {landscape.instance} seed {s}:  {line}", flush=True)

    print(
        f"\nshare of the hypervolume at {options.evaluations} evaluations, batches of "
        f"{options.batch}; mean and standard error over {shape[1]} instances, {shape[2]} seeds"
    )
    head = "".join(f"{family:>9}" for family in options.families)
    print(f"{'sampler':<18}{head}{'mean':>9}{'error':>8}{'CPU s a suggestion':>20}")
    results: list[dict[str, Any]] = []
    best_peer = max(
        (n for n in options.samplers if n not in ("mixture", "paper")),
        key=lambda n: shares[n].mean(),
        default=None,
    )
    for name in options.samplers:
        mean, error = summary(shares[name])
        each = float(np.mean(seconds[name]))
        columns = "".join(f"{value:9.3f}" for value in shares[name].mean(axis=(1, 2)))
        print(f"{name:<18}{columns}{mean:9.3f}{error:8.3f}{each:20.4f}")
        peer = None if best_peer is None or name == best_peer else shares[best_peer]
        goal = GOAL if name == "mixture" and not options.quick else None
        extra = {"peer_name": best_peer, "commit": stamp}
        results.append(
            {
                "case": f"{name}: hypervolume share, {options.evaluations} evaluations",
                "value": mean,
                "unit": "share",
                "peer": None if peer is None else float(peer.mean()),
                "goal": goal,
                "better": "higher",
                "error": error,
                **extra,
            }
        )
        for f, family in enumerate(options.families):
            mean, error = summary(shares[name][f : f + 1])
            results.append(
                {
                    "case": f"{name}: hypervolume share on {family}",
                    "value": mean,
                    "unit": "share",
                    "peer": None if peer is None else float(peer[f].mean()),
                    "goal": None,
                    "better": "higher",
                    "error": error,
                    **extra,
                }
            )
        results.append(
            {
                "case": f"{name}: CPU seconds a suggestion",
                "value": each,
                "unit": "s",
                "peer": None if best_peer is None else float(np.mean(seconds[best_peer])),
                "goal": SECONDS_GOAL if name == "mixture" else None,
                "better": "lower",
                **extra,
            }
        )
    if best_peer is not None and "mixture" in options.samplers:
        gain, error = summary(shares["mixture"] - shares[best_peer])
        wins = float((shares["mixture"] > shares[best_peer]).mean())
        print(f"\nmixture - {best_peer}: {gain:+.3f} ± {error:.3f}, better in {wins:.0%} of runs")
    for trials, goal in ((127, SECONDS_GOAL), (5000, LARGE_GOAL)):
        if options.quick and trials > 127:
            continue
        first, each = seconds_at(trials, "mixture")
        print(
            f"at {trials} trials: {first:.3f} CPU s after new results, {each:.3f} in batches of 8"
        )
        for case, value in (("after new results", first), ("in batches of 8", each)):
            results.append(
                {
                    "case": f"mixture: CPU seconds a suggestion at {trials} trials, {case}",
                    "value": value,
                    "unit": "s",
                    "peer": None,
                    "goal": goal,
                    "better": "lower",
                    "commit": stamp,
                }
            )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
