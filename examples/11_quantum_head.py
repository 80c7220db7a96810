"""A quantum head on a model that is kept as it is, beside a classical one of the same size."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

import moenas
from moenas.data.dataset import ImageDataset
from moenas.data.transforms import train_transform
from moenas.models.heads import Head
from moenas.models.quantum_head import with_head
from moenas.runs import ModelFolder
from moenas.training.head_only import HeadStep
from moenas.training.loop import TrainResult, train
from moenas.training.schemes import SCHEMES
from moenas.training.step import Step, plain_step

QUBITS, LAYERS = 4, 2


def made_up(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images [n, 32, 32, 3] and labels [n]: 1 where the picture is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = rng.integers(0, 120, (n, 32, 32, 3), dtype=np.uint8)
    images[labels == 1] += 100
    return images, labels


def fit(model: nn.Module, step: Step, rate: float, folder: Path) -> TrainResult:
    """Train for three epochs."""
    scheme = dataclasses.replace(
        SCHEMES["mobilevitv2"],
        epochs=3,
        batch_size=16,
        learning_rate=rate,
        final_learning_rate=rate / 10,
        augmentation="none",
    )
    return train(
        model,
        ImageDataset(*made_up(192, seed=0), train_transform("none", 32)),
        ImageDataset(*made_up(64, seed=1)),
        scheme,
        folder=ModelFolder(folder),
        device=torch.device("cpu"),
        step=step,
    )


torch.set_num_threads(1)
sizes = set()
with tempfile.TemporaryDirectory() as name:
    work = Path(name)
    body = moenas.build_model("mobilevitv2_050", seed=0)
    body = fit(body, plain_step, 2e-3, work / "body").model
    for kind in ("quantum", "classical"):
        model = with_head(body, Head(kind, QUBITS, LAYERS), seed=0)
        result = fit(model, HeadStep(model), 5e-3, work / kind)  # the body stays as it is
        moenas.save_model(work / "model.safetensors", result.model, image_size=32)
        stored, card = moenas.load_model(work / "model.safetensors")
        sizes.add(sum(parameter.numel() for parameter in stored.parameters()))
        last = result.history[-1]
        print(f"{card.architecture}: loss {last.loss:.3f}, accuracy {last.accuracy_val:.3f}")
print(f"as many parameters: {len(sizes) == 1}")

try:
    import pennylane as qml

    from moenas.models.pennylane_circuit import pennylane_circuit
    from moenas.models.quantum_circuit import QuantumCircuit
except ImportError:
    print("pip install 'moenas[quantum]' draws the circuit")
else:
    circuit = QuantumCircuit(QUBITS, LAYERS)
    draw = qml.draw(pennylane_circuit(circuit), level="device", show_matrices=False, max_length=90)
    print(draw(torch.zeros(QUBITS), circuit.weight.detach()))
