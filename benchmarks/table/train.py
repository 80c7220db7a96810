"""A table for science: many architectures, all trained from scratch in the same way, all scores.

Sixteen architectures and two dense models have five seeds: they tell what luck does and which
layers' experts matter. The others have one seed each, spread over sizes: they tell what
architectures do. The order of the trainings is fixed: three seeds of the former, then both mixed,
so that the table can be read whenever one stops.

``python benchmarks/table/train.py --minutes 60`` trains for an hour and adds to `table.parquet`
beside this file what that lacks; ``python benchmarks/table/analyse.py`` tells what it shows.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moenas.config import to_dict
from moenas.data.sources.emoji import EmojiConfig
from moenas.evaluation.scores import Scores
from moenas.execution.local import LocalExecutor
from moenas.models.architecture import Architecture
from moenas.nas.space import SearchSpace
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.runtime import keep_freed_memory
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.training.loop import OutOfTime
from moenas.training.outcome import read_result
from moenas.training.schemes import SCHEMES
from moenas.workflows.data import make_manifest, prepare

TABLE = Path(__file__).with_name("table.parquet")
BASE, WIDER, LAYERS = "mobilevitv2_050", "mobilevitv2_075", 9
PIXELS, LIMIT = 64, 3_000_000
SCENES = EmojiConfig(
    size=PIXELS, train_scenes=4200, val_scenes=400, search_scenes=200, report_scenes=200,
    openmoji_share=0.5, clutter=0.3, scale_low=0.5, scale_high=0.9,
)  # fmt: skip
SCHEME = dataclasses.replace(
    SCHEMES["mobilevitv2"],
    epochs=2,
    batch_size=32,
    learning_rate=1.5e-3,
    final_learning_rate=1.5e-4,
    weight_decay=4.0,
    ema_decay=None,
    augmentation="shift",
)
SEEDS, FIRST, OTHERS = 5, 3, 300
SPLITS = ("search", "report")


def core() -> dict[str, Architecture]:
    """The architectures with all seeds, by what they are there for."""
    made = {"base": Architecture.dense_base(BASE), "wider": Architecture.dense_base(WIDER)}
    for layer in range(LAYERS):
        vector = [1] * LAYERS
        vector[layer] = 8
        made[f"layer {layer + 1}"] = Architecture(BASE, tuple(vector))
    for n in (2, 4):
        made[f"all {n}"] = Architecture(BASE, (n,) * LAYERS)
    made["early"] = Architecture(BASE, (8, 8, 4, 4, 2, 2, 1, 1, 1))
    made["late"] = Architecture(BASE, (1, 1, 2, 2, 2, 4, 4, 8, 8))
    known = set(made.values())
    rest = (a for a in spread() if a not in known)
    made |= {f"random {i + 1}": next(rest) for i in range(3)}
    return made


def spread() -> Iterator[Architecture]:
    """Different architectures within the limit, their sizes spread evenly, without end."""
    space = SearchSpace(BASE, LAYERS, max_parameters=LIMIT)
    rng = np.random.default_rng(2026)
    seen = set()
    while True:
        vector = 1 + rng.binomial(7, rng.beta(1.0, 1.0, size=LAYERS) * rng.uniform(), size=LAYERS)
        architecture = Architecture(BASE, tuple(vector.tolist()))
        if architecture not in seen and space.feasible([vector])[0]:
            seen.add(architecture)
            yield architecture


def plan() -> list[tuple[str, Architecture, int]]:
    """Kind, architecture and seed of all trainings, in the order in which they are made."""
    kinds = core()
    known = set(kinds.values())
    others = (a for a in spread() if a not in known)
    trainings = [(kind, a, seed) for seed in range(1, SEEDS + 1) for kind, a in kinds.items()]
    mixed = trainings[FIRST * len(kinds) :]
    every = OTHERS // len(mixed)
    trainings = trainings[: FIRST * len(kinds)]
    for i in range(OTHERS):
        trainings.append(("spread", next(others), 1 + i % SEEDS))
        if i % every == every - 1 and mixed:
            trainings.append(mixed.pop(0))
    return trainings


def job(architecture: Architecture, seed: int, run: RunFolder, data: DataReference) -> TrainingJob:
    folder = run.path / "models" / f"{architecture.id}-s{seed}"
    return TrainingJob(architecture.id, str(folder), data, SCHEME, seed=seed, score=SPLITS)


def rows(kind: str, job: TrainingJob) -> Iterator[dict[str, Any]]:
    """One row a split: every score, also by tone and by light."""
    result = read_result(ModelFolder(Path(job.folder)))
    architecture = Architecture.parse(job.architecture)
    for scores in result.scores.values():
        yield {
            "kind": kind,
            "architecture": architecture.id,
            "base": architecture.base,
            **{f"e{i + 1}": n for i, n in enumerate(architecture.experts)},
            "seed": job.seed,
            "seconds": result.seconds,
            **flat(scores),
        }


def flat(scores: Scores) -> dict[str, Any]:
    values = {
        name: value
        for name, value in to_dict(scores).items()
        if name == "split" or (isinstance(value, int | float) and not isinstance(value, bool))
    }
    for group in scores.groups:
        values[f"tone_{group.group}_accuracy"] = group.accuracy
        values[f"tone_{group.group}_tpr"] = group.tpr
    for light in scores.lights:
        values[f"light_{light.lighting}_balanced_accuracy"] = light.balanced_accuracy
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/table"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=math.inf, help="then stop; go on later")
    parser.add_argument("--out", type=Path, default=TABLE)
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes
    keep_freed_memory()
    manifest = str(make_manifest("emoji", cache_home() / "data", config=SCENES))
    settings = {"scheme": to_dict(SCHEME), "scenes": to_dict(SCENES)}
    run = RunFolder.create(options.run, "table", settings)
    table = pd.read_parquet(options.out) if options.out.exists() else pd.DataFrame()
    known = set() if table.empty else set(zip(table["architecture"], table["seed"], strict=True))
    trainings = plan()
    missing = [each for each in trainings if (each[1].id, each[2]) not in known]
    with run.locked(), LocalExecutor(options.workers) as executor:
        data = prepare(manifest, PIXELS, run)
        limit = None if math.isinf(deadline) else deadline
        waiting = iter(missing)
        running: dict[concurrent.futures.Future[Any], tuple[str, TrainingJob]] = {}
        while True:
            for kind, architecture, seed in waiting:
                each = job(architecture, seed, run, data)
                future = executor.submit(run_job, dataclasses.replace(each, deadline=limit))
                running[future] = kind, each
                if len(running) == options.workers:
                    break
            if not running:
                break
            done, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            try:
                for future in done:
                    future.result()
                    table = pd.concat([table, pd.DataFrame(rows(*running.pop(future)))])
            except OutOfTime:
                break
            finally:
                write(table, options.out)
    print(f"{len(table) // len(SPLITS)} of {len(trainings)} trainings are in {options.out}")


def write(table: pd.DataFrame, path: Path) -> None:
    """Replace the table as a whole: one that is interrupted leaves the old one."""
    if table.empty:
        return
    part = path.with_suffix(".part")
    table.to_parquet(part, index=False)
    part.replace(path)


if __name__ == "__main__":
    main()
