"""``moenas benchmark``: a latency table of base models, measured on this device."""

from __future__ import annotations

from pathlib import Path

from moenas.models.latency_measuring import Effort, Measurement
from moenas.nas.settings import NEXT_WIDTH, SearchConfig
from moenas.workflows.latency import measure_table


def benchmark(
    base: str = "mobilevitv2_050",
    wider: str | None = NEXT_WIDTH,
    *,
    image_size: int = 128,
    threads: int = 1,
    device: str = "auto",
    latency_table: Path | None = None,
    effort: Effort | None = None,
) -> Measurement:
    """Measure what experts cost in each layer, and check it with whole models.

    Args:
        base: The base model.
        wider: A second one, as in `SearchConfig`; None: no second one.
        image_size: Side of the images, pixels.
        threads: Threads on a CPU.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        latency_table: Write the table to this file.
        effort: How much to measure.

    Raises:
        MoENASError: Unknown base model or device, or a setting out of range.
    """
    config = SearchConfig(base=base, wider=wider, image_size=image_size)
    bases = [base] if config.wider_base is None else [base, config.wider_base]
    result = measure_table(bases, image_size, device=device, threads=threads, effort=effort)
    if latency_table is not None:
        result.table.save(latency_table)
    return result
