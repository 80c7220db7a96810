"""Do experts earn their parameters? S-FFNs beside the base model and a wider dense model.

Every model is trained from its own initialisation with the same images, steps and recipe; its
learning rate is chosen from a small grid by validation accuracy on seeds that are not reported.
The table gives means over seeds on the report half and paired differences (95 % intervals over
seeds and images) from the base and from the wider dense model, whose size the S-FFNs have.

``python benchmarks/experts.py`` takes hours and goes on where it was stopped; ``--quick`` shows in
minutes that it works. Drawn scenes are the default; ``--data`` takes a manifest, or the folder
cifar-100-binary (people against the rest: photographs, without skin tones).
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import json
from pathlib import Path

import torch

from commit import commit
from mixed_experts import mix, run_mixed_job
from moenas.data.sources.cifar100 import is_cifar100
from moenas.data.sources.emoji import EmojiConfig
from moenas.evaluation.comparison import Comparison
from moenas.execution.local import LocalExecutor
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.cost import count_macs, count_parameters
from moenas.nas.stages import run_jobs
from moenas.predictions import Predictions
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.runtime import keep_freed_memory
from moenas.timing import interleaved
from moenas.training.job import DataReference, TrainingJob
from moenas.training.outcome import JobResult
from moenas.training.schemes import SCHEMES, Scheme
from moenas.workflows.data import make_manifest, prepare

SCENES = EmojiConfig(
    size=64, train_scenes=4200, val_scenes=400, search_scenes=70, report_scenes=200,
    openmoji_share=0.5, clutter=0.3, scale_low=0.5, scale_high=0.9,
)  # fmt: skip
SCHEME = dataclasses.replace(
    SCHEMES["mobilevitv2"],
    batch_size=32,
    learning_rate=1.5e-3,
    ema_decay=None,
    augmentation="shift",
)
DECAY = 12.0
"""Weight decay times epochs: AdamW forgets within a fifth of the steps."""

RATES = (0.7, 1.0, 1.4)
"""Shares of the scheme's learning rate that each model may choose from."""

ABLATION: dict[str, dict[str, float]] = {
    "slow routers": {"router_rate": 0.1},
    "sharing": {"expert_sharing": 0.95},
    "sharing 0.8": {"router_rate": 0.1, "expert_sharing": 0.8},
    "sharing 0.99": {"router_rate": 0.1, "expert_sharing": 0.99},
}
"""The recipe's parts alone, and other strengths of it; trained with ``--ablation``."""

TEACHER_EPOCHS, TEACHER_SEED = 2.5, 2001
"""The teacher is one wider dense model for all seeds, trained so many times as long."""

TUNING_SEEDS = (1001, 1002)
"""Not reported. One short training a rate chose a rate at which the wider model then failed."""

