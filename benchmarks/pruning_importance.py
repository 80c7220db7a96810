"""Which expert should go first? Four measures of importance, compared on fairness.

Models with experts, trained on drawn scenes, are pruned to one expert a layer by each importance,
which looks at ``val`` alone. At a third, two thirds and all of the removals they answer the report
half, and each importance is compared with usage, the paper's, on the same images: paired
differences with 95 % intervals, over seeds and clusters of images where several checkpoints of one
architecture are given (``--checkpoint`` twice or more: seeds), else over images alone.

Without ``--checkpoint`` one model with four experts in every layer is trained first, each expert
for itself as in the Switch Transformer. Drawings, not photographs.

    python benchmarks/pruning_importance.py [--quick] [--checkpoint FILE ... --data FILE]
        [--run FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from commit import commit
from experts import DECAY, SCENES, SCHEME
from moenas.data.cache import ImageStore, cached_images
from moenas.data.manifest import Manifest
from moenas.data.sources.emoji import EmojiConfig
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.predict import predict
from moenas.evaluation.statistics.resampling import Clusters
from moenas.evaluation.threshold import best_threshold
from moenas.metrics import METRICS
from moenas.models.convert import architecture_of, remove_expert
from moenas.models.storage import load_model
from moenas.predictions import Predictions
from moenas.pruning.experts import prune_experts
from moenas.pruning.importance import IMPORTANCES
from moenas.runs import RunFolder, cache_home
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.workflows.data import make_manifest, prepare

PIXELS = 64
ARCHITECTURE = "mobilevitv2_050-e444444444"
EPOCHS = 8
METRIC_NAMES = ("balanced_accuracy", "worst_group_accuracy", "fairness", "robustness")
USAGE = "usage"
SHARES = (1 / 3, 2 / 3, 1.0)
"""Of the removals after which the report half is looked at."""
SEARCH_SHARE = 24
"""Pruning judges each step on one in so many images of the search half: not what is asked here."""
CPU = torch.device("cpu")


def trained(run: RunFolder, quick: bool) -> tuple[nn.Module, DataReference]:
    """Train the model, or load the one that was trained."""
    scenes = EmojiConfig(PIXELS, 48, 16, 4, 12) if quick else SCENES
    epochs = 1 if quick else EPOCHS
    data = prepare(str(make_manifest("emoji", cache_home() / "data", config=scenes)), PIXELS, run)
    scheme = dataclasses.replace(SCHEME, epochs=epochs, weight_decay=DECAY / epochs)
    job = TrainingJob(
        architecture=ARCHITECTURE, folder=str(run.model().path), data=data,
        scheme=scheme.plain_experts(), seed=1, score=("search",), device="cpu",
    )  # fmt: skip
    run_job(job, lambda record: print(record, flush=True))
    return load_model(run.model().checkpoint)[0], data


def pruned(
    model: nn.Module, manifest: Manifest, images: ImageStore, importance: str, looks: list[int]
) -> list[tuple[int, Predictions]]:
    """Size and report-half answers of a model after ``looks`` removals."""
    split = manifest.frame["split"].to_numpy()
    some = np.flatnonzero(split == "search")[::SEARCH_SHARE]
    rows = np.concatenate([np.flatnonzero(split == "val"), some])
    few = ImageStore(np.array(images.images[rows]), images.readable[rows], {})
    result = prune_experts(
        model, manifest.take(rows), few, keep_above={}, importance=importance, device=CPU
    )
    found = []
    for step in result.steps:
        if step.removed is not None:
            layer, expert = str(step.removed["layer"]), int(step.removed["expert"])
            model = remove_expert(model, layer, expert)
        if step.step in looks:
            said = predict(model, manifest, images, splits=("val", "report"), device=CPU)
            found.append((step.parameters, said.with_threshold(best_threshold(said.split("val")))))
    print(f"{importance}: {result.steps[-1].step} removed", flush=True)
    return found


def difference(
    models: dict[str, list[Predictions]], name: str, metric: str, draws: int = 2000
) -> tuple[float, float, float] | None:
    """Mean of a model's metric minus usage's, with its interval on common images."""
    if len(models[name]) > 1:
        found = Comparison(models, split="report").difference(name, USAGE, metric)
        if found is None or found.low is None or found.high is None:
            return None
        return found.difference, found.low, found.high
    function = METRICS[metric].tally
    assert function is not None
    clusters = Clusters([models[n][0].split("report") for n in (name, USAGE)])
    one, two = (function(tally, None) for tally in clusters.tallies())
    first, second = (function(tally, None) for tally in clusters.resample(draws, 0))
    low, high = np.quantile(first - second, (0.025, 0.975))
    return float(one - two), float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/pruning-importance"))
    parser.add_argument("--checkpoint", type=Path, nargs="+", default=[])
    parser.add_argument("--data", type=Path, help="the checkpoints' manifest")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.checkpoint:
        models = [load_model(path)[0] for path in options.checkpoint]
        pixels = load_model(options.checkpoint[0])[1].image_size
        manifest = Manifest.load(options.data)
        images = cached_images(manifest, pixels, cache_home() / "images")
    else:
        run = RunFolder.create(options.run, "pruning-importance", {"quick": options.quick})
        with run.locked():
            model, data = trained(run, options.quick)
        models, (manifest, images) = [model], data.load()
    architecture = architecture_of(models[0])
    removals = sum(architecture.experts) - len(architecture.experts)
    looks = [round(share * removals) for share in SHARES]
    start = [predict(m, manifest, images, splits=("val", "report"), device=CPU) for m in models]
    start = [said.with_threshold(best_threshold(said.split("val"))) for said in start]
    answers = {
        name: [pruned(model, manifest, images, name, looks) for model in models]
        for name in IMPORTANCES
    }
    print(f"\n{architecture.id}, {len(models)} seed(s), report half, {commit()}; per cent")
    records = [show({USAGE: start}, USAGE, 0, None)]
    for place, look in enumerate(looks):
        tables = {name: [seed[place][1] for seed in found] for name, found in answers.items()}
        for name, found in answers.items():
            records.append(show(tables, name, look, [seed[place][0] for seed in found]))
    if options.json:
        head = {
            "date": datetime.date.today().isoformat(), "commit": commit(),
            "architecture": architecture.id, "seeds": len(models),
        }  # fmt: skip
        options.json.write_text(json.dumps({**head, "models": records}, indent=2) + "\n")


def show(
    models: dict[str, list[Predictions]], name: str, removed: int, sizes: list[int] | None
) -> dict[str, object]:
    """Print and return one importance after some removals."""
    record: dict[str, object] = {"importance": name, "removed": removed, "parameters": sizes}
    cells = []
    for metric in METRIC_NAMES:
        value = float(np.mean([METRICS[metric].function(t.split("report")) for t in models[name]]))
        record[metric] = value
        cells.append(f"{metric} {100 * value:.1f}")
        change = difference(models, name, metric) if name != USAGE else None
        if change is not None:
            record[f"{metric}, minus {USAGE}"] = change
            middle, low, high = (f"{100 * number:+.1f}" for number in change)
            cells[-1] += f" ({middle}: {low} to {high})"
    size = "" if sizes is None else f" {np.mean(sizes) / 1e6:.2f}M"
    print(f"  {removed:3} removed, {name:7}{size}  " + "  ".join(cells), flush=True)
    return record


if __name__ == "__main__":
    main()
