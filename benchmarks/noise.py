"""How much of a score is luck: seeds against architectures, on the demo's scenes and schedule.

Every seed has its own initialisation, order of images and augmentation: it trains its own dense
parent, and every architecture descends from each parent. The table gives, for each metric on the
report half, the standard deviation between seeds, between architectures (one-way random effects on
the same seeds), and the difference of two models that so many seeds can show with 80 % power.

Run it with ``python benchmarks/noise.py``; it goes on where it was stopped. ``--quick`` only shows
that it works. ``--longer 2`` doubles all epochs: steadier than the demo can afford.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
from scipy import stats

from moenas.config import to_dict
from moenas.data.sources.emoji import EmojiConfig
from moenas.evaluation.statistics.paired import minimum_detectable_gap
from moenas.execution.local import LocalExecutor
from moenas.models.architecture import Architecture
from moenas.nas.jobs import JobMaker
from moenas.nas.stages import run_jobs
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.runtime import keep_freed_memory
from moenas.training.job import read_result
from moenas.workflows.data import make_manifest, prepare
from moenas.workflows.demo import SCENES, SETTINGS

ARCHITECTURES = ((1,) * 9, (1, 1, 2, 1, 2, 2, 2, 4, 4), (2, 2, 4, 4, 4, 4, 4, 4, 4))
METRICS = ("balanced_accuracy", "fairness", "fairness_debiased", "robustness", "overfitting")
GOALS = {"balanced_accuracy": 0.01, "fairness": 0.04}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--longer", type=int, default=1, help="multiply all epochs")
    parser.add_argument("--run", type=Path, default=Path("runs/noise"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    scenes, config, seeds, vectors = SCENES, SETTINGS, range(1, options.seeds + 1), ARCHITECTURES
    if options.quick:
        scenes = EmojiConfig(64, train_scenes=32, val_scenes=16, search_scenes=8, report_scenes=8)
        config = dataclasses.replace(config, image_size=64, parent_epochs=1)
        seeds, vectors = range(1, 3), ARCHITECTURES[:2]
    config = dataclasses.replace(
        config,
        parent_epochs=config.parent_epochs * options.longer,
        finalist_epochs=config.finalist_epochs * options.longer,
        data=(str(make_manifest("emoji", cache_home() / "data", config=scenes)),),
    )
    architectures = [Architecture(config.base, vector) for vector in vectors]
    keep_freed_memory()
    run = RunFolder.create(options.run, "noise", to_dict(config))
    with run.locked(), LocalExecutor(options.workers) as executor:
        maker = JobMaker(config, run, prepare(config.data, config.image_size, run))
        run_jobs(executor, [maker.parent(config.base, seed) for seed in seeds], "Parents")
        jobs = [maker.finalist(a, seed) for a in architectures for seed in seeds]
        run_jobs(executor, jobs, "Models")
    scores = [read_result(ModelFolder(Path(job.folder))).scores["report"] for job in jobs]

    rows = []
    for metric in METRICS:
        values = np.array([getattr(s, metric) for s in scores]).reshape(len(architectures), -1)
        rows.append((metric, values[0].mean(), *spread(values)))
    k = len(seeds)
    print(f"{k} seeds, {len(architectures)} architectures, report half, points\n")
    print(f"{'metric':<20}{'base':>8}{'sd seeds':>10}{'sd archs':>10}{'detectable':>12}")
    for metric, mean, between_seeds, between_architectures in rows:
        shown = detectable(between_seeds, k)
        cells = (mean, between_seeds, between_architectures, shown)
        print(
            f"{metric:<20}"
            + "".join(f"{100 * c:>{w}.2f}" for c, w in zip(cells, (8, 10, 10, 12), strict=True))
        )
    base = scores[0]
    first, last = base.groups[0], base.groups[-1]
    gap = float(minimum_detectable_gap(first.n, last.n, base.tpr))
    print(f"\nsmallest gap of two tones with {first.n} images each: {100 * gap:.1f} points")
    if options.json:
        entries = [
            {
                "case": f"sd over seeds, {metric}",
                "value": between_seeds,
                "unit": "fraction",
                "peer": f"sd between architectures {between_architectures:.4f}",
                "goal": GOALS.get(metric),
                "better": "lower",
            }
            for metric, _, between_seeds, between_architectures in rows
        ]
        options.json.write_text(json.dumps(entries, indent=2) + "\n")


def spread(values: np.ndarray) -> tuple[float, float]:
    """Standard deviations between seeds (within an architecture) and between architectures.

    Args:
        values: [architectures, seeds]; columns share a parent, so that its effect is taken out
            before architectures are compared.
    """
    seeds = float(np.sqrt(values.var(axis=1, ddof=1).mean()))
    paired = values - values.mean(axis=0)
    k = values.shape[1]
    residual = paired - paired.mean(axis=1, keepdims=True)
    error = (residual**2).sum() / ((values.shape[0] - 1) * (k - 1))
    between = paired.mean(axis=1).var(ddof=1) - error / k
    return seeds, float(np.sqrt(max(0.0, between)))


def detectable(sd: float, k: int) -> float:
    """Difference of two models of k seeds each that a t-test finds with 80 % power."""
    freedom = 2 * k - 2
    quantiles = stats.t.ppf(0.975, freedom) + stats.t.ppf(0.8, freedom)
    return float(quantiles * sd * np.sqrt(2 / k))


if __name__ == "__main__":
    main()
