"""``moenas routes``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import Checkpoint, Data, Json, Run
from moenas.cli.output import show
from moenas.console import table
from moenas.workflows import routes


def routes_command(
    checkpoint: Checkpoint,
    data: Data = ("emoji",),
    run: Run = Path("runs/routes"),
    split: str = "report",
    by: tuple[str, ...] = (),
    device: str = "auto",
    json: Json = False,
) -> None:
    """Show which experts images go to, and whether that depends on skin tone, light or class.

    Args:
        checkpoint: A model with experts.
        data: Images.
        run: Run folder.
        split: The split whose images are looked at.
        by: Further columns of the manifest to compare by.
        device: auto, cpu, cuda, mps.
        json: JSON.
    """
    record = routes.routes(checkpoint, data, run, split=split, by=by, device=device)
    rows = [
        (layer["number"], layer["experts"], " ".join(f"{100 * x:.0f}" for x in layer["usage"]))
        for layer in record["layers"]
    ]
    columns = ("layer", "experts", "tokens of each expert, per cent")
    show(
        record,
        json,
        *record["sentences"],
        table(f"Use of experts ({record['images']} images)", columns, rows),
        f"Page: {run / 'routes.html'}",
    )
