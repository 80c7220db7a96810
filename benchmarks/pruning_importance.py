"""Which expert should go first? Four measures of importance, compared on fairness.

One model with four experts in every layer is trained for some minutes on drawn scenes (each expert
for itself, as in the Switch Transformer: experts that share their gradients hardly differ). Then it
is pruned to one expert a layer by each importance, chosen on ``val``. After 9, 14, 18, 23 and 27 of
27 removals the models answer the report half, and each importance is compared with usage, the
paper's, on the same images: paired differences with 95 % intervals over clusters of images.

One training: what another seed would do is not in the intervals. Drawings, not photographs.

    python benchmarks/pruning_importance.py [--quick] [--run FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
from pathlib import Path

import torch

from commit import commit
from experts import DECAY, SCENES, SCHEME
from moenas.data.sources.emoji import EmojiConfig
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import best_threshold
from moenas.models.convert import remove_expert
from moenas.models.storage import load_model
from moenas.pruning.experts import prune_experts
from moenas.pruning.importance import IMPORTANCES
from moenas.runs import RunFolder, cache_home
from moenas.training.job import TrainingJob, run_job
from moenas.workflows.data import make_manifest, prepare

PIXELS = 64
ARCHITECTURE = "mobilevitv2_050-e444444444"
EPOCHS = 4
LOOKS = (9, 14, 18, 23, 27)
METRICS = ("balanced_accuracy", "worst_group_accuracy", "fairness_debiased", "robustness")
USAGE = "usage"
CPU = torch.device("cpu")


def train(run: RunFolder, scenes: EmojiConfig, epochs: float):
    """Train the model, or load the one that was trained; return it with its images."""
    data = str(make_manifest("emoji", cache_home() / "data", config=scenes))
    scheme = dataclasses.replace(SCHEME, epochs=epochs, weight_decay=DECAY / epochs)
    reference = prepare(data, PIXELS, run)
    job = TrainingJob(
        architecture=ARCHITECTURE, folder=str(run.model().path), data=reference,
        scheme=scheme.plain_experts(), seed=1, score=("search",), device="cpu",
    )  # fmt: skip
    run_job(job, lambda record: print(record, flush=True))
    manifest, images = reference.load()
    return load_model(run.model().checkpoint)[0], manifest, images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/pruning-importance"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    scenes, epochs = SCENES, EPOCHS
    if options.quick:
        scenes, epochs = EmojiConfig(PIXELS, 48, 16, 4, 12), 1
    run = RunFolder.create(options.run, "pruning-importance", {"quick": options.quick})
    with run.locked():
        model, manifest, images = train(run, scenes, epochs)
    if options.train_only:
        return

    answers: dict[int, dict[str, list]] = {look: {} for look in (0, *LOOKS)}
    sizes: dict[tuple[int, str], int] = {}
    for name in IMPORTANCES:
        result = prune_experts(
            model, manifest, images, keep_above={}, importance=name, curve=True, device=CPU
        )
        smaller = model
        for step in result.steps:
            if step.removed is not None:
                layer, expert = step.removed["layer"], step.removed["expert"]
                smaller = remove_expert(smaller, str(layer), int(expert))
            if step.step not in answers:
                continue
            said = predict(smaller, manifest, images, splits=("val", "report"), device=CPU)
            said = said.with_threshold(best_threshold(said.split("val")))
            answers[step.step][name] = [said]
            sizes[step.step, name] = step.parameters
        print(f"{name}: pruned to {result.steps[-1].architecture}", flush=True)

    print(f"\n{ARCHITECTURE}, {epochs} epochs, {PIXELS} px, one seed, {commit()}")
    records = []
    for look, models in answers.items():
        comparison = Comparison(models)
        print(f"\n{look} experts removed")
        for name in models:
            record = {"removed": look, "importance": name, "parameters": sizes[look, name]}
            cells = []
            for metric in METRICS:
                found = comparison.estimate(name, metric)
                record[metric] = None if found is None else found.mean
                cells.append("" if found is None else f"{100 * found.mean:6.1f}")
                change = comparison.difference(name, USAGE, metric) if name != USAGE else None
                if change is not None and look:
                    record[f"{metric} - usage"] = [change.difference, change.low, change.high]
                    ends = (change.difference, change.low, change.high)
                    if None not in ends:
                        value, low, high = (f"{100 * end:+.1f}" for end in ends)
                        cells[-1] += f" ({value}: {low} to {high})"
            records.append(record)
            size = f"{sizes[look, name] / 1e6:.2f}M"
            print(f"  {name:7}{size}  " + "  ".join(cells))
            if look == 0:
                break  # all the same
    if options.json:
        head = {
            "date": datetime.date.today().isoformat(), "commit": commit(), "epochs": epochs,
            "pixels": PIXELS, "architecture": ARCHITECTURE, "seeds": 1,
        }  # fmt: skip
        options.json.write_text(json.dumps({**head, "models": records}, indent=2) + "\n")


if __name__ == "__main__":
    main()
