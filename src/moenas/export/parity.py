"""Whether an exported model is still the model: logits, decisions, routing and each group's part.

Tolerances are stated here and in every card. A token whose two best experts are equal but for
rounding may go to the other one, which changes its image's logits visibly: logits are therefore
compared over the images whose tokens were all routed alike, and how many tokens were not is limited
by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moenas.data.cache import ImageStore
from moenas.data.dataset import normalise
from moenas.data.manifest import Manifest
from moenas.errors import ModelError
from moenas.evaluation.predict import tabulate
from moenas.export.exported import Experts, person
from moenas.models.folding import fold_batch_norms
from moenas.models.routing import record_routing
from moenas.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Tolerances:
    """How far an export may be from its model.

    Attributes:
        logits: Largest difference of a logit, over images routed alike.
        decisions: Least share of images with the same decision.
        routing: Least share of tokens with the same expert.
        groups: Largest change of one group's accuracy, and of the gap between the lightest and the
            darkest group, or two images of the smallest group where those are more.
    """

    logits: float
    decisions: float
    routing: float
    groups: float


FLOAT = Tolerances(logits=1e-4, decisions=0.999, routing=0.9999, groups=0.002)
"""For files with float32 weights."""

INT8 = Tolerances(logits=0.5, decisions=0.98, routing=0.95, groups=0.01)
"""For files with 8-bit weights and activations."""


class Runner(Protocol):
    """An exported file that runs."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and each layer's experts ``[B, tokens]``."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How alike a model and its export are on one split; see `Tolerances`.

    None where nothing can be said: no routed layer, no groups, no image routed alike.
    """

    split: str
    images: int
    logits: float | None
    decisions: float
    routing: float | None
    group_change: float | None
    gap_change: float | None
    smallest_group: int | None

    def problems(self, limits: Tolerances) -> list[str]:
        """Return what lies beyond the tolerances, in words."""
        found = []
        if self.logits is not None and not self.logits <= limits.logits:
            found.append(f"logits differ by up to {self.logits:.1e} (allowed {limits.logits:.0e})")
        if self.decisions < limits.decisions:
            found.append(f"{self.decisions:.2%} of decisions agree (least {limits.decisions:.1%})")
        if self.routing is not None and self.routing < limits.routing:
            found.append(f"{self.routing:.3%} of tokens agree (least {limits.routing:.2%})")
        allowed = max(limits.groups, 2 / (self.smallest_group or 1))
        for name, change in (
            ("a group's accuracy", self.group_change),
            ("the gap between the lightest and the darkest group", self.gap_change),
        ):
            if change is not None and change > allowed + 1e-9:  # exactly two images are allowed
                found.append(f"{name} changes by {change:.1%} (allowed {allowed:.1%})")
        return [f"{each}, on split '{self.split}'" for each in found]


@dataclasses.dataclass(frozen=True)
class Answers:
    """What one model says about images: logits ``[n, K]``, and each token's expert by layer."""

    logits: npt.NDArray[np.float32]
    experts: Experts


@torch.inference_mode()
def eager_answers(
    model: nn.Module,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.integer],
    batch_size: int = 32,
) -> Answers:
    """Run the model itself, on the CPU.

    Args:
        model: A model of ours; it is not changed.
        images: ``[n, height, width, 3]``.
        rows: Which of them, in this order.
        batch_size: Images at once.
    """
    model = fold_batch_norms(model).cpu()
    parts = []
    for start in range(0, len(rows), batch_size):
        batch = torch.from_numpy(np.array(images[rows[start : start + batch_size]]))
        with record_routing(model) as routings:
            logits = model(normalise(batch)).float().numpy()
        experts = {
            layer: routing.expert.view(len(batch), -1).numpy().astype(np.int64)
            for layer, routing in routings.items()
        }
        parts.append(Answers(logits, experts))
    return _joined(parts)


def exported_answers(
    model: Runner,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.integer],
    batch_size: int = 32,
) -> Answers:
    """Run an exported model; see `eager_answers`."""
    parts = [
        Answers(*model.run(np.array(images[rows[start : start + batch_size]])))
        for start in range(0, len(rows), batch_size)
    ]
    return _joined(parts)


def _joined(parts: list[Answers]) -> Answers:
    if not parts:
        raise ModelError("There is no image to compare a model and its export on.")
    experts = {
        layer: np.concatenate([part.experts[layer] for part in parts]) for layer in parts[0].experts
    }
    return Answers(np.concatenate([part.logits for part in parts]), experts)


def compare(
    manifest: Manifest,
    rows: npt.NDArray[np.integer],
    eager: Answers,
    exported: Answers,
    threshold: float,
) -> Agreement:
    """Hold an export's answers on one split against its model's.

    Args:
        manifest: Describes the images.
        rows: ``[n]`` Which of them were answered, all of one split.
        eager: Of the model.
        exported: Of the file.
        threshold: From which probability on a person is seen.
    """
    tables = [tabulate(manifest, rows, person(a.logits), threshold) for a in (eager, exported)]
    alike = np.ones(len(rows), dtype=np.bool_)
    same = total = 0
    for layer, ours in eager.experts.items():
        equal = ours == exported.experts[layer]
        alike &= equal.all(axis=1)
        same, total = same + int(equal.sum()), total + equal.size
    difference = np.abs(eager.logits - exported.logits).max(axis=1)
    accuracies = [_accuracies(table) for table in tables]
    first, second = accuracies
    changes = [abs(first[group][0] - second[group][0]) for group in first]
    gaps = [_gap(each) for each in accuracies]
    return Agreement(
        split=str(manifest.frame["split"].iloc[int(rows[0])]),
        images=len(rows),
        logits=float(difference[alike].max()) if alike.any() else None,
        decisions=float((tables[0].prediction == tables[1].prediction).mean()),
        routing=same / total if total else None,
        group_change=max(changes, default=None),
        gap_change=None if gaps[0] is None or gaps[1] is None else abs(gaps[0] - gaps[1]),
        smallest_group=min((count for _, count in first.values()), default=None),
    )


def rows_of(manifest: Manifest, images: ImageStore, split: str) -> npt.NDArray[np.integer]:
    """Return the readable images of a split."""
    wanted = (manifest.frame["split"] == split).to_numpy() & images.readable
    return np.flatnonzero(wanted)


def _accuracies(table: Predictions) -> dict[int, tuple[float, int]]:
    """Accuracy and number of images of each group."""
    return {
        int(group): (float(table.correct[table.group == group].mean()), int(count))
        for group, count in zip(*np.unique(table.group, return_counts=True), strict=True)
        if group >= 0
    }


def _gap(accuracies: Mapping[int, tuple[float, int]]) -> float | None:
    if len(accuracies) < 2:
        return None
    return accuracies[min(accuracies)][0] - accuracies[max(accuracies)][0]
