"""The jobs of a search: parents, supernets, trials and finalists, all from one set of settings."""

from __future__ import annotations

import dataclasses

from moenas.models.architecture import MAX_EXPERTS, Architecture
from moenas.models.cost import layer_count
from moenas.nas.halving import Halving
from moenas.nas.settings import SearchConfig
from moenas.runs import ModelFolder, RunFolder
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.training.outcome import JobResult
from moenas.training.schemes import Scheme
from moenas.training.subnet_job import SubnetJob, run_subnet_job

SEARCH_SEED = 0
"""The search's parent; finalists use 1, 2, ... so that no reported model was selected on."""

TrialJob = TrainingJob | SubnetJob
"""What judges an architecture: a training, or a look at a part of a trained supernet."""


def run_trial(job: TrialJob) -> JobResult:
    """Run a trial's job, or return what it left when it was run before."""
    return run_subnet_job(job) if isinstance(job, SubnetJob) else run_job(job)


@dataclasses.dataclass(frozen=True)
class JobMaker:
    """Makes the jobs of one run.

    Attributes:
        config: The run's settings.
        run: The run's folder.
        data: The run's images.
        device: See `TrainingJob`.
        deadline: See `TrainingJob`.
    """

    config: SearchConfig
    run: RunFolder
    data: DataReference
    device: str = "auto"
    deadline: float | None = None

    def dense(self, base: str) -> Architecture:
        """The architecture with one expert in each layer: the base model itself."""
        return Architecture(base, (1,) * layer_count(base))

    def parent(self, base: str, seed: int) -> TrainingJob:
        """A dense model from its own initialisation."""
        scheme = self.config.training(self.config.parent_epochs, tuning=False)
        return self._job(
            self.dense(base),
            self.run.parent(base, seed),
            scheme=scheme,
            seed=seed,
        )

    def supernet(self, base: str) -> TrainingJob:
        """One supernet, all experts in each layer, from the search's dense parent."""
        job = self._job(
            Architecture(base, (MAX_EXPERTS,) * layer_count(base)),
            self.run.supernet(base),
            scheme=self.config.training(self.config.supernet_epochs, tuning=True),
            seed=SEARCH_SEED,
            parent=self.run.parent(base, SEARCH_SEED),
        )
        return dataclasses.replace(job, supernet=True)

    def trial(
        self, number: int, architecture: Architecture, floor: float, rung: int | None = None
    ) -> TrialJob:
        """One trial of the search; all share seeds, so that they differ in the architecture.

        Args:
            number: The trial's.
            architecture: Its architecture.
            floor: See `TrainingJob`.
            rung: Of the successive halving; the last one by default. Each rung but the last has a
                folder of its own in the trial's.
        """
        if self.config.strategy == "supernet":
            return self.part(architecture, self.run.trial(number))
        tuned = self.config.strategy == "upcycled"
        parent = self.run.parent(architecture.base, SEARCH_SEED) if tuned else None
        halving = Halving(self.config.rungs)
        rung = halving.last if rung is None else rung
        full = rung == halving.last
        return self._job(
            architecture,
            self.run.trial(number) if full else self.run.rung(number, rung),
            scheme=self.config.training(
                self.config.trial_epochs * halving.share(rung), tuning=tuned
            ),
            seed=SEARCH_SEED,
            floor=floor if full else None,
            parent=parent,
        )

    def part(self, architecture: Architecture, folder: ModelFolder) -> SubnetJob:
        """A part of the supernet of its base."""
        return SubnetJob(
            architecture=architecture.id,
            folder=str(folder.path),
            supernet=str(self.run.supernet(architecture.base).path),
            data=self.data,
            seed=self._seed(SEARCH_SEED),
            device=self.device,
            deadline=self.deadline,
        )

    def finalist(self, architecture: Architecture, seed: int) -> TrainingJob:
        """One seed of a reported model, from its own parent, scored on the report half too.

        Its folder is named by the architecture, not by its size class: a search that goes on after
        a time limit may choose others.
        """
        scheme = self.config.training(self.config.finalist_epochs, tuning=True)
        return self._job(
            architecture,
            self.run.finalist(architecture.id, seed),
            scheme=scheme,
            seed=seed,
            parent=self.run.parent(architecture.base, seed),
            score=("search", "report"),
        )

    def _seed(self, seed: int) -> int:
        """What a seed of the run is for a training: other runs have others."""
        return self.config.seed * 1000 + seed

    def _job(
        self,
        architecture: Architecture,
        folder: ModelFolder,
        *,
        scheme: Scheme,
        seed: int,
        parent: ModelFolder | None = None,
        floor: float | None = None,
        score: tuple[str, ...] = ("search",),
    ) -> TrainingJob:
        return TrainingJob(
            architecture=architecture.id,
            folder=str(folder.path),
            data=self.data,
            scheme=scheme,
            seed=self._seed(seed),
            parent=str(parent.path) if parent else None,
            pretrained=False if parent else self.config.pretrained,
            score=score,
            floor=floor,
            device=self.device,
            deadline=self.deadline,
        )
