"""``moenas verify``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.console import console
from moenas.errors import MoENASError
from moenas.workflows import verify


def verify_command(run: tyro.conf.Positional[Path], json: Json = False) -> None:
    """Recompute every number of a run from its predictions and checkpoints.

    Args:
        run: Run folder.
        json: JSON.
    """
    with console.status("Recomputing every number ..."):
        result = verify.verify(run)
    show(
        dataclasses.asdict(result),
        json,
        f"{result.numbers:,} numbers of {result.models} models recomputed.",
    )
    if result.problems:
        shown = "\n- ".join(result.problems[:20])
        raise MoENASError(f"{len(result.problems)} do not agree:\n- {shown}")
    console.print("[green]All agree.[/green]")