BASE, WIDER = "dense 0.50", "dense 0.75"
METRICS = (
    "balanced_accuracy", "worst_group_accuracy", "fairness_debiased", "robustness", "overfitting",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Model:
    """An architecture and how it is trained: with a teacher, with experts mixed by image."""

    architecture: Architecture
    scheme: Scheme
    taught: bool = False
    mixed: bool = False


def models(scheme: Scheme) -> dict[str, Model]:
    """What is compared, by name."""
    plain = scheme.plain_experts()

    def experts(*counts: int) -> Architecture:
        return Architecture("mobilevitv2_050", counts)

    eight = experts(*[8] * 9)
    return {
        BASE: Model(Architecture.dense_base("mobilevitv2_050"), scheme),
        WIDER: Model(Architecture.dense_base("mobilevitv2_075"), scheme),
        "2 experts": Model(experts(*[2] * 9), scheme),
        "4 experts": Model(experts(*[4] * 9), scheme),
        "8 experts": Model(eight, scheme),
        "late experts": Model(experts(1, 1, 2, 2, 2, 4, 8, 8, 8), scheme),
        "8 experts, plain switch": Model(eight, plain),
        "dense 0.50, taught": Model(
            Architecture.dense_base("mobilevitv2_050"), scheme, taught=True
        ),
        "4 experts, taught": Model(experts(*[4] * 9), scheme, taught=True),
        "4 experts, mixed": Model(experts(*[4] * 9), plain, mixed=True),
    } | {
        f"8 experts, {part}": Model(eight, dataclasses.replace(plain, **changes))
        for part, changes in ABLATION.items()
    }


def teacher(scheme: Scheme, run: RunFolder, data: DataReference) -> TrainingJob:
    """The training of the model from which the taught ones learn."""
    wider = models(dataclasses.replace(scheme, epochs=TEACHER_EPOCHS * scheme.epochs))[WIDER]
    return job(wider, 1.0, TEACHER_SEED, run, data, "teacher")


def job(
    model: Model, rate: float, seed: int, run: RunFolder, data: DataReference, name: str,
    taught_by: str | None = None,
) -> TrainingJob:  # fmt: skip
    scheme = dataclasses.replace(
        model.scheme,
        learning_rate=model.scheme.learning_rate * rate,
        final_learning_rate=model.scheme.learning_rate * rate / 10,
    )
    folder = run.path / "models" / name.replace(" ", "-").replace(",", "") / f"{rate}-{seed}"
    return TrainingJob(
        architecture=model.architecture.id, folder=str(folder), data=data, scheme=scheme,
        seed=seed, score=("report",), teacher=taught_by if model.taught else None,
    )  # fmt: skip


def run_models(
    executor: LocalExecutor, tried: list[Model], jobs: list[TrainingJob], title: str
) -> list[JobResult]:
    """Run each model's training; those with mixed experts begin first."""
    aside = {
        j: executor.submit(run_mixed_job, j) for j, m in zip(jobs, tried, strict=True) if m.mixed
    }
    plain = [j for j in jobs if j not in aside]
    results = dict(zip(plain, run_jobs(executor, plain, title), strict=True))
    return [results[j] if j in results else aside[j].result() for j in jobs]


def tuned_rates(
    chosen: dict[str, Model], rates: tuple[float, ...], executor: LocalExecutor, make
) -> dict[str, float]:
    """Train each model with each rate and two seeds; return the best by validation accuracy."""
    if len(rates) == 1:
        return dict.fromkeys(chosen, rates[0])
    jobs = {
        (name, rate, seed): make(model, rate, seed, name=f"tuning/{name}")
        for name, model in chosen.items()
        for rate in rates
        for seed in TUNING_SEEDS
    }
    tried = [chosen[name] for name, *_ in jobs]
    results = run_models(executor, tried, list(jobs.values()), "Learning rates")
    found: dict[tuple[str, float], float] = collections.defaultdict(float)
    for (name, rate, _), result in zip(jobs, results, strict=True):
        found[name, rate] += result.scores["report"].validation_accuracy or 0.0
    return {name: max(rates, key=lambda rate: found[name, rate]) for name in chosen}


def latencies(chosen: dict[str, Model], pixels: int, rounds: int) -> dict[str, float]:
    """Time of one image on one thread, as a ratio to the wider dense model's."""
    torch.set_num_threads(1)
    image = torch.randn(1, 3, pixels, pixels).to(memory_format=torch.channels_last)

    def work(model: Model):
        made = build_model(model.architecture.base, model.architecture.experts, seed=0).eval()
        if model.mixed:
            mix(made)

        def run() -> None:
            with torch.inference_mode():
                made(image)

        return run

    timing = interleaved({name: work(model) for name, model in chosen.items()}, rounds)
    return {name: timing.ratio(name, WIDER) for name in chosen}


def least_used(folder: str) -> float | None:
    """Share of the least used expert in the last epoch."""
    return json.loads(ModelFolder(Path(folder)).history.read_text().splitlines()[-1])["least_used"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="a manifest or cifar-100-binary; default: drawn scenes")
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--run", type=Path, default=Path("runs/experts"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of models beside the two dense ones")
    parser.add_argument("--ablation", action="store_true", help="the recipe's parts instead")
    parser.add_argument("--one-rate", action="store_true", help="don't tune the learning rate")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()

    scenes = SCENES
    if options.quick:
        scenes = EmojiConfig(64, train_scenes=48, val_scenes=16, search_scenes=4, report_scenes=12)
        options.epochs, options.seeds, options.one_rate = 1, 2, True
    data = options.data
    if data is None:
        data = str(make_manifest("emoji", cache_home() / "data", config=scenes))
    elif is_cifar100(Path(data)):
        data = str(make_manifest(data, cache_home() / "data" / "cifar100"))
    scheme = dataclasses.replace(SCHEME, epochs=options.epochs, weight_decay=DECAY / options.epochs)
    chosen = models(scheme)
    if options.ablation:
        options.only = ["8 experts", "8 experts, plain switch"]
        options.only += [f"8 experts, {part}" for part in ABLATION]
    elif options.only is None:
        chosen = {n: m for n, m in chosen.items() if n.removeprefix("8 experts, ") not in ABLATION}
    if options.only is not None:
        unknown = sorted(set(options.only) - set(chosen))
        if unknown:
            parser.error(f"no model named {unknown[0]!r}; there are {', '.join(chosen)}")
        chosen = {n: m for n, m in chosen.items() if n in (BASE, WIDER, *options.only)}
    keep_freed_memory()
    settings = {"data": data, "pixels": options.pixels, "epochs": options.epochs}
    run = RunFolder.create(options.run, "experts", settings)
    with run.locked(), LocalExecutor(options.workers) as executor:
        reference = prepare(data, options.pixels, run)

        def make(model: Model, rate: float, seed: int, *, name: str) -> TrainingJob:
            return job(model, rate, seed, run, reference, name, tutor.folder)

        tutor = teacher(scheme, run, reference)
        if any(model.taught for model in chosen.values()):
            run_jobs(executor, [tutor], "Teacher")
        rates = tuned_rates(chosen, (1.0,) if options.one_rate else RATES, executor, make)
        seeds = range(1, options.seeds + 1)
        jobs = {(n, s): make(m, rates[n], s, name=n) for s in seeds for n, m in chosen.items()}
        for seed in seeds:  # one after the other: fewer whole seeds are worth more than torn ones
            own = [jobs[name, seed] for name in chosen]
            run_models(executor, list(chosen.values()), own, f"Seed {seed}")

    folders = {name: [jobs[name, seed].folder for seed in seeds] for name in chosen}
    comparison = Comparison(
        {
            name: [Predictions.load(ModelFolder(Path(f)).predictions) for f in own]
            for name, own in folders.items()
        }
    )
    ratios = latencies(chosen, 4 * options.pixels, 5 if options.quick else 40)
    print(f"\n{options.seeds} seeds, {options.epochs:g} epochs, {options.pixels} px, {commit()}")
    records = []
    for name, model in chosen.items():
        record = cost(model, options.pixels) | {"model": name, "rate": rates[name]}
        record["latency_of_wider"] = round(ratios[name], 3)
        used = [share for f in folders[name] if (share := least_used(f)) is not None]
        record["least_used"] = min(used, default=None)
        record["scores"] = judge(comparison, name)
        records.append(record)
        show(record)
    if options.json:
        head = {
            "date": datetime.date.today().isoformat(), "commit": commit(),
            "data": options.data or "emoji",
            "epochs": options.epochs, "pixels": options.pixels, "seeds": options.seeds,
            "scheme": dataclasses.asdict(scheme), "wider": WIDER, "base": BASE,
        }  # fmt: skip
        options.json.write_text(json.dumps({**head, "models": records}, indent=2) + "\n")


