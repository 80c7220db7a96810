"""``moenas benchmark PATHS``: size, quality, latency and memory of models in their formats.

All are timed in turns beside the dense base model in the same format, so that a slow stretch of the
machine hits all alike. What fails has a row that says so; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from moenas.console import console
from moenas.data.images import crop_and_resize, read_image
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, MoENASError
from moenas.export.backends import BACKENDS, Source
from moenas.export.formats import FORMATS
from moenas.export.measuring import CHECKPOINT, Answer, memory_of, open_timed, takes_threads
from moenas.export.metadata import Details
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.cost import parameters_of
from moenas.models.storage import load_model, save_model
from moenas.runs import run_of
from moenas.runtime import device_name, generator
from moenas.timing import Timing, interleaved
from moenas.workflows.benchmark_entrants import Entrant, find_entrants

DENSE = "dense base"

IMAGES = 32
"""Training images of the models' run that are run in turn; int8 takes its ranges from them."""

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
    """

    rows: tuple[FormatRow, ...]
    device: str
    threads: int
    batch: int
    rounds: int
    images: str


def benchmark_formats(
    paths: Sequence[Path],
    formats: Sequence[str] = (),
    *,
    threads: int = 1,
    batch: int = 1,
) -> FormatBenchmark:
    """Measure models in their formats on this machine's processor.

    Args:
        paths: Run folders, checkpoints, exported files.
        formats: Formats to export checkpoints to for this table alone.
        threads: Threads of one run.
        batch: Images of one run.

    Raises:
        ConfigError: Fewer than one thread or image, or an unknown format.
        RunFolderError: A folder holds no model.
        CheckpointError: A file does not exist or is not one of ours.
    """
    for name, value in (("threads", threads), ("batch", batch)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value}.")
    entrants = find_entrants(paths, formats)
    entrants += _dense_bases(entrants)
    rounds = max(FEWEST_ROUNDS, ROUNDS // batch)
    with tempfile.TemporaryDirectory() as scratch, _pinned(threads):
        images = _Images(paths, batch, Path(scratch))
        workshop = _Workshop(Path(scratch), images)
        lanes = []
        for index, each in enumerate(entrants):
            with console.status(f"{each.model}, {each.kind} ({index + 1} of {len(entrants)}) ..."):
                lanes.append(_prepare(each, workshop, images, threads))
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


class _Images:
    """What models are shown: training images of the run that they come from, or noise."""

    def __init__(self, paths: Sequence[Path], batch: int, folder: Path) -> None:
        found = (run_of(path if path.is_file() else path / "model") for path in paths)
        run = next((each for each in found if each is not None), None)
        self.batch, self.folder = batch, folder
        self.manifest = Manifest.load(run.manifest).split("train") if run else None
        self.words = "noise"

    @functools.cache  # noqa: B019 - lives as long as one benchmark
    def of(self, size: int) -> npt.NDArray[np.uint8]:
        """Return `IMAGES` images ``[n, size, size, 3]``, or as many as a batch has."""
        count = max(IMAGES, self.batch)
        if self.manifest is not None and len(self.manifest):
            rows = np.linspace(0, len(self.manifest) - 1, count).astype(int)
            chosen = self.manifest.take(rows)
            with contextlib.suppress(MoENASError):
                images = [
                    crop_and_resize(read_image(chosen.file(path)), box, size)
                    for path, box in zip(chosen.frame["path"], chosen.boxes(), strict=True)
                ]
                self.words = f"{count} training images of the run, in turn"
                return np.stack(images)
        noise = generator(0, "benchmark").integers(0, 256, (count, size, size, 3))
        return noise.astype(np.uint8)

    def batches(self, size: int) -> list[npt.NDArray[np.uint8]]:
        """The images, a batch at a time."""
        images = self.of(size)
        return [
            np.ascontiguousarray(images[i : i + self.batch])
            for i in range(0, len(images) - self.batch + 1, self.batch)
        ]

    def file(self, size: int) -> Path:
        """The first batch as a file."""
        path = self.folder / f"images-{size}.npy"
        if not path.exists():
            np.save(path, self.batches(size)[0])
        return path


class _Workshop:
    """Where files are exported to be run; models are opened, and their ONNX graphs made, once."""

    def __init__(self, folder: Path, images: _Images) -> None:
        self.folder = folder
        self.images = images
        self.sources: dict[tuple[str, int], Source] = {}

    def file_of(self, entrant: Entrant, details: Details) -> Path:
        """Export a model; returns the file."""
        size = details.image_size
        key = (str(entrant.source or details.architecture), size)
        if key not in self.sources:
            if entrant.source is not None:
                model = load_model(entrant.source)[0]
            else:
                base = Architecture.parse(details.architecture).base
                model = build_model(base, num_classes=len(details.classes), seed=0).eval()
            self.sources[key] = Source(model, details, lambda: self.images.of(size))
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        if entrant.kind == CHECKPOINT:
            path = folder / "model.safetensors"
            save_model(path, self.sources[key].model, image_size=size)
            return path
        path = folder / f"model{FORMATS[entrant.kind].suffix}"
        with warnings.catch_warnings(), _silent("torch"):
            warnings.simplefilter("ignore")
            BACKENDS[entrant.kind].write(self.sources[key], path)
        return path


@dataclasses.dataclass
class _Lane:
    """A model on its way through the benchmark; calling it runs the next batch."""

    entrant: Entrant
    problem: str = ""
    answer: Answer | None = None
    batches: Iterator[npt.NDArray[np.uint8]] = dataclasses.field(default_factory=lambda: iter(()))
    size: int | None = None
    memory: int | None = None

    def __call__(self) -> None:
        if self.answer is None:
            return
        try:
            self.answer(next(self.batches))
        except Exception as error:  # any runtime's own; the others' rows go on
            self.problem, self.answer = f"failed: {_first_line(error)}", None


def _prepare(entrant: Entrant, workshop: _Workshop, images: _Images, threads: int) -> _Lane:
    """Export what is to be exported, run it alone for its memory, and open it."""
    lane = _Lane(entrant, size=entrant.size)
    details, kind = entrant.details, FORMATS.get(entrant.kind)
    if kind is not None and kind.extra is not None and kind.missing is not None:
        lane.problem = f"missing extra: pip install 'moenas[{kind.extra}]'"
    elif entrant.problem or details is None:
        refused = entrant.problem.startswith("refused")
        lane.problem = entrant.problem if refused else f"failed: {entrant.problem}"
    elif kind is not None and not kind.dynamic_batch and images.batch > 1:
        lane.problem = "failed: it takes one image at a time"
    elif kind is not None and threads > 1 and not takes_threads(kind.name, kind.suffix):
        lane.problem = "failed: it runs on one thread"
    if lane.problem or details is None:
        return lane
    try:
        path = entrant.file or workshop.file_of(entrant, details)
        if lane.size is None:
            lane.size = sum(each.stat().st_size for each in path.parent.iterdir())
        lane.memory = memory_of(
            entrant.kind, path.resolve(), images.file(details.image_size), threads
        )
        lane.answer = open_timed(entrant.kind, path, threads)
        lane.batches = itertools.cycle(images.batches(details.image_size))
    except Exception as error:  # any runtime's own; the others' rows go on
        lane.problem = f"failed: {_first_line(error)}"
    return lane


def _row(index: int, lanes: Sequence[_Lane], timing: Timing) -> FormatRow:
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


def _dense_of(lane: _Lane, lanes: Sequence[_Lane]) -> int | None:
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _pinned(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library's warnings of its own doings to itself."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
