"""How much of the reachable front does a sampler find with few evaluations?

127 evaluations (the paper's number) in batches of 8 on eight families of synthetic landscapes; the
score is the noise-free hypervolume of what was evaluated, as a share of a reference front's. All
samplers get the same number of evaluations; for Optuna's, which cannot take the size limit as a
free constraint, infeasible suggestions are told (values and violation) and not counted.

    python benchmarks/sampler.py --quick
    python benchmarks/sampler.py --seeds 3 --json results.json --cache /tmp/references
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: one thread is what is measured

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import create_trial

from commit import commit
from families import FAMILIES
from landscapes import OBJECTIVES, Landscape, Rows, Values
from peers import SAMPLERS, SizeLimit, space_of
from trained import Trained

KNOWN = FAMILIES | {Trained.family: Trained}
"""Trained needs the table of trainings; it is chosen by name."""

DIRECTIONS = ["maximize"] * OBJECTIVES
FIRST_FOUR = ("sat", "inter", "noisy", "dtlz2")  # what the first version was measured on
GOAL, WINS_GOAL, REACH_GOAL, SECONDS_GOAL, LARGE_GOAL = 0.76, 0.9, 63, 0.1, 1.0


def search(
    landscape: Landscape,
    sampler: optuna.samplers.BaseSampler,
    evaluations: int,
    batch: int,
    seed: int,
) -> tuple[Rows, Values, float]:
    """Return the feasible points [n, D], their values [n, 4] and the CPU seconds a suggestion."""
    rng = np.random.default_rng([seed, landscape.instance])
    space, limit = space_of(landscape), SizeLimit(landscape)
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    rows: list[list[int]] = []
    values: list[list[float]] = []
    spent, asked = 0.0, 0
    while len(rows) < evaluations:
        start = time.process_time()
        trials = [study.ask(space) for _ in range(min(batch, evaluations - len(rows)))]
        spent += time.process_time() - start
        asked += len(trials)
        for trial in trials:
            row = [trial.params[name] for name in space]
            violation = limit(trial.params)
            trial.set_constraint("size", violation)
            seen = landscape.observe(np.array([row]), rng)[0].tolist()
            study.tell(trial, seen)
            if violation <= 1e-9:
                rows.append(row)
                values.append(seen)
    return np.array(rows), np.array(values), spent / asked


def reached(landscape: Landscape, X: Rows, share: float, cache: Path | None) -> int:
    """Return after how many points [n, D] a share is reached; n + 1 if it is not."""
    low, high = 0, len(X) + 1
    while high - low > 1:
        middle = (low + high) // 2
        enough = landscape.share(X[:middle], cache) >= share
        low, high = (low, middle) if enough else (middle, high)
    return high


def seconds_at(trials: int, preset: str, repeats: int = 4) -> tuple[float, float]:
    """Return CPU seconds of a suggestion after new results, and averaged over a batch of 8."""
    landscape, rng = FAMILIES["inter"](0), np.random.default_rng(0)
    space = space_of(landscape)
    sampler = SAMPLERS[preset](landscape, 0, 8)
    study = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    X = np.unique(landscape.random_feasible(trials, rng), axis=0)
    for row, values in zip(X, landscape.observe(X, rng), strict=True):
        params = dict(zip(space, row.tolist(), strict=True))
        trial = create_trial(params=params, distributions=space, values=values.tolist())
        study.add_trial(trial)
    study.tell(study.ask(space), [0.0] * OBJECTIVES)  # first calls import things
    first, whole = [], []
    for _ in range(repeats):
        times, batch = [], []
        for _ in range(8):
            start = time.process_time()
            batch.append(study.ask(space))
            times.append(time.process_time() - start)
        for trial in batch:
            row = np.array([[trial.params[name] for name in space]])
            study.tell(trial, landscape.observe(row, rng)[0].tolist())
        first.append(times[0])
        whole.append(float(np.mean(times)))
    return float(np.median(first)), float(np.median(whole))


def summary(shares: Any) -> tuple[float, float]:
    """Return mean and standard error of numbers [families, instances, seeds].

    Runs of one instance are not independent, so the error is over instances.
    """
    by_instance = shares.mean(axis=2)
    n = by_instance.shape[1]
    error = by_instance.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(shares), np.nan)
    return float(shares.mean()), float(np.sqrt((error**2).sum()) / len(shares))


class Results:
    """The list of results that is printed and written."""

    def __init__(self, runs: int) -> None:
        self.rows: list[dict[str, Any]] = []
        self._common = {"commit": commit(), "n": runs}

    def add(self, case: str, value: float, unit: str, better: str = "higher", **more: Any) -> None:
        """Append one; ``more``: peer, peer_name, goal, error, n."""
        row = {"case": case, "value": value, "unit": unit, "peer": None, "goal": None}
        self.rows.append(row | {"better": better} | self._common | more)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one instance and seed, 63 evaluations"
    )
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(KNOWN))
    parser.add_argument(
        "--samplers",
        nargs="+",
        default=[name for name in SAMPLERS if name != "qlognehvi"],  # minutes a run: by name only
        choices=list(SAMPLERS),
    )
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

    shape = (len(options.families), len(options.instances), options.seeds)
    results = Results(int(np.prod(shape)))
    shares = {name: np.zeros(shape) for name in options.samplers}
    seconds: dict[str, list[float]] = {name: [] for name in options.samplers}
    needed = np.full(shape, np.nan)
    # Seeds and instances outside, so that a run cut short has seen all families.
    for s, i, f in np.ndindex(shape[::-1]):
        landscape = KNOWN[options.families[f]](options.instances[i])
        points = {}
        for name in options.samplers:
            sampler = SAMPLERS[name](landscape, s, options.batch)
            points[name], _, each = search(
                landscape, sampler, options.evaluations, options.batch, s
            )
            shares[name][f, i, s] = landscape.share(points[name], options.cache)
            seconds[name].append(each)
        if "tpe" in points and "mixture" in points:
            aim = shares["tpe"][f, i, s]
            needed[f, i, s] = reached(landscape, points["mixture"], aim, options.cache)
        line = "  ".join(f"{name} {shares[name][f, i, s]:.3f}" for name in options.samplers)
        print(f"{landscape.family} {landscape.instance} seed {s}:  {line}", flush=True)

    report(options, shares, seconds, needed, results)
    for trials, goal in ((127, SECONDS_GOAL), (5000, LARGE_GOAL)):
        if "mixture" not in options.samplers or (options.quick and trials > 127):
            continue
        first, each = seconds_at(trials, "mixture")
        print(
            f"at {trials} trials: {first:.3f} CPU s after new results, {each:.3f} in batches of 8"
        )
        for case, value in (("after new results", first), ("in batches of 8", each)):
            name = f"mixture: CPU seconds a suggestion at {trials} trials, {case}"
            results.add(name, value, "s", "lower", goal=goal, n=4)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results.rows, indent=1) + "\n")


def report(
    options: argparse.Namespace,
    shares: dict[str, Any],
    seconds: dict[str, list[float]],
    needed: Any,
    results: Results,
) -> None:
    """Print the table and add its numbers to the results."""
    families, runs = options.families, shares[options.samplers[0]].shape
    print(
        f"\nshare of the hypervolume at {options.evaluations} evaluations, batches of "
        f"{options.batch}; mean and standard error over {runs[1]} instances, {runs[2]} seeds"
    )
    head = "".join(f"{family:>8}" for family in families)
    print(f"{'sampler':<18}{head}{'mean':>8}{'error':>7}{'CPU s a suggestion':>20}")
    peers = [name for name in options.samplers if name not in ("mixture", "paper")]
    leader = max(peers, key=lambda n: shares[n].mean(), default=None)
    for name in options.samplers:
        mean, error = summary(shares[name])
        each = float(np.mean(seconds[name]))
        columns = "".join(f"{value:8.3f}" for value in shares[name].mean(axis=(1, 2)))
        print(f"{name:<18}{columns}{mean:8.3f}{error:7.3f}{each:20.4f}")
        against: Any = None if leader in (None, name) else shares[leader]

        def share(case: str, part: list[int], name: str = name, against: Any = against) -> None:
            mean, error = summary(shares[name][part])
            results.add(
                f"{name}: {case}",
                mean,
                "share",
                peer=None if against is None else float(against[part].mean()),
                peer_name=leader,
                goal=GOAL if name == "mixture" and case.endswith("first four") else None,
                error=error,
                n=int(shares[name][part].size),
            )

        title = f"hypervolume share, {options.evaluations} evaluations"
        share(title, list(range(len(families))))
        if set(FIRST_FOUR) < set(families):
            share(f"{title}, the first four", [families.index(f) for f in FIRST_FOUR])
        for f, family in enumerate(families):
            share(f"hypervolume share on {family}", [f])
        goal = SECONDS_GOAL if name == "mixture" else None
        results.add(f"{name}: CPU seconds a suggestion", each, "s", "lower", goal=goal)
    if "mixture" not in options.samplers:
        return
    print()
    for name in options.samplers:
        if name == "mixture":
            continue
        gain, error = summary(shares["mixture"] - shares[name])
        wins = float((shares["mixture"] > shares[name]).mean())
        print(f"mixture - {name}: {gain:+.3f} ± {error:.3f}, better in {wins:.0%} of runs")
        results.add(f"mixture: gain over {name}", gain, "share", error=error, peer_name=name)
        goal = WINS_GOAL
        results.add(f"mixture: runs better than {name}", wins, "share", goal=goal, peer_name=name)
    if not np.isnan(needed).any():
        middle, worst = float(np.median(needed)), float(np.quantile(needed, 0.9))
        print(
            f"evaluations to reach what TPE has at {options.evaluations}: median {middle:.0f}, "
            f"in nine of ten runs at most {worst:.0f}"
        )
        for case, value in (("median", middle), ("90 % quantile", worst)):
            name = f"mixture: evaluations to reach TPE's share at {options.evaluations}, {case}"
            goal = REACH_GOAL if case == "median" else None
            results.add(name, value, "evaluations", "lower", goal=goal, peer_name="tpe")


if __name__ == "__main__":
    main()