def cost(model: Model, pixels: int) -> dict[str, object]:
    a = model.architecture
    return {
        "parameters_M": round(count_parameters(a.base, a.experts) / 1e6, 3),
        "macs_M": round(count_macs(a.base, a.experts, pixels) / 1e6, 1),
    }


def judge(comparison: Comparison, name: str) -> dict[str, dict[str, list[float]]]:
    """Each metric's mean with its interval, and its differences from the dense models."""
    scores: dict[str, dict[str, list[float]]] = {}
    for metric in METRICS:
        found = comparison.estimate(name, metric)
        if found is None:
            continue
        scores[metric] = {"mean": [found.mean, found.low, found.high]}
        for peer in (BASE, WIDER):
            change = comparison.difference(name, peer, metric) if name != peer else None
            if change is not None and change.low is not None:
                scores[metric][peer] = [change.difference, change.low, change.high]
    return scores


def show(record: dict) -> None:
    used = record["least_used"]
    print(
        f"\n{record['model']}: {record['parameters_M']:.2f}M parameters, {record['macs_M']:.0f}M "
        f"MACs, one image {record['latency_of_wider']:.2f} of {WIDER}, rate x {record['rate']:g}"
        + ("" if used is None else f", least used expert {100 * used:.1f} %")
    )
    for metric, found in record["scores"].items():
        cells = []
        for peer, (value, low, high) in found.items():
            sign, of = ("", "") if peer == "mean" else ("+", f" of {peer}")
            low, value, high = (f"{100 * number:{sign}.1f}" for number in (low, value, high))
            cells.append(f"{value:>6} ({low} to {high}){of}")
        print(f"  {metric:22}" + "  ".join(cells))


if __name__ == "__main__":
    main()
