"""``moenas benchmark``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import interval, show
from moenas.console import table
from moenas.errors import ConfigError, MoENASError
from moenas.export.formats import FORMATS
from moenas.nas.settings import NEXT_WIDTH
from moenas.workflows import benchmark
from moenas.workflows.benchmark_formats import OK, FormatRow, benchmark_formats
from moenas.workflows.benchmark_gate import GateResult


def benchmark_command(
    paths: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(help="Runs, checkpoints or exported files; none: a table for a search."),
    ] = (),
    formats: tuple[str, ...] = (),
    batch: int = 1,
    base: str = "mobilevitv2_050",
    wider: str | None = NEXT_WIDTH,
    image_size: int = 128,
    threads: int = 1,
    device: str = "auto",
    latency_table: Path | None = None,
    gate: str | None = None,
    json: Json = False,
) -> None:
    """Measure models in their formats on this device.

    Each row is a model in a format: size, quality, latency and memory, beside the dense base
    model. Without paths: what experts cost in each layer, a latency table for a search.

    Args:
        paths: Runs, checkpoints or exported files; none: a table for a search.
        formats: Formats to export checkpoints to, for this measurement alone.
        batch: Images at once, with paths.
        base: Base model of a search's table.
        wider: A second, wider one; next: the base's own next width.
        image_size: Side of the images of a search's table, pixels.
        threads: Threads on a CPU.
        device: auto, cpu, cuda, mps; with paths always the CPU.
        latency_table: Write the search's table to this file.
        gate: mlperf-tiny: exit with 1 unless all models reach its 80 % top-1 on COCO's persons.
        json: JSON.
    """
    if paths:
        if latency_table is not None:
            raise ConfigError("A latency table is of no model: name none, or no --latency-table.")
        _show_formats(paths, formats, batch, threads, gate, json)
        return
    if formats or batch != 1 or gate is not None:
        raise ConfigError(
            "--formats, --batch and --gate are for models: name a run or a checkpoint."
        )
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


COLUMNS = ("format", "MB", "acc", "fair", "p50", "p95", "ratio", "RAM", "status")
"""As short as 80 columns want it; the legend below the tables says what they are."""

NAME = max(map(len, FORMATS))
WIDTHS = (4, 4, 4, 4, 4, 5, 3, 7)
"""Letters of the columns, so that the tables of all models stand in line."""

LEGEND = (
    "acc, fair: balanced accuracy and skin fairness on the report half, per cent, as stored when "
    "it was looked at; it is not looked at again",
    "p50, p95: latency of a batch, ms; ratio: times that of the dense base in the same format; "
    "RAM: what a fresh process needs beyond its runtime, MB at the peak",
)


def _show_formats(
    paths: tuple[Path, ...],
    formats: tuple[str, ...],
    batch: int,
    threads: int,
    gate: str | None,
    as_json: bool,
) -> None:
    found = benchmark_formats(paths, formats, threads=threads, batch=batch, gate=gate)
    tables = []
    remarks: dict[tuple[str, str], list[str]] = {}
    for model, group in itertools.groupby(found.rows, key=lambda row: row.model):
        rows = list(group)
        size = next((r.parameters for r in rows if r.parameters is not None), None)
        title = model if size is None else f"{model}: {size / 1e6:.2f}M parameters"
        tables.append(table(title, COLUMNS, map(_cells, rows)))
        for row in rows:
            if text := row.note if row.status == OK else row.status:
                remarks.setdefault((model, text), []).append(row.format)
    notes = [f"{model}, {', '.join(kinds)}: {text}" for (model, text), kinds in remarks.items()]
    machine = (
        f"Device: {found.device}, {found.threads} thread(s), batch {found.batch}, {found.rounds} "
        f"rounds in turns, images: {found.images}"
    )
    judged = [] if found.gate is None else _gate_lines(found.gate)
    show(found, as_json, *tables, *notes, machine, *LEGEND, *judged)
    if found.gate is not None and not found.gate.passed:
        raise MoENASError(f"The gate '{found.gate.gate}' is not passed: {found.gate}.")


def _gate_lines(found: GateResult) -> list[str]:
    lines = [f"Gate {found.gate}: accuracy of the report half, at least {100 * found.accuracy:g} %"]
    for row in found.rows:
        known = row.note
        if row.accuracy is not None:
            known = (
                f"{100 * row.accuracy:.1f} % (95 %: {interval(row.low, row.high)}; "
                f"{row.images:,} images; labels: {row.labels})"
            )
        lines.append(f"  {row.verdict}: {row.model}, {row.format}: {known}")
    return lines


def _cells(row: FormatRow) -> tuple[str, ...]:
    cells = (
        _three(row.bytes, 1e-6),
        _three(row.accuracy, 100),
        _three(row.fairness, 100),
        _three(row.p50_ms),
        _three(row.p95_ms),
        _three(row.times_dense),
        "–" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.0f}",
        row.status.split()[0].rstrip(":"),
    )
    return (row.format.ljust(NAME), *(f"{c:>{w}}" for c, w in zip(cells, WIDTHS, strict=True)))


def _three(value: float | None, scale: float = 1) -> str:
    """Three digits, two of them behind the point at most."""
    if value is None:
        return "–"
    size = abs(value * scale)
    return f"{value * scale:.{2 if size < 9.995 else 1 if size < 99.95 else 0}f}"
