"""What is a cheap look at an architecture worth? Supernet and upcycling against the table.

The truth is `table/table.parquet`: trainings from scratch, means over seeds, report half. Each
strategy judges the same architectures, with several seeds of its own and on the search half, as a
search does. The table printed gives, for each objective, Kendall's tau between the strategy's
ranking (one seed, as a search has) and the truth, beside the ceiling that luck allows: tau between
one seed of the truth and the mean of its other seeds. Intervals are 95 %, from resampling
architectures. Pool replay (`replay.py`) tells what the three architectures that a strategy likes
best are worth in fresh trainings. Costs are seconds for 127 architectures, parents and supernet
included.

``python benchmarks/strategies.py`` goes on where it was stopped; ``--quick`` only shows that it
works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from moenas.config import to_dict
from moenas.execution.local import LocalExecutor
from moenas.models.architecture import MAX_EXPERTS, Architecture
from moenas.models.cost import layer_count
from moenas.nas.objectives import OBJECTIVES, PAPER_OBJECTIVES
from moenas.nas.stages import run_jobs
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.runtime import keep_freed_memory
from moenas.training.job import DataReference, TrainingJob
from moenas.training.outcome import JobResult, read_result
from moenas.training.subnet_job import SubnetJob, run_subnet_job
from moenas.workflows.data import make_manifest, prepare
from replay import at_random, picked
from table.train import BASE, PIXELS, SCENES, SCHEME, TABLE

SUPERNET, UPCYCLED = 1.0, 0.25  # epochs, as shares of a training from scratch
ARCHITECTURES = 127  # what a search tries, in the paper
FEWEST = 2  # seeds of the truth that an architecture needs
DRAWS = 2000

Values = np.ndarray


def truth(path: Path, split: str = "report") -> tuple[list[Architecture], dict[str, Values], float]:
    """Architectures, [n, seeds] of each objective, and seconds of one training."""
    table = pd.read_parquet(path)
    table = table[(table["split"] == split) & (table["base"] == BASE)]
    table = table.assign(generalisation=-table["overfitting"].abs())
    seeds = table.groupby("seed")["architecture"].agg(set)
    kept, common = 0, set()
    for k in range(FEWEST, len(seeds) + 1):  # the grid without holes that has most trainings
        for_all = set.intersection(*seeds.iloc[:k])
        if k * len(for_all) > kept * len(common):
            kept, common = k, for_all
    grid = table[table["architecture"].isin(common) & table["seed"].isin(seeds.index[:kept])]
    names = sorted(common)
    values = {
        objective: grid.pivot_table(index="architecture", columns="seed", values=objective)
        .loc[names]
        .to_numpy()
        for objective in PAPER_OBJECTIVES
    }
    return [Architecture.parse(n) for n in names], values, float(grid["seconds"].mean())


@dataclasses.dataclass
class Strategies:
    """Judges architectures with one seed of each strategy."""

    run: RunFolder
    data: DataReference
    executor: LocalExecutor
    scheme: Any = SCHEME

    def parent(self, seed: int) -> TrainingJob:
        """A dense model from its own initialisation."""
        return TrainingJob(
            Architecture.dense_base(BASE).id,
            str(self.run.parent(BASE, seed).path),
            self.data,
            self.scheme,
            seed=1000 + seed,
        )

    def tuned(
        self, architecture: Architecture, folder: Path, share: float, seed: int
    ) -> TrainingJob:
        """A training that starts from the parent of that seed, with a share of its epochs."""
        epochs = share * self.scheme.epochs
        rate = self.scheme.learning_rate / 2
        scheme = dataclasses.replace(
            self.scheme, epochs=epochs, learning_rate=rate, final_learning_rate=rate / 10
        )
        parent = self.parent(seed)
        return dataclasses.replace(
            parent,
            architecture=architecture.id,
            folder=str(folder),
            scheme=scheme,
            parent=parent.folder,
        )

    def supernet(self, seed: int) -> TrainingJob:
        """The network that has all architectures as parts."""
        whole = Architecture(BASE, (MAX_EXPERTS,) * layer_count(BASE))
        folder = self.run.supernet(f"{BASE}-s{seed}").path
        return dataclasses.replace(self.tuned(whole, folder, SUPERNET, seed), supernet=True)

    def upcycled(
        self, architectures: list[Architecture], seed: int
    ) -> tuple[list[JobResult], float]:
        """Results and what 127 of them cost, seconds."""
        folder = self.run.path / "upcycled"
        jobs = [self.tuned(a, folder / f"{a.id}-s{seed}", UPCYCLED, seed) for a in architectures]
        results = run_jobs(self.executor, jobs, f"Upcycled, seed {seed}")
        return results, seconds(self.parent(seed)) + ARCHITECTURES * mean_seconds(results)

    def parts(self, architectures: list[Architecture], seed: int) -> tuple[list[JobResult], float]:
        """As `upcycled`, of the supernet's parts."""
        run_jobs(self.executor, [self.supernet(seed)], f"Supernet, seed {seed}")
        net = self.supernet(seed)
        jobs = [
            SubnetJob(
                a.id, str(self.run.path / "parts" / f"{a.id}-s{seed}"), net.folder, self.data, seed
            )
            for a in architectures
        ]
        results = [f.result() for f in [self.executor.submit(run_subnet_job, job) for job in jobs]]
        once = seconds(self.parent(seed)) + seconds(net)
        return results, once + ARCHITECTURES * mean_seconds(results)


def seconds(job: TrainingJob) -> float:
    return read_result(ModelFolder(Path(job.folder))).seconds


