"""``moenas prune``: remove the least used experts of a trained model as long as quality holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from moenas.config import to_dict
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import score
from moenas.models.architecture import Architecture
from moenas.models.convert import architecture_of
from moenas.models.cost import count_macs
from moenas.models.storage import load_model, save_model
from moenas.pruning.experts import PruningResult, PruningStep, prune_experts, thresholds
from moenas.report.card.writing import leave_cards
from moenas.runs import ModelFolder, RunFolder, write_json
from moenas.runtime import pick_device
from moenas.training.job import DataReference
from moenas.workflows.data import prepare


def prune(
    checkpoint: Path | str,
    data: str,
    run: Path | str,
    *,
    keep_above: Mapping[str, float] | None = None,
    max_parameters: int | None = None,
    device: str = "auto",
    on_step: Callable[[PruningStep], None] | None = None,
) -> PruningResult:
    """Prune a checkpoint and leave the smaller one, its curve and its scores in a run folder.

    Args:
        checkpoint: A model of ours.
        data: See `open_manifest`; the splits ``val``, ``search`` and ``report`` are used.
        run: The run folder.
        keep_above: Shares of the starting qualities that must remain; see `prune_experts`.
        max_parameters: Stop at this size.
        device: Where to compute.
        on_step: Called after each step.
    """
    _, card = load_model(checkpoint)
    settings: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "data": data,
        "keep_above": thresholds(keep_above),
        "max_parameters": max_parameters,
    }
    folder = RunFolder.create(run, "prune", settings)
    with folder.locked():
        source = ModelFolder(Path(checkpoint).parent)
        source.checkpoint = Path(checkpoint)
        result = prune_run(
            source,
            folder.pruned(),
            folder.pruning,
            prepare(data, card.image_size, folder),
            card.architecture,
            keep_above=keep_above,
            max_parameters=max_parameters,
            device=device,
            on_step=on_step,
        )
        leave_cards(folder)
        return result


def prune_run(
    source: ModelFolder,
    target: ModelFolder,
    curve: Path,
    data: DataReference,
    name: str,
    *,
    keep_above: Mapping[str, float] | None = None,
    max_parameters: int | None = None,
    device: str = "auto",
    on_step: Callable[[PruningStep], None] | None = None,
) -> PruningResult:
    """Prune the model of one folder into another, and look at the report half once, at the end.

    Args:
        source: The model.
        target: Gets the pruned model, its predictions and scores.
        curve: Gets every step as JSON.
        data: The images.
        name: Of the model in the curve.
        keep_above: See `prune_experts`.
        max_parameters: See `prune_experts`.
        device: Where to compute.
        on_step: Called after each step.
    """
    model, card = load_model(source.checkpoint)
    manifest, images = data.load()
    where = pick_device(device)
    result = prune_experts(
        model,
        manifest,
        images,
        keep_above=keep_above,
        max_parameters=max_parameters,
        device=where,
        on_step=on_step,
    )
    write_json(curve, curve_record(name, result, thresholds(keep_above)))
    predictions = predict(
        result.model,
        manifest,
        images,
        splits=("val", "search", "report"),
        threshold=result.threshold,
        device=where,
    )
    save_model(
        target.checkpoint,
        result.model,
        image_size=card.image_size,
        threshold=result.threshold,
        extra={"pruned_from": card.architecture},
    )
    predictions.save(target.predictions)
    left: Architecture = architecture_of(result.model)
    cost = {
        "parameters": result.steps[result.accepted].parameters,
        "macs": count_macs(left.base, left.experts, data.image_size),
    }
    found = set(predictions.frame["split"])
    scores = {
        split: to_dict(score(predictions, split=split, **cost))
        for split in ("search", "report")
        if split in found
    }
    write_json(target.scores, {"scores": scores, "seconds": 0.0, "stopped_because": None})
    return result


def curve_record(name: str, result: PruningResult, limits: Mapping[str, float]) -> dict[str, Any]:
    """Return ``pruned/curve.json``.

    Args:
        name: Of the model that was pruned.
        result: Its pruning.
        limits: Shares of the starting qualities that had to remain.
    """
    steps = [_flat(step) for step in result.steps]
    return {
        "model": name,
        "start": steps[0],
        "thresholds": dict(limits),
        "accepted": result.accepted,
        "stopped_because": result.stopped_because,
        "steps": steps[1:],
    }


def _flat(step: PruningStep) -> dict[str, Any]:
    values = dataclasses.asdict(step)
    return {**values.pop("scores"), **values}
