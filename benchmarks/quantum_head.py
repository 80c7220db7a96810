"""The paper's Fig. 11: is a quantum head worth anything, and what does it cost?

Time: forward and backward pass of the circuit for a batch of 64 on one thread, beside PennyLane's
TorchLayer (``default.qubit``, backprop, broadcasting), in turns; the extra ``quantum`` is needed.

Scores: models with experts are trained on drawn scenes as `table/train.py` does, and their bodies
frozen. On the pooled features of each three heads are trained alike: linear (what the model had),
quantum, and classical with exactly as many parameters as the quantum one and the same wiring. Each
takes the best of the same learning rates and epochs on the validation images. Printed are means
over the bodies on the report half with 95 % intervals that cover bodies, seeds and images, and
differences, paired by body, seed and image. ``--run`` keeps the trained bodies.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy

import argparse
import dataclasses
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from commit import commit
from moenas.config import to_dict
from moenas.data.cache import ImageStore
from moenas.data.dataset import normalise
from moenas.data.manifest import Manifest
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.records import against
from moenas.models.architecture import Architecture
from moenas.models.classifier import find_classifier
from moenas.models.cost import parameters_of
from moenas.models.folding import fold_batch_norms
from moenas.models.heads import Head
from moenas.models.pennylane_circuit import pennylane_circuit
from moenas.models.quantum_circuit import QuantumCircuit
from moenas.models.quantum_head import NarrowHead
from moenas.models.storage import load_model
from moenas.predictions import Predictions
from moenas.report.figure_heads import heads_compared
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.runtime import derived_seed, keep_freed_memory
from moenas.timing import interleaved
from moenas.training.job import TrainingJob, run_job
from moenas.training.outcome import judge
from moenas.workflows.data import make_manifest, prepare
from table.train import PIXELS, SCENES, SCHEME

ARCHITECTURES = ("mobilevitv2_050-e124432631", "mobilevitv2_050-e616434144")
SEEDS = (1, 2)
BODIES = [(name, seed) for name in ARCHITECTURES for seed in SEEDS]
HEADS = {"linear": None, "classical": Head("classical", 8, 2), "quantum": Head("quantum", 8, 2)}
METRICS = ("balanced_accuracy", "fairness", "robustness", "overfitting")
RATES = (1e-3, 3e-3, 1e-2)
BATCH, EPOCHS = 64, 6
GOAL_MS = 60.0


def torch_layer(circuit: QuantumCircuit) -> nn.Module:
    """PennyLane's layer with the same circuit."""
    import pennylane as qml

    layer: nn.Module = qml.qnn.TorchLayer(
        pennylane_circuit(circuit), {"weights": tuple(circuit.weight.shape)}
    )
    return layer


