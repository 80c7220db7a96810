"""A model on its way through a benchmark of formats: made, run alone for its memory, in turn."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from moenas.export.formats import FORMATS
from moenas.export.measuring import CHECKPOINT, Answer, memory_of, open_timed, takes_threads
from moenas.workflows.benchmark_entrants import Entrant
from moenas.workflows.benchmark_inputs import Images, Workshop


@dataclasses.dataclass
class Lane:
    """A model on its way through the benchmark; calling it runs the next batch."""

    entrant: Entrant
    problem: str = ""
    answer: Answer | None = None
    batches: Iterator[npt.NDArray[np.uint8]] = dataclasses.field(default_factory=lambda: iter(()))
    size: int | None = None
    memory: int | None = None

    def __call__(self) -> None:
        """Answer the next batch; what fails is told in `problem`."""
        if self.answer is None:
            return
        try:
            self.answer(next(self.batches))
        except Exception as error:  # any runtime's own; the others' rows go on
            self.problem, self.answer = f"failed: {_first_line(error)}", None


def prepare(entrant: Entrant, workshop: Workshop, images: Images, threads: int) -> Lane:
    """Export what is to be exported, run it alone for its memory, and open it."""
    lane = Lane(entrant, size=entrant.size)
    details = entrant.details
    kind = None if entrant.kind == CHECKPOINT else FORMATS[entrant.kind]
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