def mean_seconds(results: list[JobResult]) -> float:
    return float(np.mean([result.seconds for result in results]))


def tau(judged: Values, true: Values, draws: int = DRAWS) -> list[float]:
    """Mean tau over the columns of ``judged`` [n, k] with ``true`` [n, k], and its 95 % interval.

    Args:
        judged: One ranking a column.
        true: What each column is compared with.
        draws: Resamples of architectures.
    """

    def of(rows: Values) -> float:
        taus = [
            stats.kendalltau(judged[rows, j], true[rows, j]).statistic
            for j in range(judged.shape[1])
        ]
        known = [tau for tau in taus if not np.isnan(tau)]  # a constant has no ranking
        return float(np.mean(known)) if known else np.nan

    n = len(judged)
    rng = np.random.default_rng(0)
    resampled = [of(rng.integers(0, n, n)) for _ in range(draws)]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return [of(np.arange(n)), float(low), float(high)]


def ceiling(values: Values) -> list[float]:
    """Tau between each seed of the truth and the mean of its others."""
    others = [np.delete(values, j, axis=1).mean(axis=1) for j in range(values.shape[1])]
    return tau(values, np.stack(others, axis=1))


def measures(results: list[JobResult]) -> Values:
    """[n, objectives] of the search half."""
    rows = [
        [OBJECTIVES[o].measure(r.scores["search"], {}) for o in PAPER_OBJECTIVES] for r in results
    ]
    return np.array(rows, dtype=float)


def worth(results: list[list[JobResult]], values: dict[str, Values]) -> dict[str, list[float]]:
    """Tau of each objective over the strategy's seeds."""
    found = {}
    for name in PAPER_OBJECTIVES:
        column = PAPER_OBJECTIVES.index(name)
        judged = np.stack([measures(own)[:, column] for own in results], axis=1)
        mean = values[name].mean(axis=1, keepdims=True)
        found[name] = tau(judged, np.repeat(mean, judged.shape[1], axis=1))
    return found


def replay(
    judged: dict[str, list[Values]], values: dict[str, Values], scratch: dict[str, Values]
) -> dict[str, list[float]]:
    """Shares of the fresh hypervolume that three picks have: by strategy, each of its seeds.

    Args:
        judged: [n, objectives] of each seed on the search half, by strategy.
        values: Truth, [n, seeds] of each objective.
        scratch: The same trainings on the search half.
    """
    stack = np.stack([values[name] for name in PAPER_OBJECTIVES], axis=2)  # [n, seeds, m]
    seen = np.stack([scratch[name] for name in PAPER_OBJECTIVES], axis=2)
    others = [np.delete(stack, j, axis=1).mean(axis=1) for j in range(stack.shape[1])]
    mean = stack.mean(axis=1)
    found = {"scratch": [picked(seen[:, j], other) for j, other in enumerate(others)]}
    found |= {name: [picked(each, mean) for each in own] for name, own in judged.items()}
    return found | {"random": at_random(mean)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--run", type=Path, default=Path("runs/strategies"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="three architectures, hardly trained")
    options = parser.parse_args()
    architectures, values, each = truth(options.table)
    keep_freed_memory()
    scheme = SCHEME
    if options.quick:
        architectures = architectures[:3]
        values = {name: v[:3] for name, v in values.items()}
        scheme = dataclasses.replace(scheme, epochs=0.02)
        options.seeds = 1
    manifest = str(make_manifest("emoji", cache_home() / "data", config=SCENES))
    run = RunFolder.create(options.run, "strategies", {"scheme": to_dict(scheme)})
    with run.locked(), LocalExecutor(options.workers) as executor:
        judge = Strategies(run, prepare(manifest, PIXELS, run), executor, scheme)
        seeds = range(1, options.seeds + 1)
        run_jobs(executor, [judge.parent(seed) for seed in seeds], "Parents")
        ways: dict[str, Callable[..., tuple[list[JobResult], float]]] = {
            "supernet": judge.parts,
            "upcycled": judge.upcycled,
        }
        judged = {name: [way(architectures, seed) for seed in seeds] for name, way in ways.items()}
    n, k = next(iter(values.values())).shape
    print(f"\n{n} architectures, truth of {k} seeds, {options.seeds} seeds of each strategy")
    scratch = ARCHITECTURES * each
    limits = {name: ceiling(v) for name, v in values.items()}
    records: dict[str, Any] = {"architectures": n, "seeds": k, "ceiling": limits}
    show("ceiling", limits, scratch, scratch)
    for name, found in judged.items():
        cost = float(np.mean([seconds for _, seconds in found]))
        taus = worth([results for results, _ in found], values)
        records[name] = {"tau": taus, "seconds": cost, "of_scratch": cost / scratch}
        show(name, taus, cost, scratch)
    measured = {name: [measures(results) for results, _ in found] for name, found in judged.items()}
    searched = {o: v[:n] for o, v in truth(options.table, "search")[1].items()}
    records["replay"] = replay(measured, values, searched)
    print("\nthree picks of each seed: share of the hypervolume of fresh trainings")
    for name, shares in records["replay"].items():
        print(f"  {name:<20}{'  '.join(f'{value:.2f}' for value in shares)}")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")


def show(name: str, taus: dict[str, list[float]], cost: float, scratch: float) -> None:
    print(
        f"\n{name}: {cost:.0f} s for {ARCHITECTURES} architectures, {cost / scratch:.2f} of scratch"
    )
    for objective, (value, low, high) in taus.items():
        print(f"  {objective:<20}{value:+.2f} ({low:+.2f} to {high:+.2f})")


if __name__ == "__main__":
    main()
