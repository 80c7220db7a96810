"""How well a latency table tells the latency of whole models that it was not made from.

Random architectures of MobileViTV2-0.5 and -0.75, from no experts to eight in every layer, beside
what multiply-adds and parameters tell in the same run. Both have one number for a base model and
its experts, none of time: they can only rank, so the rank correlation is what is compared, over
both base models and within each, where ranking is hard. The error of a straight line fitted
through them over the very architectures that it is judged on is the best that they could do.
A third peer is the table as it is usually made, of layers that are timed alone.

All architectures, the table's and the others, run in turns, one image at a time; then the layers.

    python benchmarks/latency_table.py [--quick] [--threads N] [--image-size N] [--json FILE]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path

import numpy as np
import torch

from moenas.models.bases import get_base
from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers
from moenas.models.cost import count_macs, count_parameters
from moenas.models.folding import fold_batch_norms
from moenas.models.latency import LatencyTable, agreement, rank_correlation
from moenas.models.latency_measuring import Checked, Effort, measure_latency
from moenas.models.switch_ffn import SwitchFFN
from moenas.runtime import keep_freed_memory
from moenas.timing import interleaved
from switch_ffn import inference

BASES = ("mobilevitv2_050", "mobilevitv2_075")
QUICK = Effort(blocks=6, checks=16, rounds=12)
FULL = Effort(blocks=12, checks=32, rounds=24)
ERROR_GOAL = 0.05
RANK_GOAL = 0.95


def layers_alone(table: LatencyTable, rounds: int) -> LatencyTable:
    """Return a table with the same dense models and layers that are timed one by one."""
    entries = []
    for entry in table.bases:
        base = get_base(entry.base)
        ffns = ffn_layers(fold_batch_norms(build_model(entry.base, seed=0))).values()
        work = {}
        for layer, (ffn, count) in enumerate(zip(ffns, base.tokens(table.image_size), strict=True)):
            tokens = torch.randn(1, count, ffn.dim)
            for n in range(1, 9):
                module = ffn if n == 1 else SwitchFFN.from_ffn(ffn, n).eval()
                work[f"{layer} {n}"] = inference(module, tokens)
        clock = time.thread_time if table.threads == 1 else time.perf_counter
        timing = interleaved(work, rounds, minimum_seconds=0.0005, clock=clock)
        layers = tuple(
            tuple(1e3 * timing.quartile(f"{layer} {n}") for n in range(1, 9))
            for layer in range(len(base.layers))
        )
        entries.append(dataclasses.replace(entry, layers=layers))
    return dataclasses.replace(table, bases=tuple(entries))


def peers(checks: tuple[Checked, ...], image_size: int) -> dict[str, list[int]]:
    models = [check.architecture for check in checks]
    return {
        "MACs": [count_macs(m.base, m.experts, image_size) for m in models],
        "parameters": [count_parameters(m.base, m.experts) for m in models],
    }


def line(values: list[int], measured: list[float]) -> list[float]:
    """Return the least squares line through (value, measured), at the values."""
    slope, start = np.polyfit(np.array(values, dtype=float), measured, 1)
    return [start + slope * value for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer architectures and repetitions")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    keep_freed_memory()
    size = arguments.image_size
    result = measure_latency(
        BASES,
        size,
        device=torch.device("cpu"),
        threads=arguments.threads,
        effort=QUICK if arguments.quick else FULL,
    )
    print(f"{result.table.device}, {arguments.threads} thread(s), {size} px, one image")
    alone = layers_alone(result.table, 10 if arguments.quick else 30)
    results: list[dict[str, object]] = []

    def add(name: str, value: float, unit: str, peer: object, goal: float, better: str) -> None:
        case = f"latency table, {size} px, {arguments.threads} thread(s): {name}"
        keys = ("case", "value", "unit", "peer", "goal", "better")
        values = (case, value, unit, peer, goal, better)
        results.append(dict(zip(keys, values, strict=True)))
        print(f"  {name:48}{value:8.3f}   {peer}")

    for title, chosen in (("both base models", BASES), *((base, (base,)) for base in BASES)):
        checks = tuple(c for c in result.checks if c.architecture.base in chosen)
        measured = [check.measured_ms for check in checks]
        print(f"{title}: {len(checks)} models, {min(measured):.2f} to {max(measured):.2f} ms")
        table = agreement([check.predicted_ms for check in checks], measured)
        others = peers(checks, size)
        sums = [alone.of(check.architecture) for check in checks]
        separate = agreement(sums, measured)
        errors = {"layers alone": round(separate.median_error, 4)} | {
            name: round(agreement(line(values, measured), measured).median_error, 4)
            for name, values in others.items()
        }
        ranks = {"layers alone": round(separate.spearman or 0.0, 4)} | {
            name: round(rank_correlation(values, measured), 4) for name, values in others.items()
        }
        error, rank = table.median_error, table.spearman or 0.0
        add(f"{title}, median error", error, "share", errors, ERROR_GOAL, "lower")
        add(f"{title}, Spearman", rank, "rank correlation", ranks, RANK_GOAL, "higher")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
