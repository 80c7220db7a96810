"""The finalists' stage of a search: what is reported, trained with several seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moenas.models.architecture import MAX_EXPERTS, Architecture
from moenas.models.cost import layer_count
from moenas.nas.finalists import Finalist
from moenas.nas.jobs import SEARCH_SEED, JobMaker
from moenas.nas.settings import SearchConfig
from moenas.runs import ModelFolder
from moenas.training.job import TrainingJob
from moenas.training.outcome import read_result


def final_seeds(config: SearchConfig) -> list[int]:
    """The seeds that each reported model, and the parent that it starts from, is trained with."""
    return list(range(SEARCH_SEED + 1, SEARCH_SEED + 1 + config.seeds))


@dataclasses.dataclass(frozen=True)
class Entrant:
    """A model that is reported.

    Attributes:
        name: In the report.
        role: ``base``, ``wider`` or ``finalist``.
        size_class: Of a finalist.
        architecture: What is trained.
        jobs: One a seed.
    """

    name: str
    role: str
    size_class: str | None
    architecture: Architecture
    jobs: tuple[TrainingJob, ...]

    @property
    def folders(self) -> list[ModelFolder]:
        """Where its models are, one a seed."""
        return [ModelFolder(Path(job.folder)) for job in self.jobs]

    def record(self, seeds: Sequence[int]) -> dict[str, Any]:
        """The entry as `comparison_record` takes it."""
        return {
            "name": self.name,
            "role": self.role,
            "size_class": self.size_class,
            "architecture": self.architecture.id,
            "seeds": list(seeds),
        }


def entrants(config: SearchConfig, maker: JobMaker, finalists: Sequence[Finalist]) -> list[Entrant]:
    """Return all models that are reported: the base model, the wider one, the finalists."""
    known: list[tuple[str, str, str | None, Architecture]] = [
        (config.base, "base", None, maker.dense(config.base))
    ]
    if config.wider_base is not None:
        known.append((config.wider_base, "wider", None, maker.dense(config.wider_base)))
    known += [(f.name, "finalist", f.size_class, f.architecture) for f in finalists]
    return [
        Entrant(*one, tuple(maker.finalist(one[3], seed) for seed in final_seeds(config)))
        for one in known
    ]


def seconds_of_finalists(config: SearchConfig, maker: JobMaker, workers: int) -> float:
    """Estimate what the finalists will take from what their parents took."""
    share = config.finalist_epochs / config.parent_epochs
    bases = [config.base] if config.wider_base is None else [config.base, config.wider_base]
    took = [sum(_took(maker.parent(base, seed)) for seed in final_seeds(config)) for base in bases]
    finalist = max(took[: len(config.searched_bases)])
    return 1.2 * share * (sum(took) + finalist * config.finalists) / workers


def seconds_of_pruning(config: SearchConfig, maker: JobMaker) -> float:
    """Estimate what pruning the largest finalist will take from what a parent took.

    To train on an image counts as three looks at it. Half of the experts that it may have are
    removed; after each removal a third of the work is done anew (measured in ``docs/pruning.md``).
    """
    counts = maker.data.counts()
    train, val, search = (counts[split] for split in ("train", "val", "search"))
    epochs, seed = config.parent_epochs, final_seeds(config)[0]
    looks = 3 * epochs * train + math.ceil(epochs) * val + search
    took = max(_took(maker.parent(base, seed)) for base in config.searched_bases)
    removals = layer_count(config.base) * (MAX_EXPERTS - 1) / 2
    return 1.2 * took * (val + search) * (1 + removals / 3) / looks


def _took(job: TrainingJob) -> float:
    return read_result(ModelFolder(Path(job.folder))).seconds
