"""``moenas search``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import ANYWHERE, Json, Run
from moenas.cli.output import duration, show
from moenas.console import table
from moenas.nas.settings import SearchConfig
from moenas.workflows import search, shared_search
from moenas.workflows.settings import Cluster


def search_command(
    config: SearchConfig,
    run: Run = Path("runs/search"),
    resources: Cluster = ANYWHERE,
    storage: str | None = None,
    dry_run: bool = False,
    json: Json = False,
) -> None:
    """Search a base model's expert counts; report on finalists that were trained anew.

    Args:
        config: What to search.
        run: Run folder.
        resources: Where and how long.
        storage: Where the study is when several processes search together: a PostgreSQL URL, or a
            journal file ('.log') that all of them see. Give all of them the same command.
        dry_run: Tell trials, time and disk, measured in some seconds, and write nothing.
        json: JSON.
    """
    if not dry_run and storage is not None:
        found = shared_search.search_together(config, run, storage, resources)
        if found is None:
            show({"run": str(run), "joined": True}, json)
        else:
            show_search(found, json)
        return
    if not dry_run:
        show_search(search.search(config, run, resources), json)
        return
    cost = search.price(config, resources)
    rows = [
        ("architectures tried", cost.trials),
        ("trainings in all", cost.trainings),
        ("seconds a trial", f"{cost.seconds_a_trial:.0f}"),
        ("total time", duration(cost.seconds)),
        ("workers", resources.count_workers()),
        ("disk", f"{cost.bytes / 1e6:.0f} MB"),
    ]
    show(cost, json, table("This search would take", ("", ""), rows))


def show_search(result: search.SearchResult, as_json: bool) -> None:
    """Print a search's result, a demo's too."""
    names = ("balanced_accuracy", "fairness", "robustness", "overfitting")
    rows = []
    for model in result.comparison["models"]:
        cells = []
        for name in names:
            entry = model["report"].get(name)
            spread = "" if entry is None else f" ±{50 * (entry['high'] - entry['low']):.1f}"
            cells.append("–" if entry is None else f"{100 * entry['mean']:.1f}{spread}")
        rows.append((model["name"], f"{model['parameters'] / 1e6:.2f}M", *cells))
    columns = ("model", "size", *(name.replace("_", " ") for name in names))
    show(
        {
            "run": str(result.run),
            "report": str(result.report),
            "verdict": result.verdict,
            "models": result.comparison["models"],
        },
        as_json,
        table("Report half, per cent ± half of the 95 % interval", columns, rows),
        *result.verdict,
        f"Report: {result.report}",
    )
