"""``moenas prune``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from moenas.cli.arguments import Checkpoint, Data, Json, Run
from moenas.cli.output import show
from moenas.console import progress, table
from moenas.pruning.experts import PruningResult, PruningStep
from moenas.workflows import prune


def prune_command(
    checkpoint: Checkpoint,
    data: Data = ("emoji",),
    run: Run = Path("runs/prune"),
    keep_above: dict[str, float] | None = None,
    max_parameters: int | None = None,
    importance: Literal["usage", "gate", "output", "group"] = "usage",
    curve: bool = False,
    fine_tune: float = 0.0,
    rescue: bool = False,
    device: str = "auto",
    time_limit: float | None = None,
    json: Json = False,
) -> None:
    """Remove the least needed experts of a model, one by one, as long as quality holds.

    Args:
        checkpoint: A model with experts.
        data: Images with the splits val, search and report.
        run: Run folder.
        keep_above: Share of each starting quality that must remain, e.g. balanced_accuracy 0.98.
        max_parameters: Stop at this size.
        importance: What goes first: the expert that is used least, that has the least probability,
            that changes its layer's output least, or that no group (skin tone) uses much.
        curve: Draw the whole curve, down to one expert a layer.
        fine_tune: Epochs of training after pruning.
        rescue: Train also whenever a removal breaks a threshold, and go on if that repairs it.
        device: auto, cpu, cuda, mps.
        time_limit: Minutes after which it saves and stops; run it again to go on.
        json: JSON.
    """
    config = prune.PruneConfig(keep_above, max_parameters, importance, curve, fine_tune, rescue)
    with progress() as bar:
        task = bar.add_task("Pruning", total=None, note="")

        def tell(step: PruningStep) -> None:
            note = f"{step.step} removed, {step.parameters / 1e6:.2f}M parameters"
            bar.update(task, note=note)

        result = prune.prune(
            checkpoint, data, run, config, device=device, time_limit=time_limit, on_step=tell
        )
    names = list(result.steps[0].scores)
    columns = ("removed", "size", *(name.replace("_", " ") for name in names))
    plain = [dataclasses.asdict(step) for step in result.steps]
    tuned = dataclasses.asdict(result.fine_tuned) if result.fine_tuned else None
    show(
        {
            "steps": plain,
            "accepted": result.accepted,
            "stopped_because": result.stopped_because,
            "fine_tuned": tuned,
            "fine_tuned_kept": result.fine_tuned_kept,
        },
        json,
        table(
            "Pruning (search half, per cent; in brackets 95 % intervals, of fairness that of the "
            "true one)",
            columns,
            _rows(result, names),
        ),
        f"Accepted: {result.accepted} removals; no more because {result.stopped_because}.",
        f"Model: {run / 'pruned' / 'checkpoint.safetensors'}",
    )


def _rows(result: PruningResult, names: list[str]) -> list[tuple[str, ...]]:
    rows = []
    for step in result.steps:
        label = str(step.step)
        label += " (trained)" if step.tuned else ""
        label += " (not kept)" if step.step > result.accepted else ""
        rows.append(_row(label, step, names))
    if result.fine_tuned is not None:
        end = "kept" if result.fine_tuned_kept else "no better, not kept"
        rows.append(_row(f"{result.accepted}, trained ({end})", result.fine_tuned, names))
    return rows


def _row(label: str, step: PruningStep, names: list[str]) -> tuple[str, ...]:
    cells = []
    for name in names:
        low, high = step.intervals.get(name, (None, None))
        around = "" if low is None or high is None else f" ({100 * low:.0f}–{100 * high:.0f})"
        cells.append(f"{100 * step.scores[name]:.1f}{around}")
    return label, f"{step.parameters / 1e6:.2f}M", *cells