def timings(qubits: tuple[int, ...], rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of wall and of CPU time, forward and backward."""
    rows = []
    for q in qubits:
        circuit = QuantumCircuit(q, 2)
        peers = {"moenas": circuit, "pennylane": torch_layer(circuit)}
        angles = (2 * torch.rand(BATCH, q) - 1) * math.pi

        def once(layer: nn.Module, angles: Tensor = angles) -> Callable[[], None]:
            def call() -> None:
                layer(angles.clone().requires_grad_()).sum().backward()

            return call

        work = {name: once(layer) for name, layer in peers.items()}
        for unit, clock in (("ms", time.perf_counter), ("CPU ms", time.process_time)):
            found = interleaved(work, rounds, clock=clock)
            rows.append(
                {
                    "case": f"{q} qubits, 2 layers, batch {BATCH}, forward + backward",
                    "value": 1000 * found.quartile("moenas"),
                    "unit": unit,
                    "peer": 1000 * found.quartile("pennylane"),
                    "ratio": found.ratio("pennylane", "moenas"),
                    "goal": GOAL_MS if q == 8 else None,
                    "better": "lower",
                }
            )
    return rows


@torch.inference_mode()
def features(model: nn.Module, images: ImageStore, rows: np.ndarray) -> Tensor:
    """What the model's classifier is given ``[n, F]``."""
    model = fold_batch_norms(model)
    found = find_classifier(model)
    assert found is not None
    model.set_submodule(found[0], nn.Identity())
    parts = [
        model(normalise(torch.from_numpy(np.array(images.images[part]))))
        for part in np.array_split(rows, math.ceil(len(rows) / 64))
    ]
    return torch.cat(parts).clone()


def fit(
    head: Head | None, x: dict[str, Tensor], y: dict[str, Tensor], rate: float, seed: int
) -> tuple[float, nn.Module]:
    """Train a head and return it as it was after its best epoch, with its validation accuracy."""
    torch.manual_seed(seed)
    width = x["train"].shape[1]
    model = nn.Linear(width, 2) if head is None else NarrowHead(head, width, 2)
    steps = EPOCHS * (len(x["train"]) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = torch.Generator().manual_seed(seed)
    best, weights = -1.0, model.state_dict()
    for _ in range(EPOCHS):
        shuffled = torch.randperm(len(x["train"]), generator=order)
        for rows in shuffled.split(BATCH):
            if len(rows) < BATCH:
                break
            loss = nn.functional.cross_entropy(
                model(x["train"][rows]), y["train"][rows], label_smoothing=SCHEME.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            said = model(x["val"]).argmax(1)
        right = [(said[y["val"] == label] == label).float().mean() for label in (0, 1)]
        accuracy = float(sum(right) / 2)
        if accuracy >= best:
            best, weights = accuracy, {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(weights)
    return best, model


def judged(
    manifest: Manifest, images: ImageStore, body: nn.Module, seed: int
) -> tuple[dict[str, Predictions], dict[str, float]]:
    """Predictions of the three heads on one body, and seconds that training took."""
    split = manifest.frame["split"].to_numpy()
    rows = {
        name: np.flatnonzero((split == name) & images.readable)
        for name in ("train", "val", "report")
    }
    x = {name: features(body, images, chosen) for name, chosen in rows.items()}
    labels = torch.from_numpy(manifest.frame["label"].to_numpy(dtype=np.int64).copy())
    y = {name: labels[torch.from_numpy(chosen)] for name, chosen in rows.items()}
    shown = np.concatenate([rows["val"], rows["report"]])
    predictions, seconds = {}, {}
    for name, head in HEADS.items():
        start = time.process_time()
        found = [fit(head, x, y, rate, derived_seed(seed, "head")) for rate in RATES]
        seconds[name] = (time.process_time() - start) / len(RATES)
        place = max(range(len(RATES)), key=lambda index: found[index][0])
        (accuracy, model), rate = found[place], RATES[place]
        with torch.no_grad():
            logits = model(torch.cat([x["val"], x["report"]]))
        predictions[name] = judge(manifest, shown, logits.softmax(1)[:, 1].double().numpy())
        print(f"  seed {seed}, {name}: validation {accuracy:.3f}, rate {rate}", flush=True)
    return predictions, seconds


def scores(path: Path, bodies: list[tuple[str, int]], scenes: Any, epochs: float) -> dict[str, Any]:
    """Train bodies and heads and compare the heads."""
    manifest_path = str(make_manifest("emoji", cache_home() / "data", config=scenes))
    run = RunFolder.create(path, "quantum-head", {"epochs": epochs, "scenes": to_dict(scenes)})
    data = prepare(manifest_path, PIXELS, run)
    scheme = dataclasses.replace(SCHEME, epochs=epochs)
    tables: dict[str, list[Predictions]] = {name: [] for name in HEADS}
    seconds: dict[str, list[float]] = {name: [] for name in HEADS}
    for architecture, seed in bodies:
        folder = run.finalist(architecture, seed)
        run_job(TrainingJob(architecture, str(folder.path), data, scheme, seed=seed, device="cpu"))
        body, _ = load_model(ModelFolder(folder.path).checkpoint)
        predictions, took = judged(*data.load(), body, seed)
        for name in HEADS:
            tables[name].append(predictions[name])
            seconds[name].append(took[name])
    compared = Comparison(tables)
    rows = []
    for name in HEADS:
        for metric in METRICS:
            found = compared.estimate(name, metric)
            if found is not None:
                rows.append({"model": name, "metric": metric, **dataclasses.asdict(found)})
    differences = [
        {"model": "quantum", "peer": peer, "metric": metric, **entry}
        for peer in ("classical", "linear")
        for metric, entry in against(compared, peer)["quantum"].items()
        if metric in METRICS
    ]
    first = Architecture.parse(bodies[0][0])
    sizes = {name: parameters_of(first.with_head(head)) for name, head in HEADS.items()}
    training = {name: float(np.median(took)) for name, took in seconds.items()}
    return {
        "scores": rows,
        "differences": differences,
        "parameters": sizes,
        "head_training_cpu_seconds": training,
        "bodies": bodies,
    }


def show(result: dict[str, Any]) -> None:
    for row in result["timing"]:
        print(
            f"{row['case']}: {row['value']:.1f} {row['unit']}, PennyLane {row['peer']:.1f} "
            f"({row['ratio']:.1f} x)"
        )
    print(f"\n{'head':<11}{'parameters':>11}" + "".join(f"{m:>27}" for m in METRICS))
    for name in HEADS:
        rows = {row["metric"]: row for row in result["scores"] if row["model"] == name}
        cells = [
            f"{100 * r['mean']:.1f} [{100 * r['low']:.1f}, {100 * r['high']:.1f}]"
            for r in (rows[metric] for metric in METRICS)
        ]
        print(f"{name:<11}{result['parameters'][name]:>11,}" + "".join(f"{c:>27}" for c in cells))
    print("\nquantum minus           points [95 %], p after Holm")
    for row in result["differences"]:
        print(
            f"{row['peer']:<10}{row['metric']:<20}{100 * row['difference']:+.1f} "
            f"[{100 * row['low']:+.1f}, {100 * row['high']:+.1f}], {row['p_holm']:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=Path("runs/quantum-head"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path, help="PNG, PDF or SVG of the scores")
    parser.add_argument("--quick", action="store_true", help="few scenes, two bodies: does it run?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    warnings.filterwarnings("ignore", module="pennylane")
    bodies, scenes, epochs = BODIES, SCENES, SCHEME.epochs
    if options.quick:
        scenes = dataclasses.replace(
            SCENES, train_scenes=100, val_scenes=50, search_scenes=6, report_scenes=12
        )
        bodies, epochs = BODIES[:2], 1
    result = {
        "commit": commit(),
        "timing": timings((4, 8), 5 if options.quick else 20),
        **scores(options.run, bodies, scenes, epochs),
    }
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.figure:
        heads_compared(pd.DataFrame(result["scores"])).savefig(options.figure)


if __name__ == "__main__":
    main()
