"""What routed ONNX files cost beside dense ones, in ONNX Runtime, one thread.

Two denominators: timm's own dense model as torch's exporter writes it, which is what a user would
have without moenas, and our dense export, which is the fastest dense file here. All run in turns;
a call's time is that of its thread on the processor, which other processes disturb less. Our files
get uint8 images and normalise them; timm's file and the eager models get normalised ones.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import timm
import torch

from moenas.data.dataset import normalise
from moenas.export.metadata import Details
from moenas.export.onnx_file import onnx_model
from moenas.models.builder import build_model
from moenas.models.cost import count_parameters
from moenas.models.folding import fold_batch_norms
from moenas.serialisation import write_json
from moenas.timing import interleaved

SIZE = 128
BASE = "mobilevitv2_050"
FINALIST = (1, 3, 4, 3, 2, 4, 2, 3, 3)
"""Like those that searches end with: 1.81M parameters."""


def distinct(model: torch.nn.Module) -> torch.nn.Module:
    """Give experts and routers different weights, so that tokens spread over all experts."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("router.weight"):
                value.copy_(torch.randn(value.shape, generator=draw))
            elif ".mlp." in name:
                value.add_(torch.randn(value.shape, generator=draw) * value.std() * 0.3)
    return model.eval()


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    models = {
        "dense": build_model(BASE, seed=0).eval(),
        "finalist": distinct(build_model(BASE, FINALIST, seed=0)),
        "E = 8 everywhere": distinct(build_model(BASE, (8,) * 9, seed=0)),
    }
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = {"timm dense": Path(folder) / "timm.onnx"}
        stock = timm.create_model(BASE, num_classes=2).eval()
        torch.onnx.export(
            stock,
            (torch.zeros(2, 3, SIZE, SIZE),),
            files["timm dense"],
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
            external_data=False,
        )
        images = np.random.default_rng(0).integers(0, 256, (32, SIZE, SIZE, 3), dtype=np.uint8)
        floats = normalise(torch.from_numpy(images))
        for name, model in models.items():
            experts = model.architecture.experts  # type: ignore[union-attr]
            parameters = count_parameters(BASE, experts)
            details = Details(
                model.architecture.id, "exact", ("no person", "person"), SIZE, 0.5, parameters
            )
            files[name] = Path(folder) / f"{len(files)}.onnx"
            onnx.save(onnx_model(model, details), files[name])
            (logits,) = session(files[name]).run(["logits"], {"image": images})
            with torch.no_grad():
                difference = float(np.abs(model(floats).numpy() - logits).max())
            size = files[name].stat().st_size / (4 * parameters)
            found += [
                row(f"{name}: bytes", size, "of the parameters'", "parameters in float32", 1.15),
                row(f"{name}: logits", difference, "largest difference", "eager model", 1e-4),
            ]
        sessions = {name: session(path) for name, path in files.items()}
        eager = {f"eager {n}": fold_batch_norms(m) for n, m in models.items() if n != "dense"}
        for batch, rounds in (
            (1, 40 if arguments.quick else 200),
            (32, 4 if arguments.quick else 80),
        ):
            found += measure(batch, rounds, sessions, eager, images, floats.numpy())
    for each in found:
        goal = "" if each["goal"] is None else f"(goal {each['goal']:g})"
        print(f"{each['case']:44s} {each['value']:10.3g} {each['unit']} {each['peer']} {goal}")
    if arguments.json:
        write_json(arguments.json, found)


def measure(
    batch: int,
    rounds: int,
    sessions: dict[str, onnxruntime.InferenceSession],
    eager: dict[str, torch.nn.Module],
    images: np.ndarray,
    floats: np.ndarray,
) -> list[dict[str, Any]]:
    """Run everything in turns; return ratios of times."""
    x = torch.from_numpy(floats[:batch])
    work: dict[str, Any] = {}
    for name, each in sessions.items():
        key = each.get_inputs()[0].name
        feed = {key: floats[:batch] if name == "timm dense" else images[:batch]}
        work[name] = lambda each=each, feed=feed: each.run(None, feed)
    for name, model in eager.items():
        work[name] = lambda model=model: model(x)
    with torch.inference_mode():
        timing = interleaved(work, rounds, clock=time.thread_time)
    goals = {"E = 8 everywhere": {1: 1.55, 32: 1.08}, "finalist": {1: 1.3, 32: None}}
    rows = [
        row(f"{name}, batch {batch}", 1e3 * timing.quartile(name), "ms", "itself", None)
        for name in work
    ]
    for name, limits in goals.items():
        for peer in ("timm dense", "dense"):
            ratio = timing.quartile(name) / timing.quartile(peer)
            rows.append(row(f"{name}, batch {batch}", ratio, "of", peer, limits[batch]))
        ratio = timing.quartile(name) / timing.quartile(f"eager {name}")
        rows.append(row(f"{name}, batch {batch}", ratio, "of", f"eager {name}", 1.0))
    return rows


def row(case: str, value: float, unit: str, peer: str, goal: float | None) -> dict[str, Any]:
    return {
        "case": case, "value": value, "unit": unit, "peer": peer, "goal": goal, "better": "lower",
    }  # fmt: skip


if __name__ == "__main__":
    main()
