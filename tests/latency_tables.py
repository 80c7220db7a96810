"""A made-up latency table: every number is known."""

from __future__ import annotations

from moenas.models.cost import layer_count
from moenas.models.latency import BaseLatency, LatencyTable

BASES = {"mobilevitv2_050": 5.0, "mobilevitv2_075": 8.0}


def added(layer: int, experts: int) -> float:
    """Milliseconds that experts add in a layer (0, 1, ...) of any base."""
    return (layer + 1) * (experts - 1) / 100


def make_table(bases: dict[str, float] | None = None, image_size: int = 32) -> LatencyTable:
    """``bases``: name and milliseconds of the dense model."""
    entries = [
        BaseLatency(
            base,
            dense,
            tuple(
                tuple(0.2 + added(layer, n) for n in range(1, 9))
                for layer in range(layer_count(base))
            ),
        )
        for base, dense in (bases or BASES).items()
    ]
    return LatencyTable("a phone", 1, image_size, tuple(entries))
