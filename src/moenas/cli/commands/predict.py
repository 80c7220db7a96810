"""``moenas predict``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from moenas.cli.arguments import Checkpoint, Json
from moenas.cli.output import show
from moenas.console import table
from moenas.errors import MoENASError
from moenas.workflows import predict


def predict_command(
    checkpoint: Checkpoint,
    images: Annotated[
        tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(help="Image files or folders.")
    ],
    device: str = "auto",
    explain: Annotated[
        Path | None,
        tyro.conf.arg(help="Folder for a picture of each image's path through the experts."),
    ] = None,
    json: Json = False,
) -> None:
    """Is there a person in these images?"""
    answers = predict.predict_files(checkpoint, images, device=device, explain=explain)
    rows = [
        (
            Path(a.path).name,
            a.words,
            "" if a.probability is None else f"{a.probability:.3f}",
        )
        for a in answers
    ]
    errors = [a.error for a in answers if a.error]
    show(
        [dataclasses.asdict(a) for a in answers],
        json,
        table("Predictions", ("image", "answer", "probability"), rows),
        *errors,
        *([] if explain is None else [f"Paths: {explain}"]),
    )
    if errors:
        raise MoENASError(f"{len(errors)} of {len(answers)} images could not be read.")
