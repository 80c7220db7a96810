"""The latency table of a search: brought along, measured here, or kept from before."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from moenas.atomic import is_there
from moenas.console import console, logger
from moenas.models.architecture import Architecture
from moenas.models.latency import LatencyTable
from moenas.models.latency_measuring import Effort, Measurement, measure_latency
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.runtime import device_name, keep_freed_memory, pick_device

ROUGH = 0.05
"""Median error of a table above which its user is warned."""


def measure_table(
    bases: Sequence[str],
    image_size: int,
    *,
    device: str = "auto",
    threads: int = 1,
    effort: Effort | None = None,
) -> Measurement:
    """Measure a latency table on this machine, in a minute or two.

    Args:
        bases: Base models.
        image_size: Side of the images, pixels.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        threads: Threads on a CPU.
        effort: How much to measure.
    """
    keep_freed_memory()
    with console.status(f"Measuring the latency of {' and '.join(bases)} ..."):
        result = measure_latency(
            bases, image_size, device=pick_device(device), threads=threads, effort=effort
        )
    agreement = result.table.agreement
    if agreement is not None and agreement.median_error > ROUGH:
        logger.warning(
            "The latency table is rough: half of the whole models differ from it by more than "
            "%.0f %%. Measure again when the machine has less to do.",
            100 * agreement.median_error,
        )
    return result


def given_table(config: SearchConfig) -> LatencyTable | None:
    """Return the table that the settings name, or None.

    Raises:
        ConfigError: The table cannot be used, or is of other models or images.
        RunFolderError: There is no such file.
    """
    return None if config.latency_table is None else _load(config.latency_table, config)


def table_for(config: SearchConfig, run: RunFolder, device: str) -> LatencyTable:
    """Return the run's own table, else the one that is named, else measure one; writes nothing."""
    if is_there(run.latency):
        return _load(run.latency, config)
    table = given_table(config)
    if table is None:
        return measure_table(config.searched_bases, config.image_size, device=device).table
    here = device_name(pick_device(device))
    if table.device != here:
        logger.warning(
            "Latencies are those of the table's device, '%s'; this one is '%s'.", table.device, here
        )
    return table


def _load(path: Path, config: SearchConfig) -> LatencyTable:
    table = LatencyTable.load(path)
    table.require(config.searched_bases, config.image_size)
    return table


def within_latency(config: SearchConfig, table: LatencyTable | None) -> SearchConfig:
    """Return the settings without the wider model's widths where even its dense form is too slow.

    Args:
        config: The settings.
        table: Has all base models that are searched; None: there is no limit to exceed.
    """
    if table is None or config.max_latency_ms is None:
        return config
    for base in config.searched_bases[1:]:
        if table.of(Architecture.dense_base(base)) > config.max_latency_ms:
            logger.info("%s is slower than the latency limit: it is not searched.", base)
            return dataclasses.replace(config, widths=False)
    return config
