"""``moenas prune``: remove the least needed experts of a trained model as long as quality holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from moenas.config import to_dict
from moenas.data.sources.opening import names_of
from moenas.data.splits import SPLITS
from moenas.errors import ConfigError
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import score
from moenas.models.architecture import Architecture
from moenas.models.convert import architecture_of
from moenas.models.cost import macs_of
from moenas.models.storage import ModelCard, load_model, save_model
from moenas.pruning.experts import PruningResult, PruningStep, prune_experts, refuse_dense
from moenas.pruning.importance import IMPORTANCES
from moenas.pruning.qualities import thresholds
from moenas.report.card.writing import leave_cards
from moenas.run_log import working
from moenas.runs import ModelFolder, RunFolder, find_checkpoint
from moenas.runtime import pick_device
from moenas.serialisation import sha256_of, write_json
from moenas.training.job import DataReference
from moenas.training.loop import check_deadline
from moenas.workflows.data import prepare
from moenas.workflows.prune_steps import StepRecord, flat
from moenas.workflows.prune_tuning import tune, tune_at_the_end
from moenas.workflows.settings import Resources


@dataclasses.dataclass(frozen=True)
class PruneConfig:
    """How a model is pruned.

    Attributes:
        keep_above: Shares of the starting qualities that must remain, 0-1; see `prune_experts`.
        max_parameters: Accept no further removal at this size.
        importance: Name in `IMPORTANCES`.
        curve: Draw the whole curve, down to one expert a layer.
        fine_tune: Epochs of training of the pruned model; 0: none.
        rescue: Train as long whenever a removal breaks a threshold, and go on where that repairs
            it. After each removal it would be as many trainings as there are experts.
    """

    keep_above: dict[str, float] | None = None
    max_parameters: int | None = None
    importance: str = "usage"
    curve: bool = False
    fine_tune: float = 0.0
    rescue: bool = False

    def __post_init__(self) -> None:
        thresholds(self.keep_above)
        IMPORTANCES[self.importance]
        if not 0 <= self.fine_tune < math.inf:
            raise ConfigError(f"fine_tune must be 0 epochs or more, not {self.fine_tune}.")
        if self.rescue and not self.fine_tune:
            raise ConfigError("rescue trains the model: say for how long, e.g. --fine-tune 1.")
        if self.max_parameters is not None and self.max_parameters < 1:
            raise ConfigError(f"max_parameters must be at least 1, not {self.max_parameters}.")


def prune(
    checkpoint: Path | str,
    data: str | Sequence[str],
    run: Path | str,
    config: PruneConfig | None = None,
    *,
    device: str = "auto",
    time_limit: float | None = None,
    on_step: Callable[[PruningStep], None] | None = None,
) -> PruningResult:
    """Prune a checkpoint and leave the smaller one, its curve and its scores in a run folder.

    The same call goes on where an earlier one was ended, however it was ended.

    Args:
        checkpoint: A model of ours with experts.
        data: See `open_manifest`; the splits ``val``, ``search`` and ``report`` are used, and
            ``train`` for fine-tuning.
        run: The run folder.
        config: How.
        device: Where to compute.
        time_limit: Minutes after which the finished steps are kept and pruning stops.
        on_step: Called after each step.

    Raises:
        OutOfTime: The time limit came; the same call goes on.
        ModelError: The model has no experts.
        DataError: The images lack what a threshold or the importance needs.
    """
    config = config or PruneConfig()
    deadline = Resources(device=device, time_limit=time_limit).deadline()
    checkpoint = find_checkpoint(Path(checkpoint))
    model, card = load_model(checkpoint)
    refuse_dense(model)
    settings: dict[str, Any] = {
        "checkpoint": str(checkpoint),
        "data": list(names_of(data)),
        **to_dict(config),
    }
    folder = RunFolder.create(run, "prune", settings)
    with working(folder, settings):
        source = ModelFolder(Path(checkpoint).parent)
        source.checkpoint = Path(checkpoint)
        needed = [name for name in SPLITS if config.fine_tune or name != "train"]
        reference = prepare(data, card.image_size, folder, need_splits=needed)
        result = prune_run(
            source,
            folder,
            reference,
            card.architecture,
            config,
            device=device,
            deadline=deadline,
            on_step=on_step,
        )
        leave_cards(folder)
        return result


def prune_run(
    source: ModelFolder,
    run: RunFolder,
    data: DataReference,
    name: str,
    config: PruneConfig | None = None,
    *,
    device: str = "auto",
    deadline: float | None = None,
    on_step: Callable[[PruningStep], None] | None = None,
) -> PruningResult:
    """Prune a model of a run, and look at the report half once, at the end.

    Args:
        source: The model.
        run: Gets the curve, the pruned model, its predictions and scores.
        data: The images.
        name: Of the model in the curve.
        config: How.
        device: Where to compute.
        deadline: `time.monotonic` value after which `OutOfTime` is raised.
        on_step: Called after each new step.

    Raises:
        OutOfTime: The deadline came; the same call goes on after the last finished step.
    """
    config = config or PruneConfig()
    model, card = load_model(source.checkpoint)
    manifest, images = data.load()
    where = pick_device(device)
    content = sha256_of(source.checkpoint)
    shown = sha256_of(Path(data.manifest))
    record = StepRecord.open(run, {"checkpoint": content, "data": shown, **to_dict(config)})

    def check() -> None:
        check_deadline(deadline, f"pruning '{run.path}'; run it again to go on")

    def rescue(smaller: nn.Module, step: int) -> nn.Module:
        target = run.pruned_tuned(step)
        return tune(smaller, card, data, target, config.fine_tune, where, deadline)

    def note(step: PruningStep) -> None:
        record.add(step)
        if on_step:
            on_step(step)

    result = prune_experts(
        model,
        manifest,
        images,
        keep_above=config.keep_above,
        max_parameters=config.max_parameters,
        importance=config.importance,
        curve=config.curve,
        device=where,
        on_step=note,
        done=record.steps,
        rescue=rescue if config.rescue else None,
        check=check,
    )
    if config.fine_tune and result.accepted:
        result = tune_at_the_end(result, card, run, data, config.fine_tune, where, deadline)
    write_json(run.pruning, curve_record(name, result))
    predictions = predict(
        result.model,
        manifest,
        images,
        splits=("val", "search", "report"),
        threshold=result.threshold,
        device=where,
        check=check,
    )
    target = run.pruned()
    _save(target, result, card, config)
    predictions.save(target.predictions)
    left: Architecture = architecture_of(result.model)
    cost = {
        "parameters": result.steps[result.accepted].parameters,
        "macs": macs_of(left, data.image_size),
    }
    found = set(predictions.frame["split"])
    scores = {
        split: to_dict(score(predictions, split=split, **cost))
        for split in ("search", "report")
        if split in found
    }
    write_json(target.scores, {"scores": scores, "seconds": 0.0, "stopped_because": None})
    return result


def _save(target: ModelFolder, result: PruningResult, card: ModelCard, config: PruneConfig) -> None:
    extra: dict[str, Any] = {"pruned_from": card.architecture}
    if result.fine_tuned_kept:
        extra["fine_tuned_epochs"] = config.fine_tune
    save_model(
        target.checkpoint,
        result.model,
        image_size=card.image_size,
        threshold=result.threshold,
        extra=extra,
    )


def curve_record(name: str, result: PruningResult) -> dict[str, Any]:
    """Return ``pruned/curve.json``.

    Args:
        name: Of the model that was pruned.
        result: Its pruning.
    """
    steps = [flat(step) for step in result.steps]
    return {
        "model": name,
        "importance": result.importance,
        "start": steps[0],
        "thresholds": result.thresholds,
        "accepted": result.accepted,
        "stopped_because": result.stopped_because,
        "fine_tuned": flat(result.fine_tuned) if result.fine_tuned else None,
        "fine_tuned_kept": result.fine_tuned_kept,
        "steps": steps[1:],
    }
