"""``moenas train``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import ANY, Json, Run
from moenas.cli.output import score_table, show
from moenas.runtime import process_index
from moenas.workflows import train
from moenas.workflows.settings import Resources


def train_command(
    config: train.TrainConfig,
    run: Run = Path("runs/train"),
    resources: Resources = ANY,
    json: Json = False,
) -> None:
    """Train one architecture and score it."""
    result = train.train(config, run, resources)
    if process_index() > 0:  # the main process says it
        return
    show(
        result,
        json,
        *(score_table(f"{name} half", scores) for name, scores in result.scores.items()),
        f"Model: {run / 'model' / 'checkpoint.safetensors'}",
    )
