"""The quantum head of a model, and its classical peer; how a model gets one.

The paper (Fig. 11) replaces the classifier by a quantum one and gives no circuit. Ours: pooled
features, linear to q values, tanh, as angles into a circuit, linear from the q expectations to the
classes. No package for quantum computing is needed: `pennylane_circuit` has the way to PennyLane.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from moenas.errors import ModelError
from moenas.models.classical_core import ClassicalCore
from moenas.models.classifier import NO_CLASSIFIER, find_classifier
from moenas.models.convert import architecture_of
from moenas.models.heads import Head
from moenas.models.quantum_circuit import QuantumCircuit


class NarrowHead(nn.Module):
    """Pooled features ``[B, F]`` to logits ``[B, C]`` through a core of few units or qubits."""

    def __init__(self, head: Head, width: int, num_classes: int) -> None:
        """Initialise at random.

        Args:
            head: What it is.
            width: F.
            num_classes: C.
        """
        super().__init__()
        self.head, self.in_features, self.out_features = head, width, num_classes
        core = QuantumCircuit if head.kind == "quantum" else ClassicalCore
        self.reduce = nn.Linear(width, head.qubits)
        self.core = core(head.qubits, head.layers)
        self.expand = nn.Linear(head.qubits, num_classes)

    def angles(self, features_BF: Tensor) -> Tensor:
        """Return what the core is given ``[B, q]``: angles within -pi to pi, or within -1 to 1."""
        bounded: Tensor = torch.tanh(self.reduce(features_BF))
        return bounded * math.pi if self.head.kind == "quantum" else bounded

    def forward(self, features_BF: Tensor) -> Tensor:
        """Compute the logits."""
        logits: Tensor = self.expand(self.core(self.angles(features_BF)))
        return logits


def with_head(model: nn.Module, head: Head | None, *, seed: int = 0) -> nn.Module:
    """Return a copy of a model with another head, initialised at random.

    Args:
        model: A model of ours; it is not changed.
        head: None: a linear classifier.
        seed: Of the new head; torch's global generator is not touched.

    Raises:
        ModelError: The model is not one of ours, or has no single classifier on pooled features.
    """
    model = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        set_head(model, head)
    return model


def set_head(model: nn.Module, head: Head | None) -> None:
    """Replace a model's classifier in place; draws from torch's generator; see `with_head`."""
    architecture = architecture_of(model)
    found = find_classifier(model)
    if found is None:
        raise ModelError(NO_CLASSIFIER.format(name=architecture.base))
    name, old = found
    width, classes = old.in_features, old.out_features
    assert isinstance(width, int)
    assert isinstance(classes, int)
    new = nn.Linear(width, classes) if head is None else NarrowHead(head, width, classes)
    weight = next(old.parameters())
    model.set_submodule(name, new.to(weight.device, weight.dtype).train(old.training))
    model.architecture = architecture.with_head(head)  # type: ignore[assignment]
