"""``moenas demo``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import ANY, Json, Run
from moenas.cli.commands.search import show_search
from moenas.workflows import demo
from moenas.workflows.settings import Resources


def demo_command(
    run: Run = Path("runs/demo"), resources: Resources = ANY, json: Json = False
) -> None:
    """Search for fair, robust small models on drawn scenes: the whole path in minutes."""
    show_search(demo.demo(run, resources), json)
