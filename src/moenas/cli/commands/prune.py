"""``moenas prune``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from moenas.cli.arguments import Checkpoint, Data, Json, Run
from moenas.cli.output import show
from moenas.console import table
from moenas.workflows import prune


def prune_command(
    checkpoint: Checkpoint,
    data: Data = ("emoji",),
    run: Run = Path("runs/prune"),
    keep_above: dict[str, float] | None = None,
    max_parameters: int | None = None,
    device: str = "auto",
    json: Json = False,
) -> None:
    """Remove the least used experts of a model, one by one, as long as quality holds.

    Args:
        checkpoint: A model with experts.
        data: Images with the splits val, search and report.
        run: Run folder.
        keep_above: Share of each starting quality that must remain, e.g. balanced_accuracy 0.98.
        max_parameters: Stop at this size.
        device: auto, cpu, cuda, mps.
        json: JSON.
    """
    result = prune.prune(
        checkpoint, data, run, keep_above=keep_above, max_parameters=max_parameters, device=device
    )
    rows = [
        (
            step.step if step.step <= result.accepted else f"{step.step} (refused)",
            f"{step.parameters / 1e6:.2f}M",
            *(f"{100 * value:.1f}" for value in step.scores.values()),
        )
        for step in result.steps
    ]
    columns = ("removed", "size", *(name.replace("_", " ") for name in result.steps[0].scores))
    plain = [dataclasses.asdict(step) for step in result.steps]
    show(
        {"steps": plain, "accepted": result.accepted, "stopped_because": result.stopped_because},
        json,
        table("Pruning (search half, per cent)", columns, rows),
        f"Stopped: {result.stopped_because}.",
        f"Model: {run / 'pruned' / 'checkpoint.safetensors'}",
    )
