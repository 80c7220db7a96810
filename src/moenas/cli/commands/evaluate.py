"""``moenas evaluate``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import Checkpoint, Data, Json
from moenas.cli.output import group_table, light_table, score_table, show
from moenas.report.measures import probability
from moenas.workflows import evaluate


def evaluate_command(
    checkpoint: Checkpoint,
    data: Data = ("emoji",),
    split: str = "report",
    device: str = "auto",
    save: Path | None = None,
    json: Json = False,
) -> None:
    """Score a model on a data set: accuracy, fairness over groups, light, with intervals.

    Args:
        checkpoint: A model.
        data: Images.
        split: The split to score.
        device: auto, cpu, cuda, mps.
        save: Also write the predictions to this Parquet file.
        json: JSON.
    """
    scores, _ = evaluate.evaluate(checkpoint, data, split=split, device=device, save=save)
    notes = []
    if scores.noise_floor_mean is not None and scores.fairness_p_value is not None:
        p = probability(scores.fairness_p_value)
        notes.append(
            f"A perfectly fair model would have a fairness of {100 * scores.noise_floor_mean:.1f} "
            "on these images; chance alone makes it as unfair as this with p "
            f"{p if p.startswith('<') else f'= {p}'}."
        )
    show(
        scores,
        json,
        score_table(f"{checkpoint.name} on {split}", scores),
        group_table(scores),
        light_table(scores),
        *notes,
    )
