"""Expert pruning: the least used experts go one by one, as long as quality holds.

Usage is counted on the validation images; quality is held on the search half; nothing here looks at
the report half. Removing an expert equals masking its logit, so its tokens fall to the router's
next choice, and only the images that used it are computed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import nn

from moenas.data.cache import ImageStore
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, DataError, did_you_mean
from moenas.evaluation.scores import best_threshold
from moenas.metrics import METRICS
from moenas.models.convert import architecture_of, remove_expert
from moenas.models.cost import parameters_of
from moenas.predictions import COLUMNS, Predictions
from moenas.pruning.usage import Observation, least_used, observe
from moenas.runtime import pick_device

QUALITIES = ("balanced_accuracy", "fairness", "robustness")
"""What must hold; ``overfitting`` is recorded beside them."""

KEEP_ABOVE = {"balanced_accuracy": 0.98, "fairness": 0.95, "robustness": 0.98}
"""Default thresholds, as shares of the unpruned model's values."""


@dataclasses.dataclass(frozen=True)
class PruningStep:
    """One iteration (Fig. 9). Step 0 is the unpruned model.

    Attributes:
        step: Number of removed experts.
        removed: Layer, expert and its share of the layer's tokens; None at step 0.
        architecture: What is left.
        parameters: Its size.
        file_bytes: Bytes of its weights on disk (the file adds a header of some 10 kB).
        threshold: Decision threshold, set on the validation images.
        scores: Metrics on the search half by name, fractions.
        recomputed: Share of the images that had to be computed again, 0–1.
    """

    step: int
    removed: dict[str, object] | None
    architecture: str
    parameters: int
    file_bytes: int
    threshold: float
    scores: dict[str, float]
    recomputed: float


@dataclasses.dataclass(frozen=True)
class PruningResult:
    """The smallest model whose quality held, every step that was tried, why it ended.

    Attributes:
        model: The pruned model.
        threshold: Its decision threshold.
        steps: Step 0 and every accepted one, then the one that broke a threshold, if any did.
        accepted: Number of accepted removals.
        stopped_because: For people.
        predictions: The pruned model's, on validation and search images.
    """

    model: nn.Module
    threshold: float
    steps: tuple[PruningStep, ...]
    accepted: int
    stopped_because: str
    predictions: Predictions


def prune_experts(
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    *,
    keep_above: Mapping[str, float] | None = None,
    max_parameters: int | None = None,
    device: torch.device | None = None,
    on_step: Callable[[PruningStep], None] | None = None,
) -> PruningResult:
    """Remove the least used expert of the whole model until a quality would fall (Section III-B3).

    Args:
        model: A model with S-FFN layers; it is not changed.
        manifest: Images of the splits ``val`` (usage, decision threshold) and ``search`` (quality);
            rows of other splits are not looked at.
        images: Row i is the manifest's row i; unreadable ones are left out.
        keep_above: For each quality the share of its starting value that must remain; those not
            named may fall. Default: `KEEP_ABOVE`.
        max_parameters: Stop as soon as the model is this small.
        device: Where to compute.
        on_step: Called after each step.

    Raises:
        ConfigError: An unknown quality.
        DataError: There are no validation or no search images.
    """
    limits = thresholds(keep_above)
    split = manifest.frame["split"].to_numpy()
    used = np.flatnonzero(((split == "val") | (split == "search")) & images.readable)
    frame = manifest.frame.iloc[used].reset_index(drop=True)
    for name in ("val", "search"):
        if not (frame["split"] == name).any():
            raise DataError(f"Pruning needs images of the split '{name}'; there are none.")
    table = frame[[name for name in COLUMNS if name in frame]]
    validation = np.flatnonzero(frame["split"] == "val")
    device = device or pick_device()

    seen = observe(model, images.images, used, device=device)
    predictions = _decide(table, seen)
    steps = [_step(0, None, model, predictions, 1.0)]
    start = steps[0].scores
    limits = {name: keep for name, keep in limits.items() if name in start}
    reason = "one expert is left in every layer"
    while True:
        if on_step:
            on_step(steps[-1])
        if max_parameters is not None and steps[-1].parameters <= max_parameters:
            reason = f"the model has at most {max_parameters:,} parameters"
            break
        choice = least_used(seen.tokens, validation)
        if choice is None:
            break
        layer, expert, share = choice
        smaller = remove_expert(model, layer, expert)
        affected = np.flatnonzero(seen.tokens[layer][:, expert] > 0)
        after = _without(seen, layer, expert)
        if len(affected):
            after.replace(affected, observe(smaller, images.images, used[affected], device=device))
        tried = _decide(table, after)
        removed = {"layer": layer, "expert": expert, "usage": share}
        steps.append(_step(len(steps), removed, smaller, tried, len(affected) / len(used)))
        broken = [
            name  # a fairness may be negative: what may be lost is a share of its size
            for name, keep in limits.items()
            if steps[-1].scores[name] < start[name] - (1 - keep) * abs(start[name])
        ]
        if broken:
            reason = ", ".join(
                f"{name} would fall from {start[name]:.3f} to {steps[-1].scores[name]:.3f}, "
                f"below {limits[name]:.0%} of it"
                for name in broken
            )
            if on_step:
                on_step(steps[-1])
            break
        model, seen, predictions = smaller, after, tried
    accepted = architecture_of(model)
    count = next(s.step for s in steps if s.architecture == accepted.id)
    return PruningResult(model, predictions.threshold, tuple(steps), count, reason, predictions)


def thresholds(keep_above: Mapping[str, float] | None) -> dict[str, float]:
    """Return the thresholds that hold: those given, or `KEEP_ABOVE`.

    Raises:
        ConfigError: An unknown quality.
    """
    limits = dict(KEEP_ABOVE if keep_above is None else keep_above)
    for name in limits:
        if name not in QUALITIES:
            raise ConfigError(f"Pruning holds no '{name}'. {did_you_mean(name, QUALITIES)}")
    return limits


def _without(seen: Observation, layer: str, expert: int) -> Observation:
    """The observation that images which never used the expert keep."""
    tokens = {name: counts.copy() for name, counts in seen.tokens.items()}
    tokens[layer] = np.delete(tokens[layer], expert, axis=1)
    if tokens[layer].shape[1] == 1:  # a plain FFN routes nothing
        del tokens[layer]
    return Observation(seen.probability.copy(), tokens)


def _decide(table: pd.DataFrame, seen: Observation) -> Predictions:
    predictions = Predictions(table.assign(probability=seen.probability))
    return predictions.with_threshold(best_threshold(predictions.split("val")))


def _step(
    number: int,
    removed: dict[str, object] | None,
    model: nn.Module,
    predictions: Predictions,
    recomputed: float,
) -> PruningStep:
    architecture = architecture_of(model)
    search = predictions.split("search")
    scores = {}
    for name in (*QUALITIES, "overfitting"):
        with contextlib.suppress(DataError):  # no groups, or no poor light: nothing to hold
            scores[name] = METRICS[name].function(predictions if name == "overfitting" else search)
    return PruningStep(
        step=number,
        removed=removed,
        architecture=architecture.id,
        parameters=parameters_of(architecture),
        file_bytes=sum(t.nbytes for t in model.state_dict().values()),
        threshold=predictions.threshold,
        scores=scores,
        recomputed=recomputed,
    )
