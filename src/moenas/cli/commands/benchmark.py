"""``moenas benchmark``."""

from __future__ import annotations

from pathlib import Path

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.console import table
from moenas.nas.settings import NEXT_WIDTH
from moenas.workflows import benchmark


def benchmark_command(
    base: str = "mobilevitv2_050",
    wider: str | None = NEXT_WIDTH,
    image_size: int = 128,
    threads: int = 1,
    device: str = "auto",
    latency_table: Path | None = None,
    json: Json = False,
) -> None:
    """Measure on this device what experts cost in each layer: a latency table for a search.

    Args:
        base: Base model.
        wider: A second, wider one; next: the base's own next width.
        image_size: Side of the images, pixels.
        threads: Threads on a CPU.
        device: auto, cpu, cuda, mps.
        latency_table: Write the table to this file.
        json: JSON.
    """
    result = benchmark.benchmark(
        base,
        wider,
        image_size=image_size,
        threads=threads,
        device=device,
        latency_table=latency_table,
    )
    found, tables = result.table, []
    for entry in found.bases:
        rows = [
            (layer, *(f"{time:.3f}" for time in added[1:]))
            for layer, added in enumerate(entry.added, start=1)
        ]
        title = f"{entry.base}: {entry.dense_ms:.2f} ms, and what experts add in each layer, ms"
        tables.append(table(title, ("layer", *map(str, range(2, len(rows[0]) + 1))), rows))
    notes = [f"Device: {found.device}, {found.threads} thread(s), {found.image_size} px, one image"]
    if found.agreement is not None:
        ranks = found.agreement.spearman
        notes.append(
            f"Check: {found.agreement.architectures} whole models differ from their sums by "
            f"{100 * found.agreement.median_error:.1f} % (median); rank correlation "
            f"{'–' if ranks is None else f'{ranks:.3f}'}"
        )
    if latency_table is not None:
        notes.append(f"Table: {latency_table}")
    show(found, json, *tables, *notes)
