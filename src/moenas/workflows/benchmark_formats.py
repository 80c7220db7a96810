"""``moenas benchmark PATHS``: size, quality, latency and memory of models in their formats.

All are timed in turns beside the dense base model in the same format, so that a slow stretch of the
machine hits all alike. What fails has a row that says so; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from moenas.console import console
from moenas.errors import ConfigError
from moenas.models.architecture import Architecture
from moenas.models.cost import parameters_of
from moenas.runtime import device_name
from moenas.timing import Timing, interleaved
from moenas.workflows.benchmark_entrants import Entrant, find_entrants
from moenas.workflows.benchmark_gate import GATES, GateResult, judge
from moenas.workflows.benchmark_inputs import Images, Workshop
from moenas.workflows.benchmark_lanes import Lane, prepare

DENSE = "dense base"

ROUNDS, FEWEST_ROUNDS = 100, 20
"""Timings of each model with one image at a time, and with many."""

OK = "ok"


@dataclasses.dataclass(frozen=True)
class FormatRow:
    """A model in a format; None where it was not measured or is not known.

    Attributes:
        model: What it is called.
        format: The format's name, or ``torch`` for a checkpoint.
        bytes: Size on disk.
        parameters: Of the model.
        accuracy: Balanced accuracy on the report half, 0-1, as stored when it was looked at.
        fairness: Skin fairness there.
        p50_ms: Median latency of a batch.
        p95_ms: Its 95th percentile.
        times_dense: Latency over that of the dense base in the same format; the median over rounds.
        memory_bytes: Rise of a fresh process's memory at its peak.
        status: ``ok``, or what is missing or failed.
        note: Why accuracy and fairness are not known.
    """

    model: str
    format: str
    bytes: int | None
    parameters: int | None
    accuracy: float | None
    fairness: float | None
    p50_ms: float | None
    p95_ms: float | None
    times_dense: float | None
    memory_bytes: int | None
    status: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class FormatBenchmark:
    """The table and what it was measured with.

    Attributes:
        rows: Models in their formats; dense bases last.
        device: The processor.
        threads: Threads of one run.
        batch: Images of one run.
        rounds: Timings of each.
        images: What was shown to the models.
        gate: What the gate says that was asked for.
    """

    rows: tuple[FormatRow, ...]
    device: str
    threads: int
    batch: int
    rounds: int
    images: str
    gate: GateResult | None = None


def benchmark_formats(
    paths: Sequence[Path],
    formats: Sequence[str] = (),
    *,
    threads: int = 1,
    batch: int = 1,
    gate: str | None = None,
) -> FormatBenchmark:
    """Measure models in their formats on this machine's processor.

    Args:
        paths: Run folders, checkpoints, exported files.
        formats: Formats to export checkpoints to for this table alone.
        threads: Threads of one run.
        batch: Images of one run.
        gate: Name of one of `GATES` to hold the models' accuracy against.

    Raises:
        ConfigError: Fewer than one thread or image, or an unknown format or gate.
        DataError: Models were scored on other images than the gate's.
        RunFolderError: A folder holds no model.
        CheckpointError: A file does not exist or is not one of ours.
    """
    for name, value in (("threads", threads), ("batch", batch)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}.")
    wanted = None if gate is None else GATES[gate]
    entrants = find_entrants(paths, formats)
    judged = None if wanted is None else judge(wanted, entrants)
    entrants += _dense_bases(entrants)
    rounds = max(FEWEST_ROUNDS, ROUNDS // batch)
    with tempfile.TemporaryDirectory() as scratch, _pinned(threads):
        images = Images(paths, batch, Path(scratch))
        workshop = Workshop(Path(scratch), images)
        lanes = []
        for index, each in enumerate(entrants):
            with console.status(f"{each.model}, {each.kind} ({index + 1} of {len(entrants)}) ..."):
                lanes.append(prepare(each, workshop, images, threads))
        ready = {str(index): lane for index, lane in enumerate(lanes) if not lane.problem}
        with console.status(f"Timing {len(ready)} in turns ..."):
            timing = interleaved(ready, rounds, warm_up=3) if ready else Timing({})
    return FormatBenchmark(
        rows=tuple(_row(index, lanes, timing) for index in range(len(lanes))),
        device=device_name(torch.device("cpu")),
        threads=threads,
        batch=batch,
        rounds=rounds,
        images=images.words,
        gate=judged,
    )


def _dense_bases(entrants: Sequence[Entrant]) -> list[Entrant]:
    """The dense base of each base model and image size, in the formats that are there."""
    wanted: dict[tuple[str, int, str], Entrant] = {}
    for each in entrants:
        if each.details is None or each.problem:
            continue
        dense = Architecture.dense_base(Architecture.parse(each.details.architecture).base)
        details = dataclasses.replace(
            each.details,
            architecture=dense.id,
            parameters=parameters_of(dense, len(each.details.classes)),
        )
        entrant = Entrant(f"{DENSE} {dense.base}", each.kind, details, note="untrained")
        wanted.setdefault((dense.base, details.image_size, each.kind), entrant)
    return list(wanted.values())


def _row(index: int, lanes: Sequence[Lane], timing: Timing) -> FormatRow:
    lane = lanes[index]
    entrant = lane.entrant
    p50 = p95 = ratio = None
    if not lane.problem:
        p50, p95 = (1e3 * float(np.percentile(timing.seconds[str(index)], q)) for q in (50, 95))
        peer = _dense_of(lane, lanes)
        ratio = None if peer is None else timing.ratio(str(index), str(peer))
    scores = entrant.scores
    return FormatRow(
        model=entrant.model,
        format=entrant.kind,
        bytes=lane.size,
        parameters=entrant.details.parameters if entrant.details else None,
        accuracy=scores.balanced_accuracy if scores else None,
        fairness=scores.fairness if scores else None,
        p50_ms=p50,
        p95_ms=p95,
        times_dense=ratio,
        memory_bytes=lane.memory,
        status=lane.problem or OK,
        note="" if scores else entrant.note,
    )


def _dense_of(lane: Lane, lanes: Sequence[Lane]) -> int | None:
    """Where the dense base of a model is, in the same format and for images of the same size."""
    details = lane.entrant.details
    if details is None:
        return None
    wanted = Architecture.dense_base(Architecture.parse(details.architecture).base).id
    for index, other in enumerate(lanes):
        known = other.entrant.details
        if (
            known is not None
            and other.entrant.model.startswith(DENSE)
            and (known.architecture, known.image_size, other.entrant.kind)
            == (wanted, details.image_size, lane.entrant.kind)
        ):
            return None if other.problem else index
    return None


@contextlib.contextmanager
def _pinned(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
